//! HTTP/3: what speaks on a UDP port.

use model::{Listener, ObjectKey, listener::ListenerTls};

use crate::l7::{
    downstream_tls, http_listener,
    pb::{self, access_log, core, listener},
};

/// Makes what a UDP port that speaks QUIC is like.
pub(super) fn udp() -> listener::UdpListenerConfig {
    listener::UdpListenerConfig {
        quic_options: Some(listener::QuicProtocolOptions::default()),
        // Several packets in one call, where the kernel has them.
        downstream_socket_config: Some(core::UdpSocketConfig {
            prefer_gro: Some(pb::boolean(true)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Makes the filter chain.
pub(super) fn chain(
    key: &ObjectKey,
    spec: &Listener,
    tls: &ListenerTls,
    logs: Vec<access_log::AccessLog>,
) -> listener::FilterChain {
    listener::FilterChain {
        filters: vec![http_listener::filter(&http_listener::over_quic(key, spec, logs))],
        transport_socket: Some(downstream_tls::quic_socket(key, tls)),
        ..Default::default()
    }
}
