//! Listeners: an address, and what speaks there.

mod access_log;
mod connections;

use std::net::IpAddr;

use model::{
    Listener, ObjectKey,
    listener::{ListenAddress, Protocol},
    route::L4Route,
};

use super::{
    ResourceType, downstream_tls, http_listener, l4_listener, names,
    origin::Origin,
    pb::{self, listener as lds},
    resource::{Resource, ResourceId},
    version::Version,
};

/// How much one connection may have buffered before the sender is slowed down; a quarter of
/// Envoy's own megabyte, since many connections wait at once.
const CONNECTION_BUFFER: u32 = 256 * 1024;

/// Makes the resource of a listener; nothing for TCP and UDP listeners without a route, whose port
/// stays closed.
///
/// `any` is the address that `*` means; `route` the first of the attached TCP or UDP routes.
pub(super) fn listener(
    key: &ObjectKey,
    spec: &Listener,
    any: IpAddr,
    route: Option<&L4Route>,
) -> Option<Resource> {
    let name = names::plain(key);
    let route = route.filter(|_| !spec.protocol.is_http());
    let address = match spec.address {
        ListenAddress::Any => any,
        ListenAddress::Ip(address) => address,
    };
    let mut message = lds::Listener {
        name: name.clone(),
        address: Some(pb::socket_address(address, spec.port, spec.protocol.is_udp())),
        stat_prefix: name.clone(),
        // An address that is announced may be another node's for the moment.
        freebind: spec.announce.map(|_| pb::boolean(true)),
        per_connection_buffer_limit_bytes: Some(pb::uint32(CONNECTION_BUFFER)),
        ..Default::default()
    };
    let logs: Vec<_> = spec
        .access_logs
        .iter()
        .map(|log| access_log::access_log(log, &name, spec.protocol))
        .collect();
    let mut clusters = Vec::new();
    let mut wants = Vec::new();
    match spec.protocol {
        Protocol::Http | Protocol::Https => {
            message.filter_chains = vec![http_listener::chain(key, spec, logs)];
            wants.push(ResourceId::new(ResourceType::ScopedRoute, names::wildcards(key)));
            wants.extend(spec.tls.iter().flat_map(|tls| downstream_tls::wants(key, tls)));
        }
        Protocol::Tcp => {
            let used = l4_listener::used(&route?.backends);
            message.filter_chains = vec![l4_listener::tcp_chain(&name, &used, logs)];
            clusters = used.into_iter().map(|(cluster, _)| cluster).collect();
        }
        Protocol::Udp => {
            // Envoy's UDP proxy knows no shares: the largest gets all.
            let used = l4_listener::used(&route?.backends);
            let (cluster, _) = used.into_iter().rev().max_by_key(|(_, weight)| *weight)?;
            message.listener_filters = vec![l4_listener::udp_filter(&name, &cluster)];
            clusters = vec![cluster];
        }
    }
    if let Some(wanted) = spec.proxy_protocol {
        message.listener_filters.insert(0, connections::proxy_protocol(wanted));
    }
    if let Some(limit) = connections::limit(&name, spec) {
        for chain in &mut message.filter_chains {
            chain.filters.insert(0, limit.clone());
        }
    }
    clusters.extend(access_log::clusters(&spec.access_logs));
    clusters.sort();
    clusters.dedup();
    // Files are the secrets' business: another path must not drain connections.
    let bare = Listener { tls: None, ..spec.clone() };
    let mut version = Version::of(ResourceType::Listener)
        .part(&name)
        .part(&bare)
        .part(&address)
        .part(&route.map(|route| &route.backends));
    if let Some(tls) = &spec.tls {
        version.add(&downstream_tls::version_part(tls));
    }
    let origin = |field: &str, text: String| Origin {
        object: key.clone(),
        field: field.to_owned(),
        text,
        route: None,
    };
    Some(Resource {
        version: version.finish(),
        name: name.into(),
        body: pb::any(&message),
        clusters,
        wants,
        object: key.clone(),
        origins: vec![
            origin("spec.port", format!("{address}:{}", spec.port)),
            origin("spec.port", format!("[{address}]:{}", spec.port)),
            origin("spec.address", address.to_string()),
        ],
    })
}
