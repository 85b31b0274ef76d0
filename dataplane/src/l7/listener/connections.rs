//! What a listener does with a connection before anything reads its bytes.

use model::{Listener, listener::ClientProxyProtocol};

use crate::l7::pb::{self, client_proxy_protocol, connection_limit, listener};

/// Makes the filter that reads who the client is from a PROXY header.
pub(super) fn proxy_protocol(wanted: ClientProxyProtocol) -> listener::ListenerFilter {
    let filter = client_proxy_protocol::ProxyProtocol {
        allow_requests_without_proxy_protocol: wanted == ClientProxyProtocol::Optional,
        ..Default::default()
    };
    listener::ListenerFilter {
        name: "envoy.filters.listener.proxy_protocol".into(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(pb::any(&filter))),
        ..Default::default()
    }
}

/// Makes the filter that closes connections beyond a limit, when there is one.
pub(super) fn limit(name: &str, spec: &Listener) -> Option<listener::Filter> {
    let filter = connection_limit::ConnectionLimit {
        stat_prefix: name.to_owned(),
        max_connections: Some(pb::UInt64Value { value: spec.max_connections?.into() }),
        ..Default::default()
    };
    Some(listener::Filter {
        name: "envoy.filters.network.connection_limit".into(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(pb::any(&filter))),
    })
}
