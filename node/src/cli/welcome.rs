//! What an operator needs once a node serves: the context file, and a line for the next host.

use std::path::Path;

use crate::{
    client::{Context, ContextError, Secret, ServerAddress},
    control::{Became, Running},
};

use super::{arguments::Connection, exit::Chain, print, session, view};

/// Who asks for the join line that is printed, in the history.
const ACTOR: &str = "up";

/// Writes the administrator's context file on the node that made the cluster, and tells what to do
/// next. A context that cannot be written is told, and does not end the node.
pub(super) async fn welcome(running: &Running, connection: &Connection) -> anyhow::Result<()> {
    let control = &running.control;
    let (node, addresses) = control.node();
    let identity = control.identity();
    let mut text = format!(
        "node {node} of cluster {} serves at {}\n",
        identity.cluster(),
        ServerAddress::from(addresses.api)
    );
    if let Some(token) = &running.admin_token {
        let context = Context {
            servers: vec![addresses.api.into()],
            ca_pin: identity.pin(),
            token: Secret::new(token.as_str()),
        };
        match session::context_path(connection) {
            Ok(path) => text.push_str(&keep(&context, &path)),
            Err(error) => text.push_str(&format!("no context file: {}\n", Chain(&error))),
        }
    }
    if running.became == Became::Formed {
        match control.create_join_line(ACTOR, None).await {
            Ok(line) => text.push_str(&format!(
                "run this on the next host; it works once, until {}:\n\n  marchproxy join {line}\n\n",
                view::time(line.expires_ms)
            )),
            // The founders of a cluster need none.
            Err(error) => text.push_str(&format!("no join line: {error}\n")),
        }
    }
    // A node whose output is closed runs all the same.
    let _ = print::out(&text);
    Ok(())
}

/// Writes the context where none is, and never over another cluster's.
fn keep(context: &Context, path: &Path) -> String {
    match Context::load(path) {
        Ok(old) if old.ca_pin == context.ca_pin => format!("context file: {}\n", path.display()),
        Ok(_) => format!(
            "context file: {} is of another cluster and is left as it is; \
             start with --context-file FILE to get one for this cluster\n",
            path.display()
        ),
        Err(ContextError::Missing { .. }) => match context.save(path) {
            Ok(()) => format!("context file: {} (written)\n", path.display()),
            Err(error) => format!("no context file: {}\n", Chain(&error)),
        },
        Err(error) => format!("context file: {}\n", Chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(pin: char) -> Context {
        Context {
            servers: vec!["10.0.0.1".parse().unwrap()],
            ca_pin: std::iter::repeat_n(pin, 42).chain(['A']).collect::<String>().parse().unwrap(),
            token: Secret::new("t"),
        }
    }

    #[test]
    fn a_context_is_written_once_and_never_over_another_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("context.json");
        assert!(keep(&context('A'), &path).contains("written"));
        assert!(!keep(&context('A'), &path).contains("written"));
        assert!(keep(&context('B'), &path).contains("another cluster"));
        assert_eq!(Context::load(&path).unwrap(), context('A'));
    }
}
