//! Which HTTP is spoken to endpoints, and how long connections stay.

use std::collections::HashMap;

use model::{
    Service,
    service::{Connections, Http2, HttpProtocol},
};

use super::pb::{
    self, Any, cluster, core,
    upstream_http::{
        HttpProtocolOptions,
        http_protocol_options::{
            AutoHttpConfig, ExplicitHttpConfig, UpstreamProtocolOptions,
            explicit_http_config::ProtocolConfig,
        },
    },
};

/// Where Envoy looks for what follows.
const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Windows of HTTP/2 streams and connections; Envoy's own, 256 MiB each, are memory that an
/// endpoint which sends faster than its clients read may take.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Makes the options of the protocol: none where HTTP/1.1 with Envoy's defaults will do.
pub(super) fn options(service: &Service) -> HashMap<String, Any> {
    let per_connection =
        service.circuit_breakers.as_ref().and_then(|it| it.max_requests_per_connection);
    let none = Connections::default();
    let connections = service.upstream.connections.as_ref().unwrap_or(&none);
    let protocol = service.upstream.protocol;
    if protocol.is_none()
        && per_connection.is_none()
        && connections.idle_timeout.is_none()
        && connections.max_duration.is_none()
    {
        return HashMap::new();
    }
    let common = core::HttpProtocolOptions {
        idle_timeout: connections.idle_timeout.map(pb::duration),
        max_connection_duration: connections.max_duration.map(pb::duration),
        max_requests_per_connection: per_connection.map(pb::uint32),
        ..Default::default()
    };
    let http2 = || http2(connections.http2.unwrap_or_default());
    let explicit = |protocol| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(protocol),
        })
    };
    let chosen = match protocol {
        None | Some(HttpProtocol::Http1) => {
            explicit(ProtocolConfig::HttpProtocolOptions(Default::default()))
        }
        Some(HttpProtocol::Http2) => explicit(ProtocolConfig::Http2ProtocolOptions(http2())),
        Some(HttpProtocol::Auto) => UpstreamProtocolOptions::AutoConfig(AutoHttpConfig {
            http_protocol_options: Some(Default::default()),
            http2_protocol_options: Some(http2()),
            ..Default::default()
        }),
    };
    let options = HttpProtocolOptions {
        common_http_protocol_options: Some(common),
        upstream_protocol_options: Some(chosen),
        ..Default::default()
    };
    HashMap::from([(OPTIONS.to_owned(), pb::any(&options))])
}

fn http2(http2: Http2) -> core::Http2ProtocolOptions {
    core::Http2ProtocolOptions {
        max_concurrent_streams: http2.max_concurrent_streams.map(pb::uint32),
        initial_stream_window_size: Some(pb::uint32(STREAM_WINDOW)),
        initial_connection_window_size: Some(pb::uint32(CONNECTION_WINDOW)),
        connection_keepalive: http2.ping_interval.map(|interval| core::KeepaliveSettings {
            interval: Some(pb::duration(interval)),
            timeout: http2.ping_timeout.map(pb::duration),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Makes the kernel's probes of silent connections.
pub(super) fn connection_options(service: &Service) -> Option<cluster::UpstreamConnectionOptions> {
    let keepalive = service.upstream.connections.as_ref()?.tcp_keepalive?;
    let seconds = |time: std::time::Duration| {
        Some(pb::uint32(u32::try_from(time.as_secs()).unwrap_or(u32::MAX)))
    };
    Some(cluster::UpstreamConnectionOptions {
        tcp_keepalive: Some(core::TcpKeepalive {
            keepalive_probes: Some(pb::uint32(keepalive.probes)),
            keepalive_time: seconds(keepalive.time),
            keepalive_interval: seconds(keepalive.interval),
        }),
        ..Default::default()
    })
}
