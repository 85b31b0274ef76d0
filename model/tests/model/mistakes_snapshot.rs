//! Mistakes that show only when objects are looked at together.

use std::collections::BTreeSet;

use model::{ObjectKey, Snapshot, plan_apply, plan_delete, validate_snapshot};

use crate::checking::{check_errors, objects, snapshot};

const BASE: &str = r#"
kind: Listener
metadata: { name: web }
spec: { protocol: HTTP, port: 8080 }
---
kind: Listener
metadata: { name: feed }
spec: { protocol: TCP, port: 7000, engine: xdp }
---
kind: Service
metadata: { name: a }
spec: { endpoints: [] }
---
kind: Service
metadata: { name: b }
spec: { endpoints: [] }
---
kind: HTTPRoute
metadata: { name: shop }
spec:
  listeners: [{ name: web }]
  hosts: [shop.example, "*"]
  rules:
    - { matches: [{ path: { prefix: /a } }], backends: [{ service: { name: a } }] }
---
kind: TCPRoute
metadata: { name: feed }
spec: { listeners: [{ name: feed }], backends: [{ service: { name: a } }] }
"#;

/// Checks what applying an input to [`BASE`] says.
#[track_caller]
fn apply(input: &str, expected: &[&str]) {
    check_errors(plan_apply(&snapshot(BASE), objects(input)).map(|_| ()), expected);
}

#[track_caller]
fn delete(keys: &[&str], expected: &[&str]) {
    let keys: Vec<ObjectKey> = keys.iter().map(|key| key.parse().expect("a key")).collect();
    check_errors(plan_delete(&snapshot(BASE), &keys).map(|_| ()), expected);
}

