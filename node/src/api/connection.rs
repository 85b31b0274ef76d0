//! Connections: accept, TLS, HTTP/1.1 or HTTP/2, each bounded in time, all bounded in number.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{
    ANONYMOUS_WITHIN, CONNECTIONS_MAX, DRAIN_WITHIN, HANDSHAKE_WITHIN, HEAD_WITHIN, STREAMS_MAX,
};

/// The pause after a failed accept: out of file descriptors is not cured by asking at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Pings on HTTP/2 connections, so that a caller that vanished frees its place.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Set on a connection once a caller on it has shown a valid token.
#[derive(Clone, Debug, Default)]
pub(super) struct Trusted(Arc<AtomicBool>);

/// Where a connection comes from and which of the node's addresses it is to, when that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) Option<(IpAddr, SocketAddr)>);

impl Trusted {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Accepts until `stop`, then waits a while for the connections to end.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let open = metrics::gauge!("marchproxy_api_connections");
    open.set(0.0);
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place?,
            () = stop.cancelled() => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) if transient(&error) => {
                    tracing::warn!(%error, "cannot accept a connection to the API");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            },
            () = stop.cancelled() => break,
        };
        let (acceptor, router, stop, open) =
            (acceptor.clone(), router.clone(), stop.clone(), open.clone());
        connections.spawn(async move {
            open.increment(1.0);
            if let Err(error) = serve(stream, acceptor, router, stop).await {
                // Whoever scans the port causes these; they say nothing about the node.
                tracing::debug!(%error, "a connection to the API ended");
            }
            open.decrement(1.0);
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    // What is not done by then is cut off with the process.
    let _ = timeout(DRAIN_WITHIN, connections.wait()).await;
    Ok(())
}

/// Whether accepting may work again in a moment: aborted connections, no descriptors, no memory.
fn transient(error: &io::Error) -> bool {
    use nix::libc::{ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, EPROTO};
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
        || matches!(
            error.raw_os_error(),
            Some(ECONNABORTED | EMFILE | ENFILE | ENOBUFS | ENOMEM | EPERM | EPROTO)
        )
}

/// Returns both ends; IPv4 ones as such, also those of a socket for both families.
fn ends(stream: &TcpStream) -> io::Result<(IpAddr, SocketAddr)> {
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    Ok((peer.ip().to_canonical(), SocketAddr::new(local.ip().to_canonical(), local.port())))
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let peer = Peer(ends(&stream).ok());
    let tls = timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await??;
    let trusted = Trusted::default();
    let service = {
        let trusted = trusted.clone();
        router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(trusted.clone());
            request.extensions_mut().insert(peer);
            request.map(axum::body::Body::new)
        })
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_EVERY);
    let connection = builder.serve_connection(TokioIo::new(tls), TowerToHyperService::new(service));
    tokio::pin!(connection);
    let anonymous = tokio::time::sleep(ANONYMOUS_WITHIN);
    tokio::pin!(anonymous);
    let mut judged = false;
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = anonymous.as_mut(), if !judged => {
                judged = true;
                if !trusted.is_set() {
                    connection.as_mut().graceful_shutdown();
                }
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
