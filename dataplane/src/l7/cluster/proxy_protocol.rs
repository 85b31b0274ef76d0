//! The header that tells an endpoint of its client.

use super::pb;

/// Makes the socket that begins a connection with a PROXY header, version 2.
pub(super) fn socket() -> pb::core::TransportSocket {
    use pb::{
        core::{
            ProxyProtocolConfig, TransportSocket, proxy_protocol_config,
            transport_socket::ConfigType,
        },
        proxy_protocol::ProxyProtocolUpstreamTransport,
        raw_buffer::RawBuffer,
    };
    let socket = |name: &str, config| TransportSocket {
        name: format!("envoy.transport_sockets.{name}"),
        config_type: Some(ConfigType::TypedConfig(config)),
    };
    let header = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig {
            version: proxy_protocol_config::Version::V2 as i32,
            ..Default::default()
        }),
        transport_socket: Some(socket("raw_buffer", pb::any(&RawBuffer {}))),
        ..Default::default()
    };
    socket("upstream_proxy_protocol", pb::any(&header))
}
