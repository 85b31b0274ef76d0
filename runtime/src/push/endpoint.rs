//! QUIC endpoints of the push protocol, with mutual TLS.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;

use crate::{
    identity::{ClusterId, KeyPair, NodeIdentity, PeerIdentity, Role},
    tls::{self, LiveIdentity, PeerError, TlsError, peer_identity},
};

/// The application protocol, with its version.
pub const ALPN: &[u8] = b"mp-push/1";

/// How often a silent connection proves that it is alive.
pub const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Silence after which a connection is lost: three missed keep-alives and a round trip.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Bytes in flight of one session before the sender waits: one frame of the greatest length.
const STREAM_WINDOW: u32 = 16 * 1024 * 1024;

/// Why an endpoint could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The identity cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The identity's cipher suites do not fit QUIC.
    #[error("TLS cannot be used for QUIC")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The address cannot be bound.
    #[error("cannot bind UDP {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
}

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connection failed, or one side refused the other; QUIC carries the words of either.
    #[error("cannot connect to {address}")]
    Failed {
        /// The server's address.
        address: SocketAddr,
        /// QUIC's words.
        #[source]
        source: ConnectionError,
    },
    /// The connection could not be begun.
    #[error("cannot begin a connection to {address}")]
    Begin {
        /// The server's address.
        address: SocketAddr,
        /// QUIC's words.
        #[source]
        source: quinn::ConnectError,
    },
}

/// An endpoint that accepts control nodes and data planes of the cluster on UDP `address`.
///
/// Must be called within a tokio runtime.
///
/// # Errors
/// The identity cannot be used, or the address is taken.
pub fn server_endpoint(
    identity: &NodeIdentity,
    address: SocketAddr,
) -> Result<Endpoint, EndpointError> {
    let tls = tls::server_mtls(identity)?;
    let bound = UdpSocket::bind(address).map_err(|source| EndpointError::Bind { address, source });
    serve_on(&tls, identity.certified_key().key(), bound?)
}

/// The same on a socket that is bound, with a TLS configuration made elsewhere.
///
/// What a restarted server says to the sessions of its former life (stateless resets, RFC 9000
/// section 10.3) is derived from `key`, so that their clients learn of the restart at once instead
/// of by silence.
///
/// # Errors
/// The configuration does not fit QUIC, or the socket cannot be used.
pub fn serve_on(
    tls: &rustls::ServerConfig,
    key: &KeyPair,
    socket: UdpSocket,
) -> Result<Endpoint, EndpointError> {
    let tls = tls::server_alpn(tls, &[ALPN]);
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport());
    let address = socket.local_addr().map_err(|source| EndpointError::Bind {
        address: SocketAddr::from(([0, 0, 0, 0], 0)),
        source,
    })?;
    Endpoint::new(endpoint_config(key), Some(config), socket, Arc::new(TokioRuntime))
        .map_err(|source| EndpointError::Bind { address, source })
}

/// Keys that are the same in each life of a node, and known to nobody else.
fn endpoint_config(key: &KeyPair) -> EndpointConfig {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, key.private_der().secret_der());
    let derive = |purpose: &[u8]| hmac::sign(&secret, purpose);
    let reset = hmac::Key::new(hmac::HMAC_SHA256, derive(b"marchproxy push reset").as_ref());
    let ids = derive(b"marchproxy push connection ids");
    let ids = ids.as_ref().first_chunk().expect("a SHA-256 tag has 32 bytes");
    let ids = u64::from_be_bytes(*ids);
    let mut config = EndpointConfig::new(Arc::new(reset));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

/// An endpoint that connects to control nodes, from any port of the given family and address.
/// Renewed certificates show up in it by themselves.
///
/// Must be called within a tokio runtime.
///
/// # Errors
/// The identity cannot be used, or the address cannot be bound.
pub fn client_endpoint(
    identity: &LiveIdentity,
    local: SocketAddr,
) -> Result<Endpoint, EndpointError> {
    let tls = tls::client_alpn(&*identity.client_mtls(Role::Control)?, &[ALPN]);
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport());
    let mut endpoint =
        Endpoint::client(local).map_err(|source| EndpointError::Bind { address: local, source })?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

/// Connects to a control node of `cluster`, which must be that of the endpoint's identity.
///
/// # Errors
/// Which side refused and why, or what failed beneath.
pub async fn connect(
    endpoint: &Endpoint,
    cluster: &ClusterId,
    address: SocketAddr,
) -> Result<Connection, ConnectError> {
    let name = cluster.server_name(Role::Control);
    let connecting = endpoint
        .connect(address, &name)
        .map_err(|source| ConnectError::Begin { address, source })?;
    connecting.await.map_err(|source| ConnectError::Failed { address, source })
}

/// Whom the other end of an established connection is.
///
/// # Errors
/// The peer showed no certificate, or one that names nobody.
pub fn connected_peer(connection: &Connection) -> Result<PeerIdentity, PeerError> {
    connection
        .peer_identity()
        .and_then(|any| any.downcast::<Vec<rustls_pki_types::CertificateDer<'static>>>().ok())
        .ok_or(PeerError::NoCertificate)
        .and_then(|chain| peer_identity(&chain))
}

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(
            IdleTimeout::try_from(IDLE_TIMEOUT).expect("seconds fit in a QUIC integer"),
        ))
        // One stream carries a session, another what is asked of limits that nodes count together.
        .max_concurrent_bidi_streams(VarInt::from_u32(2))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        // Of the connection more than of one stream, which may be full.
        .receive_window(VarInt::from_u32(STREAM_WINDOW * 2));
    Arc::new(transport)
}

#[cfg(test)]
mod tests;
