//! One probe: a TCP connection, or an HTTP/1.1 GET over one.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioIo;
use model::service::{HealthCheck, Probe};
use tokio::{net::TcpStream, time::Instant};
use tokio_util::task::AbortOnDropHandle;

/// Why a probe failed, in words for people.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("connect: {0}")]
    Connect(#[source] io::Error),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be built: {0}")]
    Request(#[from] http::Error),
    #[error("status {found}, expected {expected:?}")]
    Status { found: u16, expected: Vec<u16> },
}

/// Probes an endpoint once and returns how long it took.
pub(super) async fn probe(
    endpoint: SocketAddr,
    check: &HealthCheck,
) -> Result<Duration, ProbeError> {
    let address = SocketAddr::new(endpoint.ip(), check.port.unwrap_or(endpoint.port()));
    let begin = Instant::now();
    let attempt = Box::pin(attempt(address, &check.probe));
    tokio::time::timeout(check.timeout, attempt)
        .await
        .map_err(|_| ProbeError::Timeout(check.timeout))??;
    Ok(begin.elapsed())
}

async fn attempt(address: SocketAddr, probe: &Probe) -> Result<(), ProbeError> {
    let stream = TcpStream::connect(address).await.map_err(ProbeError::Connect)?;
    match probe {
        // A gRPC check is Envoy's to send, which the model sees to.
        Probe::Tcp {} | Probe::Grpc { .. } => Ok(()),
        Probe::Http { path, host, expected_statuses } => {
            let host = host.clone().unwrap_or_else(|| address.to_string());
            let found = get(stream, path, &host).await?;
            if expected_statuses.contains(&found) {
                return Ok(());
            }
            Err(ProbeError::Status { found, expected: expected_statuses.clone() })
        }
    }
}

async fn get(stream: TcpStream, path: &str, host: &str) -> Result<u16, ProbeError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await?;
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(path)
        .header(http::header::HOST, host)
        .header(http::header::USER_AGENT, "marchproxy-probe")
        .header(http::header::CONNECTION, "close")
        .body(Empty::new())?;
    let status = sender.send_request(request).await?.status();
    drop(connection);
    Ok(status.as_u16())
}
