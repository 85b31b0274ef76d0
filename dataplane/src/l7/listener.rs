//! Listeners: an address, and what speaks there.

mod access_log;
pub(super) mod challenge_chain;
mod connections;
mod http3;

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use model::{
    AcmeChallenge, L4Route, Listener, Object, ObjectKey, Spec, TlsRoute,
    listener::{ListenAddress, Protocol},
};

use super::{
    ResourceType, downstream_tls, filters, http_listener, l4_listener, names,
    origin::Origin,
    pb::{self, access_log as logs, listener as lds},
    resource::{Resource, ResourceId},
    tls_listener,
    version::Version,
};

/// How much one connection may have buffered before the sender is slowed down; a quarter of
/// Envoy's own megabyte, since many connections wait at once.
const CONNECTION_BUFFER: u32 = 256 * 1024;

/// Makes the resource of a listener; nothing for TCP, UDP and TLS listeners without a route, whose
/// port stays closed.
///
/// `any` is the address that `*` means; `routes` the attached TCP, UDP and TLS routes; of
/// `challenges` of ACME HTTP listeners answer one kind, and HTTPS listeners the other.
pub(super) fn listener(
    key: &ObjectKey,
    spec: &Listener,
    any: IpAddr,
    routes: &[&Object],
    challenges: &BTreeSet<AcmeChallenge>,
) -> Option<Resource> {
    let name = names::plain(key);
    let attached = Attached::of(spec.protocol, routes);
    let logs = access_logs(key, spec);
    let mut message = bare(key, spec, any, spec.protocol.is_udp());
    let mut clusters = Vec::new();
    let mut wants = Vec::new();
    let challenge = challenges.iter().copied().find(|challenge| match challenge {
        AcmeChallenge::Http01 => spec.protocol == Protocol::Http,
        AcmeChallenge::TlsAlpn01 => spec.protocol == Protocol::Https,
    });
    match spec.protocol {
        Protocol::Http | Protocol::Https => {
            let over_http = challenge == Some(AcmeChallenge::Http01);
            message.filter_chains = vec![http_listener::chain(key, spec, over_http, logs)];
            wants = http_wants(key, spec);
            if challenge == Some(AcmeChallenge::TlsAlpn01) {
                message.listener_filters = vec![tls_listener::inspector()];
                message.filter_chains.push(challenge_chain::chain(key));
                wants.push(challenge_chain::want(key));
            }
        }
        Protocol::Tls => {
            if attached.tls.is_empty() {
                return None;
            }
            message.listener_filters = vec![tls_listener::inspector()];
            message.filter_chains = tls_listener::chains(&name, &attached.tls, &logs);
            clusters = tls_listener::clusters(&attached.tls);
        }
        Protocol::Tcp => {
            let used = l4_listener::used(&attached.l4?.backends);
            message.filter_chains = vec![l4_listener::tcp_chain(&name, &used, logs)];
            clusters = used.into_iter().map(|(cluster, _)| cluster).collect();
        }
        Protocol::Udp => {
            // Envoy's UDP proxy knows no shares: the largest gets all.
            let used = l4_listener::used(&attached.l4?.backends);
            let (cluster, _) = used.into_iter().rev().max_by_key(|(_, weight)| *weight)?;
            message.listener_filters = vec![l4_listener::udp_filter(&name, &cluster)];
            clusters = vec![cluster];
        }
    }
    if let Some(wanted) = spec.proxy_protocol {
        message.listener_filters.insert(0, connections::proxy_protocol(wanted));
    }
    message.name = name;
    let made = Made { message, clusters, wants, challenge };
    Some(resource(key, spec, any, &attached, made))
}

/// Makes the resource of a listener's HTTP/3, where it is spoken: another listener with the same
/// routes, on the UDP port of the same number.
pub(super) fn http3(key: &ObjectKey, spec: &Listener, any: IpAddr) -> Option<Resource> {
    spec.http3()?;
    let tls = spec.tls.as_ref()?;
    let mut message = bare(key, spec, any, true);
    message.name = names::http3(key);
    message.udp_listener_config = Some(http3::udp());
    message.filter_chains = vec![http3::chain(key, spec, tls, access_logs(key, spec))];
    let wants = http_wants(key, spec);
    let made = Made { message, clusters: Vec::new(), wants, challenge: None };
    Some(resource(key, spec, any, &Attached::default(), made))
}

