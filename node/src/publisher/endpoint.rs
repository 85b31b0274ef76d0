//! The QUIC server's endpoint, on a socket that is bound before anything is formed or joined.

use std::{net::UdpSocket, sync::Arc};

use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::QuicServerConfig,
};
use runtime::{
    identity::Role,
    push::endpoint::{ALPN, IDLE_TIMEOUT, KEEP_ALIVE},
    tls::{LiveIdentity, server_alpn},
};

/// Bytes that a data plane may have under way to this node: reports are small.
const RECEIVE_WINDOW: u32 = 1024 * 1024;

/// Makes the endpoint; renewed certificates show up in it by themselves.
pub(crate) fn server(live: &LiveIdentity, socket: UdpSocket) -> anyhow::Result<Endpoint> {
    let tls = server_alpn(&*live.server_mtls(&Role::ALL)?, &[ALPN]);
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE_TIMEOUT)?))
        // One stream carries a session.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW));
    config.transport_config(Arc::new(transport));
    let runtime = Arc::new(TokioRuntime);
    Ok(Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime)?)
}
