//! What is carried and what is not, with its reason; and that the way to a plan does not matter.

use std::net::SocketAddr;

use model::{
    Listener, Revision,
    listener::{EngineChoice, Forwarding, ListenAddress, Protocol},
    object::{Metadata, Object},
    route::WeightedBackend,
    service::{Endpoint, LoadBalancing, Service},
};
use proptest::prelude::*;

use super::*;
use crate::xdp::maglev::Weighted;

/// The plan made in one step.
fn plan(config: &Snapshot, unhealthy: &BTreeSet<EndpointId>, node: &NodeView) -> L4Plan {
    let mut planner = Planner::default();
    planner.update(config, &Arc::new(unhealthy.clone()), node, Instant::now());
    planner.plan().clone()
}

fn only(plan: &L4Plan) -> &Carried {
    let mut all = plan.carried.values();
    let only = all.next().expect("one");
    assert!(all.next().is_none());
    only
}

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
    Spec::Listener(Listener {
        protocol: Protocol::Tcp,
        address,
        port,
        engine,
        forwarding: Some(Forwarding::Nat),
        syn_cookies: None,
        announce: None,
        tls: None,
        proxy_protocol: None,
        max_connections: None,
        http: None,
        access_logs: Vec::new(),
    })
}

fn service(endpoints: &[&str]) -> Spec {
    let endpoints = endpoints.iter().map(|text| Endpoint::new(text.parse().unwrap())).collect();
    let service = Service { load_balancing: LoadBalancing::Maglev, ..Service::of(endpoints) };
    Spec::Service(Box::new(service))
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
fn a_service_with_the_proxy_protocol_is_left_to_envoy() {
    let Spec::Service(mut service) = service(&["10.0.0.2:80"]) else { unreachable!() };
    service.proxy_protocol = Some(model::service::ProxyProtocol::V2);
    let config = config(&[
        ("in", listener(ListenAddress::Any, 80, EngineChoice::Auto)),
        ("way", route(&["in"], &[("shop", 1)])),
        ("shop", Spec::Service(service)),
    ]);
    let plan = plan(&config, &BTreeSet::new(), &node());
    let service = ObjectKey::new(Kind::Service, "default", "shop");
    let placed: Vec<_> = plan.placements.values().cloned().collect();
    assert_eq!(placed, [Placement::NotCarried(NotCarried::ProxyProtocol { service })]);
}

#[test]
fn what_is_not_nat_needs_the_listeners_port_at_each_endpoint() {
    let Spec::Listener(nat) =
        listener(ListenAddress::Ip("192.0.2.1".parse().unwrap()), 80, EngineChoice::Auto)
    else {
        panic!("a listener")
    };
    for forwarding in [Forwarding::L2, Forwarding::Ipip, Forwarding::Gue] {
        let spec = || Spec::Listener(Listener { forwarding: Some(forwarding), ..nat.clone() });
        check(spec(), &["10.0.0.2:80"], Ok(()));
        let endpoint = "10.0.0.3:81".parse().unwrap();
        let reason = NotCarried::OtherPort { endpoint, port: 80, forwarding };
        check(spec(), &["10.0.0.2:80", "10.0.0.3:81"], Err(reason));
    }
}

#[test]
fn a_listener_without_a_route_is_not_carried() {
    let config = config(&[("in", listener(ListenAddress::Any, 80, EngineChoice::Auto))]);
    let plan = plan(&config, &BTreeSet::new(), &node());
    let reason = plan.placements.values().next().cloned();
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
    let weights: Vec<u64> = only(&plan).v4.iter().map(|backend| backend.weight).collect();
    assert_eq!((weights.len(), weights[4]), (5, 0));
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
    assert_eq!(only(&one).v4.len(), 1);
    assert!(one.notes.is_empty());
    let all = plan(&config, &[id("10.0.0.2:80"), id("10.0.0.3:80")].into(), &node());
    assert_eq!(only(&all).v4.len(), 2);
    let notes: Vec<_> = all.notes.values().flatten().collect();
    assert_eq!(notes, ["all endpoints of Service/default/shop are unhealthy: all are kept"]);
}

#[test]
fn an_endpoint_without_weight_stays_known_and_gets_no_share() {
    let weighted = |endpoints: &[(&str, u32)]| {
        let names: Vec<&str> = endpoints.iter().map(|(name, _)| *name).collect();
        let Spec::Service(mut service) = service(&names) else { unreachable!() };
        for (endpoint, (_, weight)) in service.endpoints.iter_mut().zip(endpoints) {
            endpoint.weight = *weight;
        }
        Spec::Service(service)
    };
    let plan_of = |endpoints: &[(&str, u32)], routed: &[(&str, u32)], sick: &[&str]| {
        let config = config(&[
            ("in", listener(ListenAddress::Any, 80, EngineChoice::Auto)),
            ("way", route(&["in"], routed)),
            ("shop", weighted(endpoints)),
            ("other", service(&["10.0.0.9:80"])),
        ]);
        let id = |address: &&str| EndpointId {
            service: ObjectKey::new(Kind::Service, "default", "shop"),
            address: address.parse().unwrap(),
        };
        plan(&config, &sick.iter().map(id).collect(), &node())
    };
    let found = |endpoints: &[(&str, u32)], routed: &[(&str, u32)], sick: &[&str]| {
        let plan = plan_of(endpoints, routed, sick);
        let shown = |it: &Weighted| (it.address.to_string(), it.weight > 0);
        plan.carried.values().next().map(|it| it.v4.iter().map(shown).collect::<Vec<_>>())
    };
    let expected = |list: &[(&str, bool)]| {
        Some(list.iter().map(|(address, gets)| ((*address).to_owned(), *gets)).collect::<Vec<_>>())
    };
    let (a, b) = ("10.0.0.2:80", "10.0.0.3:80");
    let only = [("shop", 1)];
    assert_eq!(found(&[(a, 1), (b, 0)], &only, &[]), expected(&[(a, true), (b, false)]));
    assert_eq!(found(&[(a, 0), (b, 0)], &only, &[]), expected(&[(a, false), (b, false)]));
    // A sick one has no flows to keep, and one that XDP could not reach never had.
    assert_eq!(found(&[(a, 1), (b, 0)], &only, &[b]), expected(&[(a, true)]));
    assert_eq!(found(&[(a, 1), ("10.0.0.1:80", 0)], &only, &[]), expected(&[(a, true)]));
    assert_eq!(found(&[("10.0.0.1:80", 0)], &only, &[]), None);
    // All with a weight are sick: these are kept, and the other still gets nothing new.
    assert_eq!(found(&[(a, 1), (b, 0)], &only, &[a]), expected(&[(a, true), (b, false)]));
    // A service without weight keeps its flows as well.
    let both = [("shop", 0), ("other", 1)];
    assert_eq!(found(&[(a, 1)], &both, &[]), expected(&[(a, false), ("10.0.0.9:80", true)]));
}

#[test]
fn an_endpoint_that_comes_starts_slowly_within_its_services_share() {
    let slow = |names: &[&str]| {
        let Spec::Service(mut service) = service(names) else { unreachable!() };
        service.slow_start = Some(model::service::SlowStart {
            window: std::time::Duration::from_secs(30),
            aggression_percent: 100,
            min_weight_percent: 10,
        });
        Spec::Service(service)
    };
    let mut all = config(&[
        ("in", listener(ListenAddress::Any, 80, EngineChoice::Auto)),
        ("way", route(&["in"], &[("shop", 1), ("other", 1)])),
        ("shop", slow(&["10.0.0.2:80"])),
        ("other", service(&["10.0.0.9:80"])),
    ]);
    let mut planner = Planner::default();
    let start = Instant::now();
    let mut at = |all: &Snapshot, second: u64| {
        let now = start + std::time::Duration::from_secs(second);
        let touched = planner.update(all, &Arc::default(), &node(), now);
        let weights: Vec<u64> = only(planner.plan()).v4.iter().map(|it| it.weight).collect();
        let total: u64 = weights.iter().sum();
        (
            touched.len(),
            weights.iter().map(|it| (it * 1000 + total / 2) / total).collect::<Vec<_>>(),
        )
    };
    assert_eq!(at(&all, 0), (1, vec![500, 500]));
    all.put(object("shop", slow(&["10.0.0.2:80", "10.0.0.3:80"])));
    assert_eq!(at(&all, 3), (1, vec![455, 45, 500]));
    assert_eq!(at(&all, 5), (0, vec![455, 45, 500]), "between two steps");
    assert_eq!(at(&all, 18), (1, vec![333, 167, 500]));
    assert_eq!(at(&all, 33), (1, vec![250, 250, 500]));
    assert_eq!(at(&all, 60), (0, vec![250, 250, 500]));
}

#[test]
fn the_first_of_two_listeners_gets_a_frontend_and_the_other_when_it_goes() {
    let at = |ip: &str| listener(ListenAddress::Ip(ip.parse().unwrap()), 80, EngineChoice::Auto);
    let any = listener(ListenAddress::Any, 80, EngineChoice::Auto);
    let mut both = config(&[
        ("a", at("10.0.0.1")),
        ("b", any),
        ("way", route(&["a", "b"], &[("shop", 1)])),
        ("shop", service(&["10.0.0.2:80"])),
    ]);
    let node = NodeView { listen: Some("10.0.0.1".parse().unwrap()), ..node() };
    let mut planner = Planner::default();
    let touched = planner.update(&both, &Arc::default(), &node, Instant::now());
    assert_eq!(touched.len(), 1);
    let [a, b] = ["a", "b"].map(|name| ObjectKey::new(Kind::Listener, "default", name));
    assert_eq!(planner.plan().placements[&a], Placement::Carried);
    let taken = NotCarried::Taken { other: a.clone() };
    assert_eq!(planner.plan().placements[&b], Placement::NotCarried(taken));
    both.remove(&a);
    assert_eq!(planner.update(&both, &Arc::default(), &node, Instant::now()).len(), 1);
    assert_eq!(planner.plan().placements[&b], Placement::Carried);
    assert_eq!(only(planner.plan()).listener, b);
}

#[test]
fn of_more_listeners_than_there_is_room_for_the_first_by_key_are_carried() {
    let name = |n: usize| format!("l{n:05}");
    let key = |n: usize| ObjectKey::new(Kind::Listener, "default", name(n));
    let mut all = config(&[("shop", service(&["10.0.0.2:80"]))]);
    let names: Vec<String> = (0..=CARRIED_MAX).map(name).collect();
    for (n, name) in names.iter().enumerate() {
        all.put(object(name, listener(ListenAddress::Any, 1 + n as u16, EngineChoice::Auto)));
    }
    let attached: Vec<&str> = names.iter().map(String::as_str).collect();
    all.put(object("way", route(&attached, &[("shop", 1)])));
    let mut planner = Planner::default();
    planner.update(&all, &Arc::default(), &node(), Instant::now());
    assert_eq!(planner.plan().carried.len(), CARRIED_MAX);
    let reason = NotCarried::TooManyListeners { max: CARRIED_MAX };
    assert_eq!(planner.plan().placements[&key(CARRIED_MAX)], Placement::NotCarried(reason));
    all.remove(&key(0));
    let touched = planner.update(&all, &Arc::default(), &node(), Instant::now());
    assert_eq!(touched.len(), 2, "one goes, and the one that had no room comes");
    assert_eq!(planner.plan().placements[&key(CARRIED_MAX)], Placement::Carried);
}

#[test]
fn a_change_touches_only_what_it_concerns() {
    let any = |port| listener(ListenAddress::Any, port, EngineChoice::Auto);
    let mut all = config(&[
        ("a", any(80)),
        ("b", any(81)),
        ("way-a", route(&["a"], &[("one", 1)])),
        ("way-b", route(&["b"], &[("two", 1)])),
        ("one", service(&["10.0.0.2:80"])),
        ("two", service(&["10.0.0.3:80"])),
    ]);
    let mut planner = Planner::default();
    planner.update(&all, &Arc::default(), &node(), Instant::now());
    let ports = |touched: BTreeSet<Frontend>| -> Vec<u16> {
        touched.into_iter().map(|frontend| frontend.port).collect()
    };
    all.put(object("two", service(&["10.0.0.3:80", "10.0.0.4:80"])));
    assert_eq!(ports(planner.update(&all, &Arc::default(), &node(), Instant::now())), [81]);
    let sick = EndpointId {
        service: ObjectKey::new(Kind::Service, "default", "two"),
        address: "10.0.0.4:80".parse().unwrap(),
    };
    let sick = Arc::new(BTreeSet::from([sick]));
    assert_eq!(ports(planner.update(&all, &sick, &node(), Instant::now())), [81]);
    assert!(planner.update(&all, &sick, &node(), Instant::now()).is_empty());
}

/// Listeners, and services with their weights.
type RouteTo = (Vec<u8>, Vec<(u8, u32)>);

/// A change of what is desired, small enough that names meet often.
#[derive(Clone, Debug)]
enum Step {
    Listener(u8, Option<(u8, EngineChoice)>),
    Route(u8, Option<RouteTo>),
    Service(u8, Option<Vec<u8>>),
    Sick(BTreeSet<(u8, u8)>),
    Listen(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let engine = prop_oneof![
        4 => Just(EngineChoice::Auto), 1 => Just(EngineChoice::Envoy), 1 => Just(EngineChoice::Xdp)
    ];
    let some = |n: usize| prop::collection::vec(0..3u8, 0..n);
    prop_oneof![
        (0..3u8, prop::option::of((0..4u8, engine))).prop_map(|(n, to)| Step::Listener(n, to)),
        (0..3u8, prop::option::of((some(3), prop::collection::vec((0..3u8, 0..3u32), 0..3))))
            .prop_map(|(n, to)| Step::Route(n, to)),
        (0..3u8, prop::option::of(some(4))).prop_map(|(n, to)| Step::Service(n, to)),
        prop::collection::btree_set((0..3u8, 0..3u8), 0..4).prop_map(Step::Sick),
        any::<bool>().prop_map(Step::Listen),
    ]
}

fn endpoint(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2 + n], 80))
}

