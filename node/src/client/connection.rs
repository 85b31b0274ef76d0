//! One connection to one server: TCP, TLS, HTTP/1.1, and one exchange on it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use runtime::chain::chain;
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{Answer, ClientError, Sender, ServerAddress, error, error::ConnectError};

/// How long TCP and TLS may take together: a server that is down in another region is given up
/// soon enough to ask the next one.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// The largest answer that is read: ten thousand services with their endpoints take about 10 MiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Connects to a server.
pub(super) async fn open(
    server: &ServerAddress,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<Sender, ClientError> {
    let failed = |source| ClientError::Connect { server: server.clone(), source };
    timeout(CONNECT_WITHIN, handshake(server, tls))
        .await
        .unwrap_or(Err(ConnectError::TimedOut { after: CONNECT_WITHIN }))
        .map_err(failed)
}

async fn handshake(
    server: &ServerAddress,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<Sender, ConnectError> {
    let tcp =
        TcpStream::connect((server.host.as_str(), server.port)).await.map_err(ConnectError::Tcp)?;
    // A lost Nagle setting costs latency, nothing else.
    let _ = tcp.set_nodelay(true);
    let name = ServerName::try_from(server.host.clone())
        .map_err(|error| ConnectError::Tls(std::io::Error::other(error)))?;
    let stream =
        TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await.map_err(ConnectError::Tls)?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(ConnectError::Http)?;
    tokio::spawn(async move {
        // Its end shows up as an error of the request that is under way.
        let _ = connection.await;
    });
    Ok(sender)
}

/// Sends a request and reads the whole answer.
pub(super) async fn exchange(
    server: &ServerAddress,
    sender: &mut Sender,
    request: http::Request<Full<Bytes>>,
    within: Duration,
) -> Result<Answer, ClientError> {
    let whole = async {
        let (head, body) = respond(server, sender, request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| interrupted(server, error.to_string()))?
            .to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body, server: server.clone() })
    };
    timeout(within, whole).await.unwrap_or_else(|_| Err(late(server, within)))
}

/// Sends a request and returns the body of its 2xx answer as it comes.
pub(super) async fn stream(
    server: &ServerAddress,
    sender: &mut Sender,
    request: http::Request<Full<Bytes>>,
    within: Duration,
) -> Result<Incoming, ClientError> {
    let response = timeout(within, respond(server, sender, request))
        .await
        .unwrap_or_else(|_| Err(late(server, within)))?;
    if response.status().is_success() {
        return Ok(response.into_body());
    }
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| interrupted(server, error.to_string()))?
        .to_bytes();
    let answer =
        Answer { status: head.status, headers: head.headers, body, server: server.clone() };
    match error::accept(answer) {
        Err(error) => Err(error),
        Ok(_) => Err(interrupted(server, "no stream".to_owned())),
    }
}

async fn respond(
    server: &ServerAddress,
    sender: &mut Sender,
    request: http::Request<Full<Bytes>>,
) -> Result<http::Response<Incoming>, ClientError> {
    sender.ready().await.map_err(|error| ClientError::Connect {
        server: server.clone(),
        source: ConnectError::Http(error),
    })?;
    sender.send_request(request).await.map_err(|error| {
        if error.is_canceled() {
            // hyper hands back a request that it did not begin to write.
            ClientError::Connect { server: server.clone(), source: ConnectError::Http(error) }
        } else {
            interrupted(server, chain(&error))
        }
    })
}

fn interrupted(server: &ServerAddress, reason: String) -> ClientError {
    ClientError::Interrupted { server: server.clone(), reason }
}

fn late(server: &ServerAddress, within: Duration) -> ClientError {
    interrupted(server, format!("no answer within {within:?}"))
}
