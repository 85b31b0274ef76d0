//! What a client command needs before it asks: the context, the client, a runtime.

use std::{future::Future, path::PathBuf};

use super::{arguments::Connection, exit::Failure};
use crate::client::{Client, Context, context};

/// The context file that is meant.
pub(super) fn context_path(connection: &Connection) -> Result<PathBuf, Failure> {
    match &connection.context_file {
        Some(path) => Ok(path.clone()),
        None => Ok(context::default_path(|name| std::env::var_os(name))?),
    }
}

/// Makes the client that the flags and the context file ask for.
pub(super) fn client(connection: &Connection) -> Result<Client, Failure> {
    let mut context = Context::load(&context_path(connection)?)?;
    if !connection.server.is_empty() {
        context.servers.clone_from(&connection.server);
    }
    Ok(Client::new(&context)?)
}

/// Runs a client command; one thread is enough for one request.
pub(super) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::process("cannot start the async runtime", error))?
        .block_on(command)
}