fn follow(
    step: Step,
    config: &mut Snapshot,
    unhealthy: &mut Arc<BTreeSet<EndpointId>>,
    node: &mut NodeView,
) {
    let mut put = |kind: Kind, name: String, spec: Option<Spec>| match spec {
        Some(spec) => config.put(object(&name, spec)),
        None => drop(config.remove(&ObjectKey::new(kind, "default", name))),
    };
    match step {
        Step::Listener(n, to) => put(
            Kind::Listener,
            format!("l{n}"),
            to.map(|(port, engine)| {
                let address = if port == 3 {
                    ListenAddress::Ip("10.0.0.1".parse().unwrap())
                } else {
                    ListenAddress::Any
                };
                listener(address, 80 + u16::from(port % 2), engine)
            }),
        ),
        Step::Route(n, to) => put(
            Kind::TcpRoute,
            format!("r{n}"),
            to.map(|(listeners, backends)| {
                let listeners: Vec<String> = listeners.iter().map(|n| format!("l{n}")).collect();
                let backends: Vec<(String, u32)> =
                    backends.iter().map(|(n, weight)| (format!("s{n}"), *weight)).collect();
                route(
                    &listeners.iter().map(String::as_str).collect::<Vec<_>>(),
                    &backends
                        .iter()
                        .map(|(name, weight)| (name.as_str(), *weight))
                        .collect::<Vec<_>>(),
                )
            }),
        ),
        Step::Service(n, to) => put(
            Kind::Service,
            format!("s{n}"),
            to.map(|endpoints| {
                let endpoints: BTreeSet<String> =
                    endpoints.into_iter().map(|n| endpoint(n).to_string()).collect();
                service(&endpoints.iter().map(String::as_str).collect::<Vec<_>>())
            }),
        ),
        Step::Sick(all) => {
            let id = |(n, at): (u8, u8)| EndpointId {
                service: ObjectKey::new(Kind::Service, "default", format!("s{n}")),
                address: endpoint(at),
            };
            *unhealthy = Arc::new(all.into_iter().map(id).collect());
        }
        Step::Listen(fixed) => node.listen = fixed.then(|| "10.0.0.1".parse().unwrap()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn updates_lead_where_one_step_would_and_tell_what_differs(
        steps in prop::collection::vec(prop::collection::vec(step(), 1..4), 1..20),
    ) {
        let mut planner = Planner::default();
        let (mut config, mut unhealthy, mut view) = (Snapshot::default(), Arc::default(), node());
        for (revision, steps) in steps.into_iter().enumerate() {
            for step in steps {
                follow(step, &mut config, &mut unhealthy, &mut view);
            }
            config.set_revision(Revision(revision as u64 + 1));
            let before = planner.plan().carried.clone();
            let touched = planner.update(&config, &unhealthy, &view, Instant::now());
            prop_assert_eq!(planner.plan(), &plan(&config, &unhealthy, &view));
            let after = &planner.plan().carried;
            let all: BTreeSet<Frontend> = before.keys().chain(after.keys()).copied().collect();
            let differing: BTreeSet<Frontend> =
                all.into_iter().filter(|key| before.get(key) != after.get(key)).collect();
            prop_assert_eq!(touched, differing);
        }
    }
}

fn policy(listeners: &[&str], dscp: u8) -> Spec {
    let yaml = format!(
        "kind: QoSPolicy\nmetadata: {{ name: p }}\nspec: {{ listeners: [{}], dscp: {dscp} }}\n",
        listeners.iter().map(|name| format!("{{ name: {name} }}")).collect::<Vec<_>>().join(", ")
    );
    model::parse::parse_documents(&yaml).unwrap().remove(0).spec
}

#[test]
fn a_policy_reaches_its_listeners_and_leaves_them() {
    let mut config = Snapshot::default();
    for (name, port) in [("a", 80), ("b", 81)] {
        config.put(object(name, listener(ListenAddress::Any, port, EngineChoice::Xdp)));
    }
    config.put(object("r", route(&["a", "b"], &[("s", 1)])));
    config.put(object("s", service(&["10.0.0.9:80"])));
    let (unhealthy, node) = (Arc::default(), node());
    let mut planner = Planner::default();
    planner.update(&config, &unhealthy, &node, Instant::now());
    let mut step = |config: &Snapshot| {
        let touched = planner.update(config, &unhealthy, &node, Instant::now());
        let dscp = |carried: &Arc<Carried>| {
            carried.policy.as_ref().and_then(|policy| Some(policy.spec.dscp?.value()))
        };
        let ports: Vec<u16> = touched.iter().map(|frontend| frontend.port).collect();
        (ports, planner.plan().carried.values().map(dscp).collect::<Vec<_>>())
    };
    config.put(object("p", policy(&["a"], 7)));
    assert_eq!(step(&config), (vec![80], vec![Some(7), None]));
    config.put(object("p", policy(&["a"], 8)));
    assert_eq!(step(&config), (vec![80], vec![Some(8), None]));
    config.put(object("p", policy(&["b"], 8)));
    assert_eq!(step(&config), (vec![80, 81], vec![None, Some(8)]));
    config.remove(&ObjectKey::new(Kind::QosPolicy, "default", "p"));
    assert_eq!(step(&config), (vec![81], vec![None, None]));
}
