//! `context show` and `context set`.

use runtime::identity::CaPin;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;

use super::{
    arguments::{Connection, ContextCommand},
    exit::Failure,
    input, print, session, table,
};
use crate::{
    api::types::NodeList,
    client::{Context, ContextError, Request, Secret},
};

pub(super) fn run(command: ContextCommand, connection: &Connection) -> Result<(), Failure> {
    let path = session::context_path(connection)?;
    match command {
        ContextCommand::Show { output } => {
            let context = Context::load(&path)?;
            let shown = json!({
                "file": path.display().to_string(),
                "servers": context.servers,
                "caPin": context.ca_pin,
                "token": "(hidden)",
            });
            print::answer(output.format, &shown, |_| {
                let servers: Vec<_> = context.servers.iter().map(ToString::to_string).collect();
                let row = |name: &str, value: String| vec![name.to_owned(), value];
                table::render(
                    &["FIELD", "VALUE"],
                    &[
                        row("file", path.display().to_string()),
                        row("servers", servers.join(" ")),
                        row("CA pin", context.ca_pin.to_string()),
                        row("token", "(hidden)".to_owned()),
                    ],
                )
            })
        }
        ContextCommand::Refresh => session::block_on(refresh(connection)),
        ContextCommand::Set { ca_pin, ca_file, token_file } => {
            let old = match Context::load(&path) {
                Ok(context) => Some(context),
                Err(ContextError::Missing { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            let pin = match (ca_pin, ca_file) {
                (Some(pin), _) => Some(pin),
                (None, Some(file)) => Some(pin_of(&input::read_one(&file)?)?),
                (None, None) => None,
            };
            let token = match token_file {
                Some(file) => Some(token_of(&input::read_one(&file)?)?),
                None => None,
            };
            let missing = |what| Failure::Usage {
                reason: format!("there is no context yet: {what} must be given"),
            };
            let context = Context {
                servers: match (connection.server.is_empty(), &old) {
                    (false, _) => connection.server.clone(),
                    (true, Some(old)) => old.servers.clone(),
                    (true, None) => return Err(missing("--server")),
                },
                ca_pin: pin
                    .or(old.as_ref().map(|old| old.ca_pin))
                    .ok_or_else(|| missing("--ca-pin or --ca-file"))?,
                token: token
                    .or(old.map(|old| old.token.clone()))
                    .ok_or_else(|| missing("--token-file"))?,
            };
            context.save(&path)?;
            print::note(&format!("written: {}", path.display()));
            Ok(())
        }
    }
}

/// Keeps the addresses of all nodes, so that any of them may be down.
async fn refresh(connection: &Connection) -> Result<(), Failure> {
    let path = session::context_path(connection)?;
    let client = session::client(connection)?;
    let list: NodeList = client.call(Request::get("/v1/nodes")).await?;
    let mut context = Context::load(&path)?;
    context.servers = list.nodes.iter().map(|node| node.addresses.api.into()).collect();
    context.save(&path)?;
    print::note(&format!("{} servers kept in {}", context.servers.len(), path.display()));
    Ok(())
}

fn token_of(text: &str) -> Result<Secret, Failure> {
    match text.trim() {
        "" => Err(Failure::Usage { reason: "--token-file holds no token".to_owned() }),
        token => Ok(Secret::new(token)),
    }
}

fn pin_of(pem: &str) -> Result<CaPin, Failure> {
    let wrong = || Failure::Usage { reason: "--ca-file holds no certificate in PEM".to_owned() };
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong())?;
    CaPin::of(&certificate).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_token_file_is_refused() {
        assert_eq!(token_of(" mpt_x\n").unwrap(), Secret::new("mpt_x"));
        assert!(matches!(token_of("\n"), Err(Failure::Usage { .. })));
    }
}
