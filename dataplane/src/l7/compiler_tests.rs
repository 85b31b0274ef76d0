//! Incremental and from-scratch translation agree, and a change costs what it concerns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use model::{EndpointId, ObjectKey, Revision, Snapshot};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::l7::pb;

#[derive(Clone, Debug)]
enum Step {
    Put(String),
    Remove(&'static str, u8),
    Unhealthy(Vec<(u8, u16)>),
    Carried(Vec<u8>),
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..4u8).prop_map(|n| format!("h{n}.example")),
        (0..2u8).prop_map(|n| format!("*.w{n}.example")),
        Just("*".to_owned()),
    ]
}

fn http_route() -> impl Strategy<Value = String> {
    let hosts = proptest::collection::btree_set(host(), 1..3);
    let listeners = proptest::collection::btree_set(0..3u8, 1..3);
    (0..4u8, hosts, listeners, 0..4u8, 0..3u8).prop_map(|(n, hosts, listeners, service, prefix)| {
        let listeners: Vec<String> =
            listeners.iter().map(|n| format!("{{ name: l{n} }}")).collect();
        let hosts: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
        format!(
            "kind: HTTPRoute\nmetadata: {{ name: r{n} }}\nspec:\n  listeners: [{}]\n  hosts: [{}]\n  \
             rules:\n    - matches: [{{ path: {{ prefix: /p{prefix} }} }}]\n      backends: [{{ \
             service: {{ name: s{service} }} }}]{}",
            listeners.join(", "),
            hosts.join(", "),
            if prefix == 2 { format!("\n      auth: {{ name: p{} }}", n % 2) } else { String::new() }
        )
    })
}

fn step() -> impl Strategy<Value = Step> {
    let protocols = ["HTTP", "TCP", "UDP", "TLS"];
    let listener = (0..3u8, 0..4usize, 1..4u16).prop_map(move |(n, protocol, port)| {
        format!(
            "kind: Listener\nmetadata: {{ name: l{n} }}\nspec: {{ protocol: {}, port: {port} }}",
            protocols[protocol]
        )
    });
    let service = (0..4u8, proptest::collection::btree_set(1..5u16, 0..4), any::<bool>()).prop_map(
        |(n, ports, maglev)| {
            let endpoints: Vec<String> =
                ports.iter().map(|port| format!("{{ address: 10.0.0.1, port: {port} }}")).collect();
            format!(
                "kind: Service\nmetadata: {{ name: s{n} }}\nspec: {{ endpoints: [{}], \
                 loadBalancing: {} }}",
                endpoints.join(", "),
                if maglev { "Maglev" } else { "Random" }
            )
        },
    );
    let l4_route = (0..2u8, any::<bool>(), 0..3u8, 0..4u8).prop_map(|(n, udp, listener, service)| {
        format!(
            "kind: {}Route\nmetadata: {{ name: t{n} }}\nspec: {{ listeners: [{{ name: l{listener} }}], \
             backends: [{{ service: {{ name: s{service} }} }}] }}",
            if udp { "UDP" } else { "TCP" }
        )
    });
    let hosts = proptest::collection::btree_set(host(), 1..3);
    let tls_route = (0..2u8, hosts, 0..3u8, 0..4u8).prop_map(|(n, hosts, listener, service)| {
        let hosts: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
        format!(
            "kind: TLSRoute\nmetadata: {{ name: p{n} }}\nspec: {{ listeners: [{{ name: l{listener} }}], \
             hosts: [{}], backends: [{{ service: {{ name: s{service} }} }}] }}",
            hosts.join(", ")
        )
    });
    let limit =
        (0..2u8, any::<bool>(), 0..3u8, 1..3u8).prop_map(|(n, listener, target, requests)| {
            let kind = if listener { "Listener, name: l" } else { "HTTPRoute, name: r" };
            format!(
                "kind: RateLimit\nmetadata: {{ name: m{n} }}\nspec: {{ targetRefs: [{{ kind: \
             {kind}{target} }}], requests: {requests}, interval: 1s }}"
            )
        });
    prop_oneof![
        2 => limit.prop_map(Step::Put),
        1 => (0..2u8).prop_map(|n| Step::Remove("RateLimit/default/m", n)),
        3 => listener.prop_map(Step::Put),
        4 => service.prop_map(Step::Put),
        6 => http_route().prop_map(Step::Put),
        2 => l4_route.prop_map(Step::Put),
        2 => tls_route.prop_map(Step::Put),
        2 => auth_policy().prop_map(Step::Put),
        1 => (0..2u8).prop_map(|n| Step::Remove("AuthPolicy/default/p", n)),
        1 => (0..3u8).prop_map(|n| Step::Remove("Listener/default/l", n)),
        1 => (0..4u8).prop_map(|n| Step::Remove("Service/default/s", n)),
        2 => (0..4u8).prop_map(|n| Step::Remove("HTTPRoute/default/r", n)),
        1 => (0..2u8).prop_map(|n| Step::Remove("TCPRoute/default/t", n)),
        1 => (0..2u8).prop_map(|n| Step::Remove("TLSRoute/default/p", n)),
        2 => proptest::collection::vec((0..4u8, 1..5u16), 0..6).prop_map(Step::Unhealthy),
        1 => proptest::collection::vec(0..3u8, 0..3).prop_map(Step::Carried),
    ]
}

