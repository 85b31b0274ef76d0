//! Why a request was not answered, and what the caller can do about it.

use std::{fmt, io, time::Duration};

use model::api::ErrorResponse;

use super::{Answer, ServerAddress};

/// Why no connection to a server came about; nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host name is not known, or nobody listens.
    #[error("{0}")]
    Tcp(#[source] io::Error),
    /// The TLS handshake failed, mostly because of another cluster's CA.
    #[error("{}", tls(.0))]
    Tls(#[source] io::Error),
    /// The server does not speak HTTP.
    #[error("{0}")]
    Http(#[source] hyper::Error),
    /// It took too long.
    #[error("no connection within {after:?}")]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
}

/// Why a request was not, or not surely, answered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The context names no server.
    #[error("no server is known: give --server, or make a context with `marchproxy context set`")]
    NoServer,
    /// TLS cannot be configured.
    #[error("cannot configure TLS")]
    Tls(#[source] runtime::tls::TlsError),
    /// One server was not reached; nothing was sent to it.
    #[error("cannot connect to {server}")]
    Connect {
        /// The server.
        server: ServerAddress,
        /// Why.
        #[source]
        source: ConnectError,
    },
    /// No server was reached; nothing was sent.
    #[error("cannot connect to {}; {}", reasons(servers), remedy(servers))]
    Unreachable {
        /// Each server and why.
        servers: Vec<(ServerAddress, ConnectError)>,
    },
    /// The API answered with an error.
    #[error("{}", body.message)]
    Api {
        /// The server.
        server: ServerAddress,
        /// The HTTP status.
        status: u16,
        /// What it said.
        body: ErrorResponse,
    },
    /// The answer to a read got lost. Ask again.
    #[error("{server} did not finish its answer: {reason}")]
    Interrupted {
        /// The server.
        server: ServerAddress,
        /// What happened.
        reason: String,
    },
    /// The write may or may not have been done.
    #[error(
        "it is not known whether the change was made ({server}: {reason}); \
         look at `marchproxy history`, then decide"
    )]
    OutcomeUnknown {
        /// The server that was asked.
        server: ServerAddress,
        /// What happened.
        reason: String,
    },
    /// The answer is not what this program expects.
    #[error("{server} answered something that this version does not understand: {reason}")]
    Answer {
        /// The server.
        server: ServerAddress,
        /// What is wrong with it.
        reason: String,
    },
    /// The request cannot be sent as it is.
    #[error("the request is not valid: {reason}")]
    Request {
        /// What is wrong with it.
        reason: String,
    },
}

/// The verifier's own words where it refused the server, else the system's.
fn tls(error: &io::Error) -> String {
    runtime::tls::refusal(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn reasons(servers: &[(ServerAddress, ConnectError)]) -> impl fmt::Display {
    let one = |(server, error): &(ServerAddress, ConnectError)| format!("{server} ({error})");
    servers.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A server that answers with another certificate runs; the context is another cluster's.
fn remedy(servers: &[(ServerAddress, ConnectError)]) -> &'static str {
    if servers.iter().all(|(_, error)| matches!(error, ConnectError::Tls(_))) {
        "is the context of this cluster, and is the port that of the API?"
    } else {
        "is `marchproxy up` running there?"
    }
}

/// Lets 2xx pass and turns everything else into an error.
pub(super) fn accept(answer: Answer) -> Result<Answer, ClientError> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let status = answer.status.as_u16();
    match serde_json::from_slice(&answer.body) {
        Ok(body) => Err(ClientError::Api { server: answer.server, status, body }),
        Err(_) => Err(ClientError::Answer {
            server: answer.server,
            reason: format!("status {status} without an error body"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_reached_is_told_from_one_that_is_not_ours() {
        let check = |errors: Vec<ConnectError>, expected: &str| {
            let at: ServerAddress = "10.0.0.1".parse().unwrap();
            let servers = errors.into_iter().map(|error| (at.clone(), error)).collect();
            let text = ClientError::Unreachable { servers }.to_string();
            assert!(text.contains(expected), "{text}");
        };
        let refused = || ConnectError::Tcp(io::ErrorKind::ConnectionRefused.into());
        let tls = || ConnectError::Tls(io::Error::other("the server's CA does not match the pin"));
        check(vec![refused()], "running there?");
        check(vec![tls(), refused()], "running there?");
        check(vec![tls(), tls()], "is the context of this cluster");
    }
}
