//! Mistakes in TLS listeners and TLSRoutes.

use model::plan_apply;

use crate::checking::{check_errors, check_spec, objects, snapshot};

const BASE: &str = r#"
kind: Listener
metadata: { name: passing }
spec: { protocol: TLS, port: 443 }
---
kind: Listener
metadata: { name: second }
spec: { protocol: TLS, port: 8443 }
---
kind: Listener
metadata: { name: feed }
spec: { protocol: TCP, port: 7000 }
---
kind: Service
metadata: { name: a }
spec: { endpoints: [] }
---
kind: TLSRoute
metadata: { name: shop }
spec:
  listeners: [{ name: passing }]
  hosts: [shop.example, "*.shop.example"]
  backends: [{ service: { name: a } }]
"#;

#[track_caller]
fn apply(input: &str, expected: &[&str]) {
    check_errors(plan_apply(&snapshot(BASE), objects(input)).map(|_| ()), expected);
}

fn route(name: &str, listener: &str, hosts: &str, service: &str) -> String {
    format!(
        "kind: TLSRoute\nmetadata: {{ name: {name} }}\nspec: {{ listeners: [{{ name: {listener} }}], \
         hosts: [{hosts}], backends: [{{ service: {{ name: {service} }} }}] }}\n---\n"
    )
}

#[test]
fn listeners_that_tls_passes_through() {
    let check = |spec: &str, expected: &[&str]| {
        check_spec("Listener", &format!("{{ protocol: TLS, port: 443{spec} }}"), expected);
    };
    check("", &[]);
    check(", engine: envoy, proxyProtocol: Required, accessLogs: [{ stdout: {} }]", &[]);
    check(", address: 192.0.2.1, announce: L2", &[]);
    check(
        ", engine: xdp, forwarding: NAT, synCookies: Never, maxConnections: 9, http: {}, \
         tls: { certificateFile: /a, privateKeyFile: /b }, accessLogs: [{ stdout: {}, minStatus: 400 }]",
        &[
            "spec.accessLogs[0].minStatus = 400: is for HTTP, which this listener does not speak",
            "spec.engine = \"xdp\": XDP carries TCP and UDP only",
            "spec.forwarding = \"NAT\": is for TCP and UDP listeners only",
            "spec.http = {}: is for HTTP and HTTPS listeners only",
            "spec.maxConnections = 9: is not counted over the routes of a TLS listener",
            "spec.synCookies = \"Never\": is for TCP listeners only",
            "spec.tls = {\"certificateFile\":\"/a\",\"privateKeyFile\":\"/b\"}: is where TLS ends, \
             and it passes through a TLS listener",
        ],
    );
}

#[test]
fn routes_of_tls() {
    let check = |spec: &str, expected: &[&str]| check_spec("TLSRoute", spec, expected);
    let rest = "listeners: [{ name: a }], backends: [{ service: { name: b } }]";
    check(&format!("{{ {rest}, hosts: ['*', a.example, '*.A.example'] }}"), &[]);
    check(
        "{ rules: [] }",
        &[
            "spec.backends: is missing",
            "spec.hosts: is missing",
            "spec.listeners: is missing",
            "spec.rules = []: is not a known field",
        ],
    );
    check(
        &format!(
            "{{ {rest}, hosts: [a.example, A.example, 10.0.0.1, 'a.*', 'a:443', 'https://a', '*.'] }}"
        ),
        &[
            "spec.hosts[1] = \"A.example\": stands in the list twice",
            "spec.hosts[2] = \"10.0.0.1\": is an address, and clients ask for hosts by name only",
            "spec.hosts[3] = \"a.*\": has a wildcard in another place than the first label",
            "spec.hosts[4] = \"a:443\": has a port or is an IPv6 address",
            "spec.hosts[5] = \"https://a\": is a URL or path, not a host",
            "spec.hosts[6] = \"*.\": is empty",
        ],
    );
    check(
        "{ listeners: [{ name: a }], hosts: [], backends: [{ service: { name: b }, weight: 0 }] }",
        &[
            "spec.backends = [{\"service\":{\"name\":\"b\"},\"weight\":0}]: has weights with the sum 0",
            "spec.hosts = []: is empty",
        ],
    );
}

