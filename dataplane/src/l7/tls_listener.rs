//! TLS that passes through, to the service of the host that a client asks for (SNI).
//!
//! Each route is a chain of its own: Envoy leaves connections alone whose chain stays the same. Of the
//! hosts that fit it takes the one by name, then the longest wildcard, whatever the order of chains.

use std::sync::Arc;

use model::{ObjectKey, TlsRoute};
use serde::Serialize;

use super::{
    l4_listener, names,
    origin::Origin,
    pb::{self, access_log, listener, tls_inspector},
};

/// What a chain takes by the first bytes; what is no TLS fits no chain, and is closed.
const TRANSPORT: &str = "tls";
/// The host of routes that take what no other host does.
const EVERY_HOST: &str = "*";

/// A route and what it is called.
type Attached<'a> = (ObjectKey, &'a TlsRoute);

/// Makes the filter that reads what a client asks for.
pub(super) fn inspector() -> listener::ListenerFilter {
    let filter = tls_inspector::TlsInspector::default();
    listener::ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".into(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(pb::any(&filter))),
        ..Default::default()
    }
}

/// Makes the chains of a listener.
pub(super) fn chains(
    name: &str,
    routes: &[Attached<'_>],
    logs: &[access_log::AccessLog],
) -> Vec<listener::FilterChain> {
    let chain = |(key, route): &Attached<'_>, hosts: Vec<String>| {
        let used = l4_listener::used(&route.backends);
        listener::FilterChain {
            name: names::plain(key),
            filter_chain_match: Some(listener::FilterChainMatch {
                server_names: hosts,
                transport_protocol: TRANSPORT.into(),
                ..Default::default()
            }),
            ..l4_listener::tcp_chain(name, &used, logs.to_vec())
        }
    };
    let mut chains = Vec::new();
    for attached in routes {
        let (any, named): (Vec<String>, Vec<String>) =
            attached.1.hosts.iter().cloned().partition(|host| host == EVERY_HOST);
        if !named.is_empty() {
            chains.push(chain(attached, named));
        }
        if !any.is_empty() {
            chains.push(chain(attached, Vec::new()));
        }
    }
    chains
}

/// Lists the clusters that get traffic.
pub(super) fn clusters(routes: &[Attached<'_>]) -> Vec<Arc<str>> {
    let used = routes.iter().flat_map(|(_, route)| l4_listener::used(&route.backends));
    used.map(|(cluster, _)| cluster).collect()
}

/// Returns what of the routes is the listener's: not the other listeners that they attach to.
pub(super) fn version_part(routes: &[Attached<'_>]) -> impl Serialize {
    let parts =
        routes.iter().map(|(key, route)| (names::plain(key), &route.hosts, &route.backends));
    parts.collect::<Vec<_>>()
}

/// Lists what Envoy might quote of the routes.
pub(super) fn origins(routes: &[Attached<'_>]) -> impl Iterator<Item = Origin> {
    routes.iter().flat_map(|(key, route)| {
        route.hosts.iter().enumerate().map(|(index, host)| Origin {
            object: key.clone(),
            field: format!("spec.hosts[{index}]"),
            text: host.clone(),
            route: None,
        })
    })
}
