//! The plan: what XDP carries of a configuration, and the decision on one listener (pure).
//!
//! A listener is carried as a whole or not at all. Which endpoints get how much of it is
//! `spread`'s; [`super::planner`] keeps a plan in step with what is desired.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ebpf_common::layout::{SNAT_PORT_FIRST, SNAT_PORT_LAST, TCP, UDP};
use imbl::OrdMap;
use model::{
    EndpointId, Kind, Listener, ObjectKey, Revision, Service, Snapshot,
    listener::{EngineChoice, Forwarding, ListenAddress, SynCookies},
    route::WeightedBackend,
};

use super::{
    maglev::{BACKENDS_MAX, Weighted},
    placement::{NotCarried, Placement},
    qos::Policy,
    slow_start::SlowStarts,
    spread,
};

/// What the plan must know of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// All addresses of the node but loopback ones.
    pub local: BTreeSet<IpAddr>,
    /// The IPv4 address that connections to endpoints leave from.
    pub source_v4: Option<IpAddr>,
    /// The IPv6 address that connections to endpoints leave from.
    pub source_v6: Option<IpAddr>,
    /// The address that listeners on `*` take; any local one when absent.
    pub listen: Option<IpAddr>,
}

/// What a packet must be for, to belong to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The address; any local one when absent.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
}

/// A listener that XDP carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Which listener.
    pub listener: ObjectKey,
    /// What its packets look like.
    pub frontend: Frontend,
    /// How they get to an endpoint.
    pub forwarding: Forwarding,
    /// When SYNs are answered by cookies.
    pub syn_cookies: SynCookies,
    /// The services that its route leads to, sorted.
    pub services: Vec<ObjectKey>,
    /// IPv4 endpoints, sorted.
    pub v4: Vec<Weighted>,
    /// IPv6 endpoints, sorted.
    pub v6: Vec<Weighted>,
    /// The policy for it.
    pub policy: Option<Policy>,
}

/// What XDP should do. Cloning is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L4Plan {
    /// The configuration's revision.
    pub revision: Revision,
    /// The listeners carried.
    pub carried: OrdMap<Frontend, Arc<Carried>>,
    /// Where each TCP and UDP listener is carried.
    pub placements: OrdMap<ObjectKey, Placement>,
    /// Particulars for people, by the listener that they concern.
    pub notes: OrdMap<ObjectKey, Vec<String>>,
}

impl Carried {
    /// Walks over the endpoints of both families.
    pub fn backends(&self) -> impl Iterator<Item = &Weighted> {
        self.v4.iter().chain(&self.v6)
    }
}

/// What the decision on a listener is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grounds<'a> {
    pub(super) config: &'a Snapshot,
    pub(super) unhealthy: &'a BTreeSet<EndpointId>,
    pub(super) node: &'a NodeView,
    pub(super) starts: &'a SlowStarts,
}

/// Decides whether XDP can carry a TCP or UDP listener, given the backends of its route.
///
/// # Errors
/// Returns why it cannot.
pub(super) fn carry(
    key: &ObjectKey,
    listener: &Listener,
    backends: Option<&[WeightedBackend]>,
    grounds: Grounds<'_>,
    notes: &mut Vec<String>,
) -> Result<Carried, NotCarried> {
    let node = grounds.node;
    if listener.engine == EngineChoice::Envoy {
        return Err(NotCarried::EnvoyChosen);
    }
    if (SNAT_PORT_FIRST..=SNAT_PORT_LAST).contains(&listener.port) {
        return Err(NotCarried::ReservedPort { port: listener.port });
    }
    let backends = backends.ok_or(NotCarried::NoRoute)?;
    for WeightedBackend { service: wanted, .. } in backends {
        let service = grounds.config.service(&wanted.namespace, &wanted.name);
        if let Some(need) = service.and_then(Service::needs_envoy) {
            let service = ObjectKey::new(Kind::Service, &wanted.namespace, &wanted.name);
            return Err(NotCarried::needs_envoy(service, need));
        }
    }
    let mut endpoints = spread::endpoints(backends, grounds, notes);
    let on_node = |ip: &IpAddr| ip.is_loopback() || ip.is_unspecified() || node.local.contains(ip);
    let forwarding = listener.forwarding();
    let other_port = |port: u16| forwarding != Forwarding::Nat && port != listener.port;
    // One without a share that XDP could not deliver to has no flows to keep.
    endpoints.retain(|address, share| {
        *share > 0 || !on_node(&address.ip()) && !other_port(address.port())
    });
    if endpoints.is_empty() {
        return Err(NotCarried::NoEndpoint);
    }
    if endpoints.len() > BACKENDS_MAX {
        return Err(NotCarried::TooManyEndpoints { found: endpoints.len(), max: BACKENDS_MAX });
    }
    if let Some(address) = endpoints.keys().map(SocketAddr::ip).find(on_node) {
        return Err(NotCarried::EndpointOnNode { address });
    }
    let address = match listener.address {
        ListenAddress::Ip(ip) => Some(ip),
        ListenAddress::Any => node.listen,
    };
    let weighted =
        |(address, weight): (&SocketAddr, &u64)| Weighted { address: *address, weight: *weight };
    let mut v4: Vec<_> = endpoints.iter().filter(|(a, _)| a.is_ipv4()).map(weighted).collect();
    let mut v6: Vec<_> = endpoints.iter().filter(|(a, _)| a.is_ipv6()).map(weighted).collect();
    if let Some(address) = address {
        // Full NAT stays within an IP version.
        if address.is_ipv4() {
            v6.clear();
        } else {
            v4.clear();
        }
        if v4.is_empty() && v6.is_empty() {
            return Err(NotCarried::OtherFamily { address });
        }
    }
    let other = |backend: &&Weighted| other_port(backend.address.port());
    if let Some(backend) = v4.iter().chain(&v6).find(other) {
        let (endpoint, port) = (backend.address, listener.port);
        return Err(NotCarried::OtherPort { endpoint, port, forwarding });
    }
    let begins = |all: &[Weighted]| all.iter().any(|backend| backend.weight > 0);
    if begins(&v4) && node.source_v4.is_none() {
        return Err(NotCarried::NoSource { family: "IPv4" });
    }
    if begins(&v6) && node.source_v6.is_none() {
        return Err(NotCarried::NoSource { family: "IPv6" });
    }
    let protocol = if listener.protocol.is_udp() { UDP } else { TCP };
    let frontend = Frontend { address, port: listener.port, protocol };
    let mut services: Vec<ObjectKey> = backends
        .iter()
        .filter(|backend| backend.weight > 0)
        .map(|WeightedBackend { service, .. }| {
            ObjectKey::new(Kind::Service, &service.namespace, &service.name)
        })
        .collect();
    services.sort();
    services.dedup();
    let syn_cookies = listener.syn_cookies();
    let listener = key.clone();
    Ok(Carried { listener, frontend, forwarding, syn_cookies, services, v4, v6, policy: None })
}