/// A policy that asks for tokens, of an issuer whose keys a service has or not.
fn auth_policy() -> impl Strategy<Value = String> {
    (0..2u8, 0..4u8, 0..3u8).prop_map(|(n, service, form)| {
        let spec = match form {
            0 => "basic: { usersFile: /etc/users }".to_owned(),
            1 => format!(
                "jwt: {{ providers: [{{ name: a, issuer: i, jwks: {{ remote: {{ service: {{ name: \
                 s{service} }}, host: h, path: /k }} }} }}] }}"
            ),
            _ => {
                "jwt: { providers: [{ name: a, issuer: i, jwks: { file: /etc/jwks } }] }".to_owned()
            }
        };
        format!("kind: AuthPolicy\nmetadata: {{ name: p{n} }}\nspec: {{ {spec} }}")
    })
}

type Content = BTreeMap<ResourceId, (Arc<str>, Body)>;

/// What a resource says. Maps encode in any order, so messages with maps are compared decoded.
#[derive(Clone, Debug, PartialEq)]
enum Body {
    Bytes(Vec<u8>),
    Table(Box<pb::route::ScopedRouteConfiguration>),
    Tokens(Box<pb::jwt::JwtAuthentication>),
}

impl Body {
    fn of(kind: ResourceType, name: &str, bytes: &[u8]) -> Self {
        match kind {
            ResourceType::ScopedRoute => Self::Table(Box::new(Message::decode(bytes).unwrap())),
            ResourceType::ExtensionConfig if crate::l7::is_requirement(name) => {
                Self::Tokens(Box::new(Message::decode(bytes).unwrap()))
            }
            ResourceType::ExtensionConfig => {
                let extension = pb::core::TypedExtensionConfig::decode(bytes).unwrap();
                let config = extension.typed_config.unwrap().value;
                Self::Tokens(Box::new(Message::decode(config.as_slice()).unwrap()))
            }
            _ => Self::Bytes(bytes.to_vec()),
        }
    }
}

fn content(world: &World) -> Content {
    let mut content = BTreeMap::new();
    for kind in ResourceType::ALL {
        for (name, resource) in world.of_kind(kind) {
            let value = (resource.version.clone(), Body::of(kind, name, &resource.body.value));
            content.insert(ResourceId { kind, name: name.clone() }, value);
        }
    }
    content
}

