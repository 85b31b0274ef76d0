//! One JSON request over TLS to one address: what joining and forming say to another node.
//!
//! No pool, no redirects, no proxies; every step has a bound.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Time for the whole request: an admission waits for a leader and a membership change.
const REQUEST_WITHIN: Duration = Duration::from_secs(40);
/// Time to connect: a host that takes longer is not there.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Bytes of an answer: certificates and fifty members are far below.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nobody listens there, or the network is down.
    #[error("cannot connect to {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// One side refused the other's certificate, or the other speaks no TLS.
    #[error("no trust in {address}")]
    Tls {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// Time is up.
    #[error("{address} does not answer within {within:?}")]
    Timeout { address: SocketAddr, within: Duration },
    /// The connection broke, or what came is not HTTP and JSON.
    #[error("the answer of {address} is unreadable: {reason}")]
    Answer { address: SocketAddr, reason: String },
    /// The other side said no.
    #[error("{message}")]
    Refused { status: u16, code: String, message: String },
}

/// Whom to ask and how.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Arc<ClientConfig>,
    /// The name that TLS asks for.
    pub(crate) name: ServerName<'static>,
}

/// Sends `body` and reads the answer.
pub(crate) async fn post<A: DeserializeOwned>(
    peer: &Peer,
    path: &str,
    bearer: Option<&str>,
    body: &impl Serialize,
) -> Result<A, CallError> {
    let address = peer.address;
    let body = serde_json::to_vec(body).expect("requests have string keys only");
    let exchange = Box::pin(exchange(peer, path, bearer, body));
    let (status, answer) = tokio::time::timeout(REQUEST_WITHIN, exchange)
        .await
        .map_err(|_| CallError::Timeout { address, within: REQUEST_WITHIN })??;
    if status.is_success() {
        return serde_json::from_slice(&answer)
            .map_err(|error| CallError::Answer { address, reason: error.to_string() });
    }
    Err(match serde_json::from_slice::<model::api::ErrorResponse>(&answer) {
        Ok(error) => {
            CallError::Refused { status: status.as_u16(), code: error.code, message: error.message }
        }
        Err(_) => CallError::Answer { address, reason: format!("status {status}") },
    })
}

async fn exchange(
    peer: &Peer,
    path: &str,
    bearer: Option<&str>,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), CallError> {
    let address = peer.address;
    let tcp = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address))
        .await
        .map_err(|_| CallError::Timeout { address, within: CONNECT_WITHIN })?
        .map_err(|source| CallError::Connect { address, source })?;
    let tls = TlsConnector::from(peer.tls.clone())
        .connect(peer.name.clone(), tcp)
        .await
        .map_err(|source| CallError::Tls { address, source })?;
    let unreadable =
        |error: &dyn std::fmt::Display| CallError::Answer { address, reason: error.to_string() };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
        .await
        .map_err(|error| unreadable(&error))?;
    // Ends with the request; its error shows in the request's own.
    let connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let mut request = Request::post(path)
        .header(hyper::header::HOST, address.to_string())
        .header(hyper::header::CONTENT_TYPE, "application/json");
    if let Some(bearer) = bearer {
        request = request.header(hyper::header::AUTHORIZATION, format!("Bearer {bearer}"));
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| unreadable(&error))?;
    let response = sender.send_request(request).await.map_err(|error| unreadable(&error))?;
    let status = response.status();
    let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| unreadable(&error))?
        .to_bytes();
    drop(connection);
    Ok((status, answer))
}
