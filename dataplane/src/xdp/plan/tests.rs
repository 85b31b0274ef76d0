//! What is carried and what is not, with its reason.

use std::{collections::BTreeMap, sync::Arc};

use model::{
    listener::Protocol,
    object::{Metadata, Object, Spec},
    route::{L4Route, Reference},
    service::{Endpoint, LoadBalancing, Locality, Service},
};

use super::*;

fn object(name: &str, spec: Spec) -> Arc<Object> {
    let metadata = Metadata {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        labels: BTreeMap::new(),
    };
    Arc::new(Object { metadata, spec })
}

fn reference(name: &str) -> Reference {
    Reference { namespace: "default".to_owned(), name: name.to_owned() }
}

fn listener(address: ListenAddress, port: u16, engine: EngineChoice) -> Spec {
    Spec::Listener(Listener { protocol: Protocol::Tcp, address, port, engine, tls: None })
}

fn service(endpoints: &[&str]) -> Spec {
    let endpoints = endpoints
        .iter()
        .map(|text| {
            let address: SocketAddr = text.parse().unwrap();
            Endpoint {
                address: address.ip(),
                port: address.port(),
                weight: 1,
                locality: Locality::default(),
            }
        })
        .collect();
    Spec::Service(Service {
        endpoints,
        load_balancing: LoadBalancing::Maglev,
        connect_timeout: std::time::Duration::from_secs(5),
        health_check: None,
    })
}

fn route(listeners: &[&str], backends: &[(&str, u32)]) -> Spec {
    Spec::TcpRoute(L4Route {
        listeners: listeners.iter().map(|name| reference(name)).collect(),
        backends: backends
            .iter()
            .map(|(name, weight)| WeightedBackend { service: reference(name), weight: *weight })
            .collect(),
    })
}

fn config(objects: &[(&str, Spec)]) -> Snapshot {
    let mut config = Snapshot::default();
    config.set_revision(Revision(7));
    for (name, spec) in objects {
        config.put(object(name, spec.clone()));
    }
    config
}

fn node() -> NodeView {
    NodeView {
        local: ["10.0.0.1".parse().unwrap()].into(),
        source_v4: Some("10.0.0.1".parse().unwrap()),
        source_v6: None,
        listen: None,
    }
}

fn check(listening: Spec, endpoints: &[&str], expected: Result<(), NotCarried>) {
    let config = config(&[
        ("in", listening),
        ("way", route(&["in"], &[("shop", 1)])),
        ("shop", service(endpoints)),
    ]);
    let plan = plan(&config, &BTreeSet::new(), &node());
    let placement = plan.placements.values().next().expect("one listener").clone();
    let found = match placement {
        Placement::Carried => Ok(()),
        Placement::NotCarried(reason) => Err(reason),
    };
    assert_eq!(found, expected);
    assert_eq!(plan.carried.len(), usize::from(expected.is_ok()));
}

#[test]
fn each_listener_is_carried_or_has_its_reason() {
    let any = |engine| listener(ListenAddress::Any, 80, engine);
    let at = |ip: &str| listener(ListenAddress::Ip(ip.parse().unwrap()), 80, EngineChoice::Auto);
    check(any(EngineChoice::Auto), &["10.0.0.2:80"], Ok(()));
    check(any(EngineChoice::Xdp), &["10.0.0.2:80"], Ok(()));
    check(any(EngineChoice::Envoy), &["10.0.0.2:80"], Err(NotCarried::EnvoyChosen));
    check(any(EngineChoice::Auto), &[], Err(NotCarried::NoEndpoint));
    let address = "10.0.0.1".parse().unwrap();
    check(any(EngineChoice::Auto), &["10.0.0.1:80"], Err(NotCarried::EndpointOnNode { address }));
    let address = "127.0.0.1".parse().unwrap();
    check(any(EngineChoice::Auto), &["127.0.0.1:8"], Err(NotCarried::EndpointOnNode { address }));
    let address = "fd00::9".parse().unwrap();
    check(at("fd00::9"), &["10.0.0.2:80"], Err(NotCarried::OtherFamily { address }));
    check(any(EngineChoice::Auto), &["[fd00::2]:80"], Err(NotCarried::NoSource { family: "IPv6" }));
    let reserved = listener(ListenAddress::Any, 61_000, EngineChoice::Auto);
    check(reserved, &["10.0.0.2:80"], Err(NotCarried::ReservedPort { port: 61_000 }));
}

#[test]
fn a_listener_without_a_route_is_not_carried() {
    let config = config(&[("in", listener(ListenAddress::Any, 80, EngineChoice::Auto))]);
    let plan = plan(&config, &BTreeSet::new(), &node());
    let reason = plan.placements.into_values().next();
    assert_eq!(reason, Some(Placement::NotCarried(NotCarried::NoRoute)));
}

#[test]
fn services_share_by_route_weight_whatever_their_number_of_endpoints() {
    let config = config(&[
        ("in", listener(ListenAddress::Any, 80, EngineChoice::Auto)),
        ("way", route(&["in"], &[("one", 3), ("two", 1), ("none", 0)])),
        ("one", service(&["10.0.0.2:80"])),
        ("two", service(&["10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80"])),
        ("none", service(&["10.0.0.6:80"])),
    ]);
    let plan = plan(&config, &BTreeSet::new(), &node());
    let weights: Vec<u64> = plan.carried[0].v4.iter().map(|backend| backend.weight).collect();
    assert_eq!(weights.len(), 4);
    assert_eq!(weights[1], weights[2]);
    assert!(weights[0].abs_diff(9 * weights[1]) <= 9);
}

#[test]
fn unhealthy_endpoints_leave_and_when_all_are_the_set_is_kept() {
    let config = config(&[
        ("in", listener(ListenAddress::Any, 80, EngineChoice::Auto)),
        ("way", route(&["in"], &[("shop", 1)])),
        ("shop", service(&["10.0.0.2:80", "10.0.0.3:80"])),
    ]);
    let id = |address: &str| EndpointId {
        service: ObjectKey::new(Kind::Service, "default", "shop"),
        address: address.parse().unwrap(),
    };
    let one = plan(&config, &[id("10.0.0.2:80")].into(), &node());
    assert_eq!(one.carried[0].v4.len(), 1);
    assert!(one.notes.is_empty());
    let all = plan(&config, &[id("10.0.0.2:80"), id("10.0.0.3:80")].into(), &node());
    assert_eq!(all.carried[0].v4.len(), 2);
    assert_eq!(all.notes, ["all endpoints of Service/default/shop are unhealthy: all are kept"]);
}
