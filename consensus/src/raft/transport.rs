//! Bytes between members: TCP, mutual TLS, and the peer's node id from its certificate.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};

use crate::ids::NodeId;
use crate::options::RaftTls;

/// A peer that does not finish its handshake in this time is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes that may run at once; more than the members of any cluster.
const HANDSHAKES_MAX: usize = 256;
/// How long a connection attempt may take; above a WAN's round trips, below an operator's patience.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle connections are probed this often, so that a dead peer is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Bytes on their way on one connection: a snapshot must not starve the log.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;

/// Both directions' credentials, ready for HTTP/2.
#[derive(Clone)]
pub(crate) struct Transport {
    tls: RaftTls,
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
}

impl Transport {
    pub(crate) fn new(tls: RaftTls) -> Self {
        let h2 = vec![b"h2".to_vec()];
        let mut server = (*tls.server).clone();
        server.alpn_protocols = h2.clone();
        let mut client = (*tls.client).clone();
        client.alpn_protocols = h2;
        Self { tls, server: Arc::new(server), client: Arc::new(client) }
    }

    /// A channel that connects when it is first used and again after each loss.
    pub(crate) fn channel(&self, node: NodeId, address: SocketAddr) -> Channel {
        let this = self.clone();
        let connector = tower::service_fn(move |_: http::Uri| {
            let this = this.clone();
            async move { this.connect(node, address).await.map(TokioIo::new) }
        });
        // The name is for the protocol only; the connector knows where to go.
        Endpoint::from_static("http://member.raft.invalid")
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(STREAM_WINDOW)
            .connect_with_connector_lazy(connector)
    }

    async fn connect(
        &self,
        node: NodeId,
        address: SocketAddr,
    ) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.tls.server_name.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(self.client.clone()).connect(name, stream).await?;
        let found = self.peer(stream.get_ref().1.peer_certificates())?;
        if found != node {
            let text = format!("{address} is node {found}, expected node {node}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(stream)
    }

    async fn accept(&self, stream: TcpStream) -> io::Result<PeerStream> {
        stream.set_nodelay(true)?;
        let stream = TlsAcceptor::from(self.server.clone()).accept(stream).await?;
        let node = self.peer(stream.get_ref().1.peer_certificates())?;
        Ok(PeerStream { stream, peer: Peer(node) })
    }

    fn peer(
        &self,
        certificates: Option<&[rustls::pki_types::CertificateDer<'_>]>,
    ) -> io::Result<NodeId> {
        let refuse = |text: String| io::Error::new(io::ErrorKind::PermissionDenied, text);
        let certificates =
            certificates.ok_or_else(|| refuse("the peer has no certificate".to_owned()))?;
        let node = (self.tls.peer_check)(certificates).map_err(refuse)?;
        (self.tls.node_check)(node).map_err(refuse)?;
        Ok(node)
    }

    /// Accepts connections until `stop`; handshakes run beside each other.
    pub(crate) fn listen(
        self,
        listener: TcpListener,
        mut stop: watch::Receiver<bool>,
    ) -> mpsc::Receiver<io::Result<PeerStream>> {
        let (sender, receiver) = mpsc::channel(HANDSHAKES_MAX);
        let permits = Arc::new(tokio::sync::Semaphore::new(HANDSHAKES_MAX));
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = stop.wait_for(|stop| *stop) => return,
                };
                let (stream, address) = match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "accepting a Raft connection failed");
                        // Out of descriptors: the loop must not spin until some are free.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                };
                let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
                let (this, sender) = (self.clone(), sender.clone());
                tokio::spawn(async move {
                    let _permit = permit;
                    match tokio::time::timeout(HANDSHAKE_TIMEOUT, this.accept(stream)).await {
                        Ok(Ok(stream)) => {
                            // The server may have stopped in between.
                            let _ = sender.send(Ok(stream)).await;
                        }
                        Ok(Err(error)) => {
                            tracing::info!(%address, %error, "a Raft connection was refused");
                        }
                        Err(_) => tracing::info!(%address, "a Raft handshake took too long"),
                    }
                });
            }
        });
        receiver
    }
}

/// The node at the other end, as its certificate says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) NodeId);

/// An accepted connection of a known member.
pub(crate) struct PeerStream {
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    peer: Peer,
}

impl Connected for PeerStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