#[test]
fn the_base_is_valid() {
    let plan = plan_apply(&Snapshot::default(), objects(BASE)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(plan.puts.len(), 6);
}

#[test]
fn references_resolve() {
    apply(
        "kind: HTTPRoute\nmetadata: { name: x, namespace: n }\nspec:\n  listeners: [{ name: web }]\n  \
         hosts: [x.example]\n  rules:\n    - backends: [{ service: { name: a, namespace: default } }, \
         { service: { name: c } }]\n",
        &[
            "spec.listeners[0].name = \"web\": refers to Listener/n/web, which does not exist",
            "spec.rules[0].backends[1].service.name = \"c\": refers to Service/n/c, which does not exist",
        ],
    );
    apply(
        "kind: UDPRoute\nmetadata: { name: x }\nspec: { listeners: [{ name: feed }], \
         backends: [{ service: { name: a } }] }\n",
        &["spec.listeners[0].name = \"feed\": refers to Listener/default/feed, which speaks TCP"],
    );
    apply(
        "kind: Listener\nmetadata: { name: web }\nspec: { protocol: TCP, port: 8080 }\n",
        &["spec.protocol = \"TCP\": does not fit what attaches to it: \
           HTTPRoute/default/shop (spec.listeners[0])"],
    );
}

#[test]
fn what_is_referred_to_stays() {
    delete(&["Service/default/b"], &[]);
    delete(&["Service/default/c"], &[": does not exist"]);
    delete(
        &["Service/default/a"],
        &[": is removed, and still referred to by HTTPRoute/default/shop \
           (spec.rules[0].backends[0].service), TCPRoute/default/feed (spec.backends[0].service)"],
    );
    delete(
        &["Listener/default/web", "HTTPRoute/default/shop", "Listener/default/feed"],
        &[": is removed, and still referred to by TCPRoute/default/feed (spec.listeners[0])"],
    );
    delete(&["Service/default/a", "HTTPRoute/default/shop", "TCPRoute/default/feed"], &[]);
}

#[test]
fn two_listeners_do_not_share_a_port() {
    let listener = |name: &str, spec: &str| {
        format!("kind: Listener\nmetadata: {{ name: {name} }}\nspec: {{ {spec} }}\n---\n")
    };
    let taken =
        "spec.port = 8080: is the TCP port that Listener/default/web takes on every address";
    apply(&listener("x", "protocol: TCP, port: 8080"), &[taken]);
    apply(&listener("x", "protocol: TCP, port: 8080, address: 10.0.0.1"), &[taken]);
    apply(&listener("x", "protocol: UDP, port: 8080"), &[]);
    apply(&listener("x", "protocol: TCP, port: 8081"), &[]);
    let one = listener("x", "protocol: TCP, port: 1, address: 10.0.0.1");
    apply(&format!("{one}{}", listener("y", "protocol: TCP, port: 1, address: 10.0.0.2")), &[]);
    apply(
        &format!("{one}{}", listener("y", "protocol: TCP, port: 1, address: 10.0.0.1")),
        &["spec.port = 1: is the TCP port that Listener/default/x takes on 10.0.0.1"],
    );
    // HTTP/3 takes the UDP port too.
    let files = "certificateFile: /a, privateKeyFile: /b";
    let https = listener(
        "h",
        &format!("protocol: HTTPS, port: 443, tls: {{ {files} }}, http: {{ http3: {{}} }}"),
    );
    apply(
        &format!("{https}{}", listener("u", "protocol: UDP, port: 443")),
        &["spec.port = 443: is the UDP port that Listener/default/h takes on every address"],
    );
    // The listener that was there gives the port free in the same apply.
    let moved = listener("web", "protocol: HTTP, port: 8081");
    apply(&format!("{moved}{}", listener("x", "protocol: TCP, port: 8080")), &[]);
}

#[test]
fn rules_are_compressed_where_the_listener_says_how() {
    let web = |options: &str| {
        format!(
            "kind: Listener\nmetadata: {{ name: web }}\nspec: {{ protocol: HTTP, port: 8080, http: {{ \
             {options} }} }}\n---\n"
        )
    };
    let shop = |wanted: &str| {
        format!(
            "kind: HTTPRoute\nmetadata: {{ name: shop }}\nspec:\n  listeners: [{{ name: web }}]\n  \
             hosts: [shop.example]\n  rules:\n    - backends: [{{ service: {{ name: a }} }}]\n    - \
             matches: [{{ path: {{ prefix: /x }} }}]\n      directResponse: {{ status: 200 }}\n      \
             compression: {wanted}\n---\n"
        )
    };
    apply(&shop("false"), &[]);
    let lacking = "spec.rules[1].compression = true: is true, and Listener/default/web has no \
                   http.compression";
    apply(&shop("true"), &[lacking]);
    let both = web("compression: { byDefault: false }") + &shop("true");
    apply(&both, &[]);
    let base = plan_apply(&snapshot(BASE), objects(&both));
    let base = base.unwrap_or_else(|errors| panic!("{errors}")).next;
    check_errors(
        plan_apply(&base, objects(&web("trustedHops: 1"))).map(|_| ()),
        &["spec.http.compression: is missing, and HTTPRoute/default/shop wants it in rules[1]"],
    );
}

#[test]
fn a_listener_has_one_tcp_or_udp_route() {
    apply(
        "kind: TCPRoute\nmetadata: { name: x }\nspec: { listeners: [{ name: feed }], \
         backends: [{ service: { name: b } }] }\n",
        &[
            "spec.listeners[0].name = \"feed\": names a listener that TCPRoute/default/feed is attached to",
        ],
    );
}

#[test]
fn xdp_carries_one_service() {
    let two = "kind: TCPRoute\nmetadata: { name: feed }\nspec: { listeners: [{ name: feed }], \
               backends: [{ service: { name: a } }, { service: { name: b } }] }\n";
    apply(two, &["spec.backends = 2: has several services, and XDP carries Listener/default/feed"]);
    let envoy =
        "---\nkind: Listener\nmetadata: { name: feed }\nspec: { protocol: TCP, port: 7000 }\n";
    apply(&format!("{two}{envoy}"), &[]);
    let base = plan_apply(&snapshot(BASE), objects(&format!("{two}{envoy}")));
    let base = base.unwrap_or_else(|errors| panic!("{errors}")).next;
    let xdp = envoy.replace("port: 7000", "port: 7000, engine: xdp");
    check_errors(
        plan_apply(&base, objects(&xdp)).map(|_| ()),
        &["spec.engine = \"xdp\": is XDP, which carries one service, and \
           TCPRoute/default/feed has several"],
    );
}

#[test]
fn two_routes_do_not_claim_the_same_requests() {
    let route = |hosts: &str, prefix: &str| {
        format!(
            "kind: HTTPRoute\nmetadata: {{ name: x }}\nspec: {{ listeners: [{{ name: web }}], \
             hosts: [{hosts}], rules: [{{ matches: [{{ path: {{ prefix: /z }} }}, \
             {{ path: {{ prefix: {prefix} }} }}], backends: [{{ service: {{ name: a }} }}] }}] }}\n"
        )
    };
    apply(&route("other.example", "/a"), &[]);
    apply(&route("shop.example", "/b"), &[]);
    apply(
        &route("other.example, SHOP.example, '*'", "/a"),
        &["spec.rules[0].matches[1]: matches for shop.example what HTTPRoute/default/shop \
           matches in rules[0].matches[0]"],
    );
}

#[test]
fn two_logins_of_a_host_have_paths_of_their_own() {
    let policy = |name: &str, fields: &str| {
        format!(
            "kind: AuthPolicy\nmetadata: {{ name: {name} }}\nspec: {{ oidc: {{ provider: {{ issuer: i, \
             authorizationEndpoint: 'https://i/a', tokenEndpoint: {{ service: {{ name: a }}, host: i, \
             path: /t }}, jwks: {{ file: /k }} }}, client: {{ id: c, secretFile: /s }}, {fields} }} }}\n---\n"
        )
    };
    let route = |host: &str| {
        format!(
            "kind: HTTPRoute\nmetadata: {{ name: x }}\nspec: {{ listeners: [{{ name: web }}], hosts: \
             [x.example], rules: [{{ backends: [{{ service: {{ name: a }} }}], auth: {{ name: one }} }}] \
             }}\n---\nkind: HTTPRoute\nmetadata: {{ name: y }}\nspec: {{ listeners: [{{ name: web }}], \
             hosts: [{host}], rules: [{{ matches: [{{ path: {{ prefix: /y }} }}], backends: [{{ service: \
             {{ name: a }} }}], auth: {{ name: two }} }}] }}\n"
        )
    };
    let one = policy("one", "");
    apply(&(one.clone() + &policy("two", "") + &route("y.example")), &[]);
    let own = policy("two", "callbackPath: /y/callback, logoutPath: /y/logout");
    apply(&(one.clone() + &own + &route("x.example")), &[]);
    let crossed = policy("two", "callbackPath: /oauth2/logout, logoutPath: /y/logout");
    apply(
        &(one + &crossed + &route("x.example")),
        &[
            "spec.rules[0].auth.name = \"two\": has for x.example the callbackPath /oauth2/logout, which \
           is logoutPath of AuthPolicy/default/one",
        ],
    );
}

#[test]
fn a_redirect_to_the_own_scheme_and_port_is_a_loop() {
    let route = |redirect: &str| {
        format!(
            "kind: HTTPRoute\nmetadata: {{ name: x }}\nspec: {{ listeners: [{{ name: web }}], \
             hosts: [x.example], rules: [{{ redirect: {{ {redirect} }} }}] }}\n"
        )
    };
    apply(&route("scheme: https"), &[]);
    apply(&route("port: 8081"), &[]);
    let again = "spec.rules[0].redirect: leads on listener web to a request that this rule \
                 redirects again";
    apply(&route("scheme: http"), &[again]);
    apply(&route("port: 8080"), &[again]);
}

#[test]
fn the_same_object_twice_in_a_request_is_refused() {
    let mut twice = objects(BASE);
    twice.extend(objects(BASE).into_iter().take(1));
    check_errors(
        plan_apply(&Snapshot::default(), twice).map(|_| ()),
        &["metadata.name = \"web\": the same object stands in document 1"],
    );
}

#[test]
fn what_was_wrong_before_does_not_stand_in_the_way() {
    let broken = BASE
        .replace("kind: Service\nmetadata: { name: a }", "kind: Service\nmetadata: { name: c }");
    let base = snapshot(&broken);
    let all: BTreeSet<ObjectKey> = base.objects().map(|(key, _)| key.clone()).collect();
    assert_eq!(validate_snapshot(&base, &all).expect_err("two dangling references").0.len(), 2);
    let service = "kind: Service\nmetadata: { name: d }\nspec: { endpoints: [] }\n";
    check_errors(plan_apply(&base, objects(service)).map(|_| ()), &[]);
}

#[test]
fn errors_name_the_document_of_their_object() {
    let input = format!(
        "{}---\nkind: TCPRoute\nmetadata: {{ name: x }}\nspec: {{ listeners: [{{ name: y }}], \
         backends: [{{ service: {{ name: a }} }}] }}\n",
        BASE.replace("8080", "8081")
    );
    let errors = plan_apply(&Snapshot::default(), objects(&input)).expect_err("one error").0;
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].document, 6);
}