/// Makes a listener that does nothing yet.
fn bare(key: &ObjectKey, spec: &Listener, any: IpAddr, is_udp: bool) -> lds::Listener {
    lds::Listener {
        address: Some(pb::socket_address(address(spec, any), spec.port, is_udp)),
        stat_prefix: names::plain(key),
        // An address that is announced may be another node's for the moment.
        freebind: spec.announce.map(|_| pb::boolean(true)),
        per_connection_buffer_limit_bytes: Some(pb::uint32(CONNECTION_BUFFER)),
        ..Default::default()
    }
}

fn address(spec: &Listener, any: IpAddr) -> IpAddr {
    match spec.address {
        ListenAddress::Any => any,
        ListenAddress::Ip(address) => address,
    }
}

fn access_logs(key: &ObjectKey, spec: &Listener) -> Vec<logs::AccessLog> {
    let name = names::plain(key);
    let logs = spec.access_logs.iter();
    logs.map(|log| access_log::access_log(log, &name, spec.protocol)).collect()
}

/// Lists what a listener of HTTP needs before it opens.
fn http_wants(key: &ObjectKey, spec: &Listener) -> Vec<ResourceId> {
    let routes = ResourceId::new(ResourceType::ScopedRoute, names::wildcards(key));
    let tokens = ResourceId::new(ResourceType::ExtensionConfig, filters::jwt::NAME);
    let secrets = spec.tls.iter().flat_map(|tls| downstream_tls::wants(key, tls));
    [routes, tokens].into_iter().chain(secrets).collect()
}

/// The routes that are a listener's own, where it reads no requests.
#[derive(Default)]
struct Attached<'a> {
    /// Of a TCP or UDP listener; of several, which validation refuses, the first.
    l4: Option<&'a L4Route>,
    /// Of a TLS listener.
    tls: Vec<(ObjectKey, &'a TlsRoute)>,
}

impl<'a> Attached<'a> {
    fn of(protocol: Protocol, routes: &[&'a Object]) -> Self {
        let l4 = |object: &&'a Object| match &object.spec {
            Spec::TcpRoute(route) | Spec::UdpRoute(route) if protocol.is_l4() => Some(route),
            _ => None,
        };
        let tls = |object: &&'a Object| match &object.spec {
            Spec::TlsRoute(route) if protocol == Protocol::Tls => Some((object.key(), route)),
            _ => None,
        };
        Self { l4: routes.iter().find_map(l4), tls: routes.iter().filter_map(tls).collect() }
    }
}

/// What a listener does, and what it needs for that.
struct Made {
    message: lds::Listener,
    clusters: Vec<Arc<str>>,
    wants: Vec<ResourceId>,
    challenge: Option<AcmeChallenge>,
}

/// Completes the resource of a listener.
fn resource(
    key: &ObjectKey,
    spec: &Listener,
    any: IpAddr,
    attached: &Attached<'_>,
    made: Made,
) -> Resource {
    let Made { mut message, mut clusters, wants, challenge } = made;
    if let Some(limit) = connections::limit(&message.stat_prefix, spec) {
        for chain in &mut message.filter_chains {
            chain.filters.insert(0, limit.clone());
        }
    }
    clusters.extend(access_log::clusters(&spec.access_logs));
    clusters.sort();
    clusters.dedup();
    let address = address(spec, any);
    // Files are the secrets' business: another path must not drain connections.
    let bare = Listener { tls: None, ..spec.clone() };
    let mut version = Version::of(ResourceType::Listener)
        .part(&message.name)
        .part(&bare)
        .part(&address)
        .part(&attached.l4.map(|route| &route.backends));
    if spec.protocol.is_http() {
        // They had none once.
        version.add(&"filters of tokens, logins and limits, no underscores");
    }
    if let Some(tls) = &spec.tls {
        version.add(&downstream_tls::version_part(tls));
    }
    if spec.protocol == Protocol::Tls {
        version.add(&tls_listener::version_part(&attached.tls));
    }
    // What is not there is no part, so that versions of before stay.
    if let Some(challenge) = challenge {
        version.add(&("challenge", challenge));
    }
    let origin = |field: &str, text: String| Origin {
        object: key.clone(),
        field: field.to_owned(),
        text,
        route: None,
    };
    Resource {
        version: version.finish(),
        name: message.name.as_str().into(),
        body: pb::any(&message),
        clusters,
        wants,
        object: key.clone(),
        origins: [
            origin("spec.port", format!("{address}:{}", spec.port)),
            origin("spec.port", format!("[{address}]:{}", spec.port)),
            origin("spec.address", address.to_string()),
        ]
        .into_iter()
        .chain(tls_listener::origins(&attached.tls))
        .collect(),
    }
}
