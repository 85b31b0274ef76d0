//! The API of a node: REST with an OpenAPI document, server-sent events, metrics. HTTPS only.
//!
//! What may be called, by whom, with what and with which answer stands in one table (`routes`);
//! the router, the access check and the OpenAPI document are made from it, so none can say what
//! the others do not. Everything that is decided is decided behind [`Control`]; here it is read
//! from HTTP and written to HTTP.
//!
//! **Invariants.** No route but `GET /healthz` answers an anonymous caller with anything but 401, and
//! neither does a path that does not exist. No body is kept before the caller is known, except a
//! join's, which is small. No token, secret or key is logged.

mod access;
mod acks;
mod certificates;
mod cluster;
mod connection;
mod dataplane;
mod endpoints;
mod events;
mod explain;
mod fields;
mod flows;
mod health;
mod history;
mod joining;
mod metrics;
mod modules;
mod objects;
mod openapi;
mod plane;
mod qos;
mod repeated;
mod reply;
mod request;
mod rollout;
mod routes;
mod tokens;
pub mod types;
mod writes;

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::control::{Control, ServeApi};

pub use metrics::describe;

/// The largest body that is taken: the size of the largest configuration that consensus takes in
/// one entry.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest body of a join: two certificate requests and addresses.
const JOIN_BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a body may take to arrive; the client waits as long for an answer to a large one.
pub(crate) const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Connections open at once; each may cost a few hundred KiB. More wait in the listener's queue.
const CONNECTIONS_MAX: usize = 1024;
/// How long TLS may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long the head of a request may take, counted from the end of the one before.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long a connection may stay on which no caller has shown a token.
const ANONYMOUS_WITHIN: Duration = Duration::from_secs(30);
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;
/// How long requests under way may take when the server ends.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);
/// The longest wait for acknowledgements in one request; below the idle time of common proxies.
const ACK_WAIT_MAX: Duration = Duration::from_secs(55);

/// Writes out this process's metrics in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the API needs beside the control process.
#[derive(Clone)]
pub struct Options {
    /// The run directory: the data plane's socket is in it.
    pub run_dir: PathBuf,
    /// The metrics of this process.
    pub metrics: RenderMetrics,
}

/// What every handler gets.
#[derive(Clone)]
struct Shared {
    control: Control,
    options: Options,
    /// Cancelled when the server ends; streams end with it.
    stop: CancellationToken,
}

/// Makes the function that the control process runs as its `api` actor.
#[must_use]
pub fn server(options: Options) -> ServeApi {
    Arc::new(move |control, listener, stop| serve(control, listener, stop, options.clone()).boxed())
}

/// Serves the API until `stop` is cancelled, then lets requests under way finish.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    control: Control,
    listener: TcpListener,
    stop: CancellationToken,
    options: Options,
) -> anyhow::Result<()> {
    let tls = runtime::tls::server_alpn(&control.api_tls(), &[b"h2", b"http/1.1"]);
    let shared = Shared { control, options, stop: stop.clone() };
    connection::accept(listener, tls, routes::router(shared), stop).await
}

#[cfg(test)]
mod tests;
