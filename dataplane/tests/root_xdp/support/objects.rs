//! Configurations for the tests.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use dataplane::{Changed, Desired};
use model::{
    Listener, Metadata, Object, Revision, Snapshot, Spec,
    listener::{EngineChoice, Forwarding, ListenAddress, Protocol, SynCookies},
    route::{L4Route, Reference, WeightedBackend},
    service::{Endpoint, LoadBalancing, Service},
};

/// A listener with its own service.
pub(crate) struct Balanced {
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    /// `None` for every address of the node.
    pub(crate) address: Option<&'static str>,
    pub(crate) port: u16,
    pub(crate) forwarding: Forwarding,
    pub(crate) endpoints: Vec<SocketAddr>,
}

pub(crate) fn addresses(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|text| text.parse().expect("an address and port")).collect()
}

pub(crate) fn desired(revision: u64, all: &[Balanced]) -> Desired {
    let mut config = Snapshot::default();
    for balanced in all {
        for spec in specs(balanced) {
            let metadata = Metadata {
                name: balanced.name.to_owned(),
                namespace: "default".to_owned(),
                labels: BTreeMap::new(),
            };
            config.put(Arc::new(Object { metadata, spec }));
        }
    }
    config.set_revision(Revision(revision));
    Desired::of(config, Changed::Snapshot)
}

/// Adds the objects of some documents, such as packet filters.
pub(crate) fn desired_with(revision: u64, all: &[Balanced], documents: &str) -> Desired {
    let mut desired = desired(revision, all);
    if !documents.is_empty() {
        let objects = model::parse::parse_documents(documents);
        for object in objects.unwrap_or_else(|errors| panic!("{errors}")) {
            desired.config.put(Arc::new(object));
        }
    }
    desired.config.set_revision(Revision(revision));
    desired
}

fn specs(balanced: &Balanced) -> [Spec; 3] {
    let reference =
        || Reference { namespace: "default".to_owned(), name: balanced.name.to_owned() };
    let address = match balanced.address {
        Some(text) => ListenAddress::Ip(text.parse().expect("an address")),
        None => ListenAddress::Any,
    };
    let listener = Listener {
        protocol: balanced.protocol,
        address,
        port: balanced.port,
        engine: EngineChoice::Xdp,
        forwarding: Some(balanced.forwarding),
        // Tests of connections begin more than a client would complete.
        syn_cookies: (!balanced.protocol.is_udp() && balanced.forwarding == Forwarding::Nat)
            .then_some(SynCookies::Never),
        announce: None,
        tls: None,
        proxy_protocol: None,
        max_connections: None,
        http: None,
        access_logs: Vec::new(),
    };
    let route = L4Route {
        listeners: vec![reference()],
        backends: vec![WeightedBackend { service: reference(), weight: 1 }],
    };
    let service =
        Service::of(balanced.endpoints.iter().map(|address| Endpoint::new(*address)).collect());
    let service = Service { load_balancing: LoadBalancing::Maglev, ..service };
    let route =
        if balanced.protocol.is_udp() { Spec::UdpRoute(route) } else { Spec::TcpRoute(route) };
    [Spec::Listener(listener), route, Spec::Service(Box::new(service))]
}
