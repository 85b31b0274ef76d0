//! The connection manager of HTTP and HTTPS listeners.

use std::time::Duration;

use model::{Listener, ObjectKey, listener::HttpOptions};

use hcm::http_connection_manager::CodecType;

use super::{
    client_certificates, downstream_tls,
    filters::{self, Extras},
    names,
    pb::{self, access_log, core, hcm, listener},
};

/// How long a stream may be silent in both directions. Websockets and event streams are silent
/// for minutes, so Envoy's 5 minutes are too short; none at all keeps dead peers for ever.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_hours(1);
/// How long a client may take to send its headers: long enough for the slowest network, short
/// enough against clients that open connections and say nothing.
const REQUEST_HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a listener waits for its routes before it opens without them. Routes are held until
/// their clusters are warm, which takes milliseconds unless the control plane hangs.
const ROUTES_TIMEOUT: Duration = Duration::from_secs(60);
/// Streams that one connection of HTTP/2 or HTTP/3 may have open; Envoy's advice for edges.
const STREAMS: u32 = 100;
/// Windows of their streams and connections; Envoy's advice for edges.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Makes the filter chain of an HTTP or HTTPS listener, which answers `challenges` of ACME or does not.
pub(super) fn chain(
    key: &ObjectKey,
    spec: &Listener,
    challenges: bool,
    logs: Vec<access_log::AccessLog>,
) -> listener::FilterChain {
    listener::FilterChain {
        filters: vec![filter(&manager(key, spec, challenges, logs))],
        transport_socket: spec.tls.as_ref().map(|tls| downstream_tls::socket(key, tls)),
        ..Default::default()
    }
}

/// Makes the connection manager of an HTTPS listener's HTTP/3.
pub(super) fn over_quic(
    key: &ObjectKey,
    spec: &Listener,
    logs: Vec<access_log::AccessLog>,
) -> hcm::HttpConnectionManager {
    hcm::HttpConnectionManager {
        codec_type: CodecType::Http3 as i32,
        http3_protocol_options: Some(core::Http3ProtocolOptions {
            quic_protocol_options: Some(core::QuicProtocolOptions {
                max_concurrent_streams: Some(pb::uint32(streams(spec))),
                initial_stream_window_size: Some(pb::uint32(STREAM_WINDOW)),
                initial_connection_window_size: Some(pb::uint32(CONNECTION_WINDOW)),
                ..Default::default()
            }),
            ..Default::default()
        }),
        http2_protocol_options: None,
        ..manager(key, spec, false, logs)
    }
}

/// Makes the filter that a connection manager is.
pub(super) fn filter(manager: &hcm::HttpConnectionManager) -> listener::Filter {
    listener::Filter {
        name: "envoy.filters.network.http_connection_manager".into(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(pb::any(manager))),
    }
}

fn manager(
    key: &ObjectKey,
    spec: &Listener,
    challenges: bool,
    logs: Vec<access_log::AccessLog>,
) -> hcm::HttpConnectionManager {
    use hcm::http_connection_manager::{RouteSpecifier, ServerHeaderTransformation, UpgradeConfig};
    let options = spec.http.clone().unwrap_or_default();
    let mut manager = hcm::HttpConnectionManager {
        access_log: logs,
        codec_type: CodecType::Auto as i32,
        stat_prefix: names::plain(key),
        http_filters: filters::listener(Extras {
            alt_svc: alt_svc(spec),
            challenges,
            compression: spec.compression(),
        }),
        http2_protocol_options: Some(core::Http2ProtocolOptions {
            max_concurrent_streams: Some(pb::uint32(streams(spec))),
            initial_stream_window_size: Some(pb::uint32(STREAM_WINDOW)),
            initial_connection_window_size: Some(pb::uint32(CONNECTION_WINDOW)),
            ..Default::default()
        }),
        server_header_transformation: ServerHeaderTransformation::PassThrough as i32,
        stream_idle_timeout: Some(pb::duration(
            options.stream_idle_timeout.unwrap_or(STREAM_IDLE_TIMEOUT),
        )),
        request_headers_timeout: Some(pb::duration(
            options.request_headers_timeout.unwrap_or(REQUEST_HEADERS_TIMEOUT),
        )),
        common_http_protocol_options: Some(common(&options)),
        max_request_headers_kb: options.max_request_headers_kb.map(pb::uint32),
        use_remote_address: Some(pb::boolean(true)),
        xff_num_trusted_hops: options.trusted_hops.unwrap_or(0),
        normalize_path: Some(pb::boolean(true)),
        strip_trailing_host_dot: true,
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".into(),
            ..Default::default()
        }],
        route_specifier: Some(RouteSpecifier::ScopedRoutes(scoped_routes(key))),
        ..Default::default()
    };
    let clients = spec.tls.as_ref().and_then(|tls| tls.clients.as_ref());
    client_certificates::forward(&mut manager, clients);
    manager
}

/// Returns what clients are told of HTTP/3 (RFC 7838).
fn alt_svc(spec: &Listener) -> Option<String> {
    let http3 = spec.http3()?;
    let port = http3.advertised_port.unwrap_or(spec.port);
    Some(format!("h3=\":{port}\"; ma={}", http3.max_age.as_secs()))
}

fn streams(spec: &Listener) -> u32 {
    spec.http.as_ref().and_then(|options| options.max_concurrent_streams).unwrap_or(STREAMS)
}

/// How long connections stay (Envoy's own times where nothing is asked for: an hour idle, no bound), and
/// that headers with `_` in their names are dropped: many servers take them for those with `-`, by which
/// a client would say what only we say.
fn common(options: &HttpOptions) -> core::HttpProtocolOptions {
    use core::http_protocol_options::HeadersWithUnderscoresAction;
    core::HttpProtocolOptions {
        idle_timeout: options.idle_timeout.map(pb::duration),
        max_connection_duration: options.max_connection_duration.map(pb::duration),
        headers_with_underscores_action: HeadersWithUnderscoresAction::DropHeader as i32,
        ..Default::default()
    }
}

/// Says that the scope is the `:authority` up to its colon, among the scopes of this listener.
fn scoped_routes(key: &ObjectKey) -> hcm::ScopedRoutes {
    use hcm::scoped_routes::{
        ConfigSpecifier, ScopeKeyBuilder,
        scope_key_builder::{
            FragmentBuilder,
            fragment_builder::{HeaderValueExtractor, Type, header_value_extractor::ExtractType},
        },
    };
    hcm::ScopedRoutes {
        name: names::plain(key),
        scope_key_builder: Some(ScopeKeyBuilder {
            fragments: vec![FragmentBuilder {
                r#type: Some(Type::HeaderValueExtractor(HeaderValueExtractor {
                    name: ":authority".into(),
                    element_separator: ":".into(),
                    extract_type: Some(ExtractType::Index(0)),
                })),
            }],
        }),
        // Tables come inside their scopes, but Envoy insists on a source for those that do not.
        rds_config_source: Some(pb::ads(ROUTES_TIMEOUT)),
        config_specifier: Some(ConfigSpecifier::ScopedRds(hcm::ScopedRds {
            scoped_rds_config_source: Some(pb::ads(ROUTES_TIMEOUT)),
            srds_resources_locator: names::scopes(key),
        })),
    }
}
