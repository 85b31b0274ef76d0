//! Requests to the data plane beside this control process, on its Unix socket.

use std::path::Path;

use bytes::Bytes;
use http::{Response, header, request::Builder};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

/// The data plane's socket in the run directory.
pub(crate) const SOCKET: &str = "dataplane.sock";

/// An answer, with the connection that its body comes on.
pub(crate) type Exchanged = (Response<Incoming>, AbortOnDropHandle<hyper::Result<()>>);

/// Sends a request and returns the head of the answer.
pub(crate) async fn exchange(
    socket: &Path,
    request: Builder,
    body: Bytes,
) -> Result<Exchanged, Box<dyn std::error::Error + Send + Sync>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = request.header(header::HOST, "dataplane").body(Full::new(body))?;
    Ok((sender.send_request(request).await?, connection))
}
