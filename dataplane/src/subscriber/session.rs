//! Sessions with control nodes, one after the other, for as long as the data plane runs.

mod endpoints;
mod files;
mod follow;

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use quinn::{Connection, VarInt};
use runtime::{
    chain::chain,
    push::{self, ConnectError, EndpointError, FrameError, ProtocolError},
    tls::SavedIdentity,
};
use tokio::time::timeout;

use self::endpoints::Endpoints;
use super::{
    SubscriberArguments, apply::InvalidObject, arriving::InvalidPart, renewal, retry::Retry,
};
use crate::{certificates::Certificates, metrics};

/// How long a handshake may take: several round trips around the world.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How long the server may leave a message of ours unread.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{address} does not answer within {CONNECT_WITHIN:?}")]
    Silent { address: SocketAddr },
    #[error("no endpoint for addresses like {address}")]
    Endpoint {
        address: SocketAddr,
        #[source]
        source: EndpointError,
    },
    #[error("the connection is lost")]
    Lost(#[from] quinn::ConnectionError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the control node reads nothing within {WRITE_WITHIN:?}")]
    Stuck,
    #[error("the control node broke the protocol")]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Invalid(#[from] InvalidObject),
    #[error(transparent)]
    Module(#[from] InvalidPart),
    #[error("the control node left: {reason}")]
    Left { reason: String },
    #[error("the control node ended the session")]
    Ended,
}

impl SessionError {
    /// Whether the next session should ask for everything although a state is held.
    fn asks_for_everything(&self) -> bool {
        matches!(self, Self::Protocol(error) if !error.keeps_resume())
    }
}

/// Between two tries to write a certificate.
const KEPT_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Keeps a session with one of the control nodes, and the certificates that came; never returns.
pub(super) async fn run(arguments: SubscriberArguments) {
    tokio::select! {
        never = keep(&arguments.certificates) => match never {},
        () = sessions(&arguments) => {}
    }
}

/// Writes certificates as they come, away from the sessions: each waits for the disk, and a cluster may have
/// thousands.
async fn keep(certificates: &Certificates) -> Infallible {
    loop {
        let files = certificates.clone();
        match blocking(move || files.keep_next()).await {
            None => certificates.handed_in().await,
            Some((name, Ok(()))) => tracing::info!(certificate = %name, "a certificate came"),
            Some((name, Err(error))) => {
                tracing::error!(certificate = %name, error = %chain(&error), "not kept");
                // The disk may be full, and have room again.
                tokio::time::sleep(KEPT_AGAIN_AFTER).await;
            }
        }
    }
}

async fn sessions(arguments: &SubscriberArguments) {
    let mut endpoints = Endpoints::new(arguments.identity.live());
    let mut retry = Retry::new(arguments.control.clone());
    let mut everything = false;
    loop {
        let address = retry.address();
        let error = match connect(&mut endpoints, &arguments.identity, address).await {
            Ok(connection) => {
                let mut greeted = false;
                let end = follow::follow(&connection, arguments, everything, &mut greeted).await;
                // Closing puts this side's reason in the place of the other's.
                let closed = connection.close_reason();
                connection.close(VarInt::from_u32(0), b"session over");
                if greeted {
                    retry.greeted();
                }
                // A server's refusal of this side arrives after the handshake, as the reason why
                // the connection closed, which says more than the stream's error.
                match (end, closed) {
                    (SessionError::Frame(_), Some(reason)) => SessionError::Lost(reason),
                    (end, _) => end,
                }
            }
            Err(error) => error,
        };
        everything = error.asks_for_everything();
        metrics::connected(false);
        metrics::failure();
        let words = chain(&error);
        let wait = retry.failed(rand::random());
        tracing::warn!(%address, error = %words, ?wait, "not following a control node");
        arguments.status.send_modify(|status| {
            status.node = None;
            status.address = Some(address);
            status.last_error = Some(words);
        });
        tokio::time::sleep(wait).await;
    }
}

async fn connect(
    endpoints: &mut Endpoints,
    identity: &SavedIdentity,
    address: SocketAddr,
) -> Result<Connection, SessionError> {
    renewal::take_up(identity);
    let cluster = identity.live().identity().cluster().clone();
    let endpoint = endpoints.toward(address)?;
    match timeout(CONNECT_WITHIN, push::connect(endpoint, &cluster, address)).await {
        Ok(connection) => Ok(connection?),
        Err(_) => Err(SessionError::Silent { address }),
    }
}

/// Runs a long computation off the runtime's threads; its panic is this task's panic.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