fn apply(input: &mut Input, step: Step) {
    match step {
        Step::Put(yaml) => {
            for object in model::parse::parse_documents(&yaml).unwrap() {
                input.config.put(Arc::new(object));
            }
        }
        Step::Remove(prefix, n) => {
            input.config.remove(&format!("{prefix}{n}").parse().unwrap());
        }
        Step::Unhealthy(endpoints) => {
            let id = |(n, port): (u8, u16)| EndpointId {
                service: format!("Service/default/s{n}").parse().unwrap(),
                address: ([10, 0, 0, 1], port).into(),
            };
            input.unhealthy = Arc::new(endpoints.into_iter().map(id).collect());
        }
        Step::Carried(listeners) => {
            let placed = |n: u8| {
                let key: ObjectKey = format!("Listener/default/l{n}").parse().unwrap();
                (key, Placement::Carried)
            };
            input.placements = listeners.into_iter().map(placed).collect();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn updates_lead_where_a_new_compiler_would(
        steps in proptest::collection::vec(proptest::collection::vec(step(), 1..4), 1..25),
    ) {
        let mut input = Input::default();
        let mut compiler = Compiler::new(Settings::default());
        let mut before = BTreeMap::new();
        for (n, batch) in steps.into_iter().enumerate() {
            for step in batch {
                apply(&mut input, step);
            }
            input.config.set_revision(Revision(n as u64 + 1));
            let delta = compiler.update(input.clone());
            let mut fresh = Compiler::new(Settings::default());
            fresh.update(input.clone());
            let after = content(compiler.world());
            prop_assert_eq!(&after, &content(fresh.world()));
            // The delta names exactly what differs.
            let names: BTreeSet<&ResourceId> = before.keys().chain(after.keys()).collect();
            let differing: BTreeSet<ResourceId> = names
                .into_iter()
                .filter(|id| {
                    before.get(*id).map(|(version, _): &(Arc<str>, Body)| version)
                        != after.get(*id).map(|(version, _)| version)
                })
                .cloned()
                .collect();
            prop_assert_eq!(&delta.touched, &differing);
            // Equal versions mean equal content.
            for (id, (version, body)) in &after {
                if let Some((old_version, old_body)) = before.get(id) {
                    // A table is made anew with all of a policy, of which it may show less.
                    if id.kind == ResourceType::ScopedRoute {
                        prop_assert!(version != old_version || body == old_body, "{}", id);
                    } else {
                        prop_assert_eq!(version == old_version, body == old_body, "{}", id);
                    }
                }
            }
            before = after;
        }
    }
}

fn many(hosts: usize) -> Snapshot {
    let mut text = String::from(
        "kind: Listener\nmetadata: { name: l0 }\nspec: { protocol: HTTP, port: 80 }\n",
    );
    for n in 0..hosts {
        text += &format!(
            "---\nkind: Service\nmetadata: {{ name: s{n} }}\nspec: {{ endpoints: [{{ address: \
             10.0.0.1, port: 80 }}] }}\n---\nkind: HTTPRoute\nmetadata: {{ name: r{n} }}\nspec: {{ \
             listeners: [{{ name: l0 }}], hosts: [h{n}.example], rules: [{{ backends: [{{ service: \
             {{ name: s{n} }} }}] }}] }}\n"
        );
    }
    let mut config = Snapshot::default();
    for object in model::parse::parse_documents(&text).unwrap() {
        config.put(Arc::new(object));
    }
    config
}

#[test]
fn one_changed_host_makes_one_resource_again() {
    let mut compiler = Compiler::new(Settings::default());
    let mut input = Input { config: many(200), ..Input::default() };
    compiler.update(input.clone());
    let route = "kind: HTTPRoute\nmetadata: { name: r7 }\nspec: { listeners: [{ name: l0 }], hosts: \
                 [h7.example], rules: [{ backends: [{ service: { name: s8 } }] }] }";
    apply(&mut input, Step::Put(route.into()));
    let names = |delta: ResourceDelta| -> Vec<String> {
        delta.touched.iter().map(|id| format!("{id}")).collect()
    };
    let scope = "ScopedRouteConfiguration xdstp://marchproxy/envoy.config.route.v3.\
                 ScopedRouteConfiguration/default/l0/h7.example";
    assert_eq!(names(compiler.update(input.clone())), [scope]);
    let service = "kind: Service\nmetadata: { name: s7 }\nspec: { endpoints: [{ address: 10.0.0.2, \
                   port: 80 }] }";
    apply(&mut input, Step::Put(service.into()));
    assert_eq!(names(compiler.update(input.clone())), ["ClusterLoadAssignment default/s7"]);
    // A label changes nothing.
    apply(&mut input, Step::Put(service.replace("name: s7", "name: s7, labels: { a: b }")));
    assert_eq!(names(compiler.update(input)), [""; 0]);
}

#[test]
fn a_limit_makes_the_hosts_again_that_it_is_for() {
    let mut compiler = Compiler::new(Settings::default());
    let mut input = Input { config: many(20), ..Input::default() };
    compiler.update(input.clone());
    let limit = |target: &str, requests: u8| {
        format!(
            "kind: RateLimit\nmetadata: {{ name: m0 }}\nspec: {{ targetRefs: [{{ {target} }}], \
             requests: {requests}, interval: 1s }}"
        )
    };
    let mut touched = |input: &mut Input, step: Step| {
        apply(input, step);
        compiler.update(input.clone()).touched.len()
    };
    assert_eq!(touched(&mut input, Step::Put(limit("kind: HTTPRoute, name: r7", 1))), 1);
    assert_eq!(touched(&mut input, Step::Put(limit("kind: HTTPRoute, name: r7", 2))), 1);
    assert_eq!(touched(&mut input, Step::Put(limit("kind: HTTPRoute, name: r8", 2))), 2);
    assert_eq!(touched(&mut input, Step::Put(limit("kind: Listener, name: l0", 3))), 20);
    assert_eq!(touched(&mut input, Step::Remove("RateLimit/default/m", 0)), 20);
}

/// Versions are the same on every replica and in every release that does not say otherwise.
#[track_caller]
fn check_versions(config: Snapshot, expected: &str) {
    let mut compiler = Compiler::new(Settings::default());
    compiler.update(Input { config, ..Input::default() });
    let versions: Vec<String> = content(compiler.world())
        .into_iter()
        .map(|(id, (version, _))| format!("{} {version}", id.kind))
        .collect();
    assert_eq!(versions.join("\n"), expected.trim_end());
}

#[test]
fn versions_are_fixed() {
    check_versions(many(1), include_str!("versions.golden"));
}

#[test]
fn versions_of_what_policies_and_tls_come_to_are_fixed() {
    let mut config = Snapshot::default();
    let text = include_str!("versions_policies.yaml");
    for object in model::parse::parse_documents(text).unwrap() {
        config.put(Arc::new(object));
    }
    check_versions(config, include_str!("versions_policies.golden"));
}

#[test]
fn what_envoy_refuses_of_a_grpc_route_is_put_down_to_its_own_field() {
    let text = "kind: Listener\nmetadata: { name: l0 }\nspec: { protocol: HTTP, port: 80 }\n---\n\
                kind: GRPCRoute\nmetadata: { name: r }\nspec: { listeners: [{ name: l0 }], hosts: \
                [h.example], rules: [{ matches: [{}, { method: { method: { regex: 'Get[0-9]+' } } }], \
                backends: [{ service: { name: s } }] }] }\n";
    let mut config = Snapshot::default();
    for object in model::parse::parse_documents(text).unwrap() {
        config.put(Arc::new(object));
    }
    let mut compiler = Compiler::new(Settings::default());
    compiler.update(Input { config, ..Input::default() });
    let listener = ObjectKey::new(Kind::Listener, "default", "l0");
    let name = names::scope(&listener, "h.example");
    let scope = compiler.world().get(ResourceType::ScopedRoute, &name).unwrap();
    let message = "bad regex '/[^/]+/(?:Get[0-9]+)': out of memory";
    let origin = crate::l7::origin::find(&scope.origins, message).unwrap();
    assert_eq!(origin.object, ObjectKey::new(Kind::GrpcRoute, "default", "r"));
    assert_eq!(origin.field, "spec.rules[0].matches[1].method");
}

#[test]
fn a_new_host_costs_little_more_than_a_kilobyte() {
    use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
    // Two fifths of it turn filters off, which each request would pay for otherwise.
    const BYTES_MAX: usize = 1_650;
    let mut compiler = Compiler::new(Settings::default());
    compiler.update(Input { config: many(20), ..Input::default() });
    let delta = compiler.update(Input { config: many(21), ..Input::default() });
    let sizes = delta.touched.iter().map(|id| {
        let resource = compiler.world().get(id.kind, &id.name).unwrap();
        let response = DeltaDiscoveryResponse {
            system_version_info: "1234567".into(),
            type_url: id.kind.type_url().into(),
            nonce: "12345".into(),
            resources: vec![Resource {
                name: resource.name.to_string(),
                version: resource.version.to_string(),
                resource: Some(resource.body.clone()),
                ..Default::default()
            }],
            ..Default::default()
        };
        (id.kind, response.encoded_len())
    });
    let sizes: Vec<_> = sizes.collect();
    assert_eq!(sizes.len(), 3, "its cluster, endpoints and scope");
    assert!(sizes.iter().map(|(_, size)| size).sum::<usize>() <= BYTES_MAX, "{sizes:?}");
}