#[test]
fn a_host_of_a_listener_has_one_route() {
    apply(&route("x", "second", "shop.example", "a"), &[]);
    apply(&route("x", "passing", "'*', a.shop.example, '*.a.shop.example'", "a"), &[]);
    apply(
        &route("x", "passing", "'*', SHOP.example", "a"),
        &["spec.hosts[1] = \"shop.example\": is what TLSRoute/default/shop takes on \
           Listener/default/passing"],
    );
    // Of two that come together the later by name is told of; what was there before is not.
    apply(
        &(route("b", "second", "b.example", "a") + &route("a", "second", "b.example", "a")),
        &["spec.hosts[0] = \"b.example\": is what TLSRoute/default/a takes on \
           Listener/default/second"],
    );
    apply(
        &route("a", "passing", "'*.shop.example'", "a"),
        &["spec.hosts[0] = \"*.shop.example\": is what TLSRoute/default/shop takes on \
           Listener/default/passing"],
    );
}

#[test]
fn routes_of_tls_and_their_listeners_and_services_fit() {
    apply(
        &route("x", "feed", "a.example", "b"),
        &[
            "spec.backends[0].service.name = \"b\": refers to Service/default/b, which does not exist",
            "spec.listeners[0].name = \"feed\": refers to Listener/default/feed, which speaks TCP",
        ],
    );
    let to_tls = |kind: &str| {
        format!(
            "kind: {kind}\nmetadata: {{ name: x }}\nspec: {{ listeners: [{{ name: second }}], \
             backends: [{{ service: {{ name: a }} }}] }}\n"
        )
    };
    let speaks =
        "spec.listeners[0].name = \"second\": refers to Listener/default/second, which speaks TLS";
    apply(&to_tls("TCPRoute"), &[speaks]);
    apply(&to_tls("UDPRoute"), &[speaks]);
    apply(
        "kind: QoSPolicy\nmetadata: { name: x }\nspec: { listeners: [{ name: second }], dscp: EF }\n",
        &[speaks],
    );
    apply(
        "kind: Listener\nmetadata: { name: passing }\nspec: { protocol: HTTP, port: 443 }\n",
        &["spec.protocol = \"HTTP\": does not fit what attaches to it: TLSRoute/default/shop \
           (spec.listeners[0])"],
    );
    apply(
        "kind: Listener\nmetadata: { name: x }\nspec: { protocol: TCP, port: 443 }\n",
        &["spec.port = 443: is the TCP port that Listener/default/passing takes on every address"],
    );
}

#[test]
fn clients_own_tls_is_not_encrypted_twice() {
    let tls = "endpoints: [], tls: { serverName: a.example }";
    let service = |name: &str, spec: &str| {
        format!("kind: Service\nmetadata: {{ name: {name} }}\nspec: {{ {spec} }}\n---\n")
    };
    for spec in [
        "endpoints: [], proxyProtocol: V2",
        "dns: { name: a.example, port: 1 }",
        "endpoints: [], healthCheck: { by: Envoy, tcp: {} }",
    ] {
        apply(&(service("e", spec) + &route("x", "second", "a.example", "e")), &[]);
    }
    apply(
        &(service("e", tls) + &route("x", "second", "a.example", "e")),
        &["spec.backends[0].service.name = \"e\": names Service/default/e, which wants TLS, but \
           clients' own TLS passes through to endpoints, which would be encrypted twice"],
    );
    apply(
        &service("a", tls),
        &["spec.tls = \"{…}\": does not go with TLSRoute/default/shop: clients' own TLS passes \
           through to endpoints, which would be encrypted twice"],
    );
}