/// A service with the PROXY protocol, and who leads to it.
const PROXIED: &str = "kind: Service\nmetadata: { name: p }\nspec: { endpoints: [], proxyProtocol: \
                       V2 }\n---\n";

#[test]
fn the_proxy_protocol_is_for_tcp_that_envoy_carries() {
    let listener = |name: &str, spec: &str| {
        format!("kind: Listener\nmetadata: {{ name: {name} }}\nspec: {{ port: 9, {spec} }}\n---\n")
    };
    let route = |kind: &str, listener: &str| {
        format!(
            "kind: {kind}\nmetadata: {{ name: r }}\nspec: {{ listeners: [{{ name: {listener} }}], \
             backends: [{{ service: {{ name: p }} }}] }}\n"
        )
    };
    for engine in ["auto", "envoy"] {
        let good = listener("l", &format!("protocol: TCP, engine: {engine}"));
        apply(&format!("{PROXIED}{good}{}", route("TCPRoute", "l")), &[]);
    }
    let udp = listener("l", "protocol: UDP");
    apply(
        &format!("{PROXIED}{udp}{}", route("UDPRoute", "l")),
        &["spec.backends[0].service.name = \"p\": names Service/default/p, \
           which wants the PROXY protocol, but UDP has no connection to begin with it"],
    );
    let direct = listener("l", "protocol: TCP, address: 192.0.2.1, forwarding: IPIP");
    apply(
        &format!("{PROXIED}{direct}{}", route("TCPRoute", "l")),
        &["spec.forwarding = \"IPIP\": leaves TCP streams as they are, and \
           Service/default/p wants the PROXY protocol in them"],
    );
    // What is there already: the error is about what changes.
    apply(
        "kind: Service\nmetadata: { name: a }\nspec: { endpoints: [], proxyProtocol: V2 }\n",
        &[
            "spec.proxyProtocol = \"V2\": does not go with \
             HTTPRoute/default/shop: HTTP connections to endpoints are shared by clients",
            "spec.proxyProtocol = \"V2\": wants the PROXY protocol, and \
             Listener/default/feed with engine xdp leaves TCP streams as they are",
        ],
    );
    apply(
        &format!("{PROXIED}{}", route("TCPRoute", "feed")),
        &[
            "spec.backends[0].service.name = \"p\": names Service/default/p, \
             which wants the PROXY protocol, and Listener/default/feed with engine xdp leaves TCP \
             streams as they are",
            "spec.listeners[0].name = \"feed\": names a listener that \
             TCPRoute/default/feed is attached to",
        ],
    );
}

#[test]
fn what_only_envoy_can_do_needs_listeners_that_envoy_carries() {
    let listener = |spec: &str| {
        format!("kind: Listener\nmetadata: {{ name: l }}\nspec: {{ port: 9, {spec} }}\n---\n")
    };
    let route = |kind: &str| {
        format!(
            "---\nkind: {kind}\nmetadata: {{ name: r }}\nspec: {{ listeners: [{{ name: l }}], backends: \
             [{{ service: {{ name: e }} }}] }}\n"
        )
    };
    let service =
        |spec: &str| format!("kind: Service\nmetadata: {{ name: e }}\nspec: {{ {spec} }}\n");
    let dns = service("dns: { name: a.example, port: 1 }");
    let tls = service("endpoints: [], tls: { serverName: a.example }");
    let checked = service("endpoints: [], healthCheck: { by: Envoy, tcp: {} }");
    for spec in [&dns, &tls, &checked] {
        for engine in ["auto", "envoy"] {
            let good = listener(&format!("protocol: TCP, engine: {engine}"));
            apply(&format!("{good}{spec}{}", route("TCPRoute")), &[]);
        }
    }
    let xdp = listener("protocol: TCP, engine: xdp");
    apply(
        &format!("{xdp}{dns}{}", route("TCPRoute")),
        &[
            "spec.engine = \"xdp\": is for XDP, which resolves no names, and Service/default/e is found \
           by name",
        ],
    );
    apply(
        &format!("{xdp}{checked}{}", route("TCPRoute")),
        &["spec.engine = \"xdp\": is for XDP, which knows no checks of Envoy's, and \
           Service/default/e is checked by Envoy"],
    );
    let direct = listener("protocol: TCP, address: 192.0.2.1, forwarding: IPIP");
    apply(
        &format!("{direct}{tls}{}", route("TCPRoute")),
        &["spec.forwarding = \"IPIP\": is for XDP, which leaves TCP streams as they are, and \
           Service/default/e wants TLS"],
    );
    let udp = listener("protocol: UDP");
    apply(&format!("{udp}{dns}{}", route("UDPRoute")), &[]);
    apply(
        &format!("{udp}{tls}{}", route("UDPRoute")),
        &[
            "spec.backends[0].service.name = \"e\": names Service/default/e, which wants TLS, but UDP \
           has no stream to be encrypted",
        ],
    );
    // What is there already: the error is about what changes.
    apply(
        "kind: Service\nmetadata: { name: a }\nspec: { dns: { name: a.example, port: 1 } }\n",
        &[
            "spec.dns = \"{…}\": is found by name, and Listener/default/feed with engine xdp resolves no \
           names",
        ],
    );
}

#[test]
fn announced_addresses_are_bounded() {
    let listeners = |count: usize| -> String {
        let one = |n: usize| {
            let address = format!("10.0.{}.{}", n / 250, 1 + n % 250);
            format!(
                "kind: Listener\nmetadata: {{ name: v{n} }}\nspec: {{ protocol: TCP, port: 9, address: \
                 {address}, announce: L2 }}\n---\n"
            )
        };
        (0..count).map(one).collect()
    };
    apply(&listeners(model::limits::MAX_ANNOUNCED), &[]);
    let errors = plan_apply(&snapshot(BASE), objects(&listeners(model::limits::MAX_ANNOUNCED + 1)));
    let errors = errors.map(|_| ()).expect_err("too many").to_string();
    assert!(errors.contains("makes 257 addresses that are announced, of 256"), "{errors}");
}
