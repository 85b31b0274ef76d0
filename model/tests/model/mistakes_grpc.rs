//! Mistakes in GRPCRoutes.

use model::{ObjectKey, plan_apply, plan_delete};

use crate::checking::{check_errors, check_spec, objects, snapshot};

/// Checks a route with these rules.
#[track_caller]
fn route(rules: &str, expected: &[&str]) {
    let spec = format!("{{ listeners: [{{ name: web }}], hosts: ['*'], rules: {rules} }}");
    check_spec("GRPCRoute", &spec, expected);
}

/// Checks a match of a rule that forwards.
#[track_caller]
fn condition(condition: &str, expected: &[&str]) {
    route(
        &format!("[{{ backends: [{{ service: {{ name: a }} }}], matches: [{condition}] }}]"),
        expected,
    );
}

#[test]
fn what_is_called() {
    for good in [
        "{ method: { service: { exact: shop.v1.Cart }, method: { exact: Add_2 } } }",
        "{ method: { service: { regex: 'shop[.].*' } }, headers: [{ name: x-a, present: true }] }",
        "{ method: { method: { regex: 'Get.*|List' } } }",
        "{}",
    ] {
        condition(good, &[]);
    }
    let at = "spec.rules[0].matches[0].method";
    for (method, path, message) in [
        ("{}", " = {}", "says not what is called"),
        ("{ service: {} }", ".service = {}", "has not exactly one of exact and regex"),
        (
            "{ service: { exact: A, regex: B } }",
            ".service = {\"exact\":\"A\",\"regex\":\"B\"}",
            "has not exactly one of exact and regex",
        ),
        (
            "{ service: { exact: shop.Cart/Add } }",
            ".service.exact = \"shop.Cart/Add\"",
            "holds a /, which divides service and method",
        ),
        (
            "{ service: { exact: shop..Cart } }",
            ".service.exact = \"shop..Cart\"",
            "is not the name of a gRPC service",
        ),
        (
            "{ service: { exact: 7shop.Cart } }",
            ".service.exact = \"7shop.Cart\"",
            "is not the name of a gRPC service",
        ),
        (
            "{ method: { exact: shop.Add } }",
            ".method.exact = \"shop.Add\"",
            "is not the name of a gRPC method",
        ),
        (
            "{ method: { regex: '(' } }",
            ".method.regex = \"(\"",
            "is not a regular expression: unclosed group at 0",
        ),
        ("{ verb: { exact: A } }", ".verb = {\"exact\":\"A\"}", "is not a known field"),
    ] {
        let expected = format!("{at}{path}: {message}");
        condition(&format!("{{ method: {method} }}"), &[&expected]);
    }
    // Each part is small enough, both together are not.
    let large = "{ regex: '([ab]{1000}){14}' }";
    condition(&format!("{{ method: {{ service: {large} }} }}"), &[]);
    let shown = "{\"method\":{\"regex\":\"([ab]{1000}){14}\"},\"service\":{\"regex\":\"([ab]{1000}){14}\"}}";
    condition(
        &format!("{{ method: {{ service: {large}, method: {large} }} }}"),
        &[&format!("{at} = {shown}: is too large when compiled")],
    );
}

#[test]
fn what_only_http_routes_have_is_not_known() {
    let rule = |field: &str| format!("[{{ backends: [{{ service: {{ name: a }} }}], {field} }}]");
    for (field, path) in [
        ("rewrite: { path: / }", "rewrite = {\"path\":\"/\"}"),
        ("redirect: { path: / }", "redirect = {\"path\":\"/\"}"),
        ("directResponse: { status: 200 }", "directResponse = {\"status\":200}"),
        ("matches: [{ path: { exact: / } }]", "matches[0].path = {\"exact\":\"/\"}"),
        ("matches: [{ query: [] }]", "matches[0].query = []"),
    ] {
        let expected = format!("spec.rules[0].{path}: is not a known field");
        route(&rule(field), &[&expected]);
    }
    route(&rule("grpcWeb: 'yes'"), &["spec.rules[0].grpcWeb = \"yes\": is text"]);
    route("[{}]", &["spec.rules[0].backends: is missing"]);
}

#[test]
fn a_match_stands_once_in_a_route() {
    let rule = "{ backends: [{ service: { name: a } }], matches: \
                [{ method: { service: { exact: a.B } } }] }";
    route(
        &format!("[{rule}, {rule}]"),
        &["spec.rules[1].matches[0] = {\"method\":{\"service\":{\"exact\":\"a.B\"}}}: \
           matches what rules[0].matches[0] matches"],
    );
}

const BASE: &str = "
kind: Listener
metadata: { name: web }
spec: { protocol: HTTP, port: 8080 }
---
kind: Listener
metadata: { name: feed }
spec: { protocol: TCP, port: 7000 }
---
kind: Service
metadata: { name: h2 }
spec: { protocol: HTTP2, endpoints: [] }
---
kind: Service
metadata: { name: h1 }
spec: { endpoints: [] }
---
kind: GRPCRoute
metadata: { name: calls }
spec:
  listeners: [{ name: web }]
  hosts: [h.example]
  rules:
    - { matches: [{ method: { service: { exact: a.B } } }], backends: [{ service: { name: h2 } }] }
";

/// Checks what applying an input to [`BASE`] says.
#[track_caller]
fn apply(input: &str, expected: &[&str]) {
    check_errors(plan_apply(&snapshot(BASE), objects(input)).map(|_| ()), expected);
}

fn another(listener: &str, rule: &str) -> String {
    format!(
        "kind: GRPCRoute\nmetadata: {{ name: x }}\nspec: {{ listeners: [{{ name: {listener} }}], \
         hosts: [h.example], rules: [{rule}] }}\n"
    )
}

#[test]
fn services_speak_http2() {
    apply(&another("web", "{ backends: [{ service: { name: h2 } }] }"), &[]);
    apply(
        &another("web", "{ backends: [{ service: { name: h1 } }] }"),
        &[
            "spec.rules[0].backends[0].service.name = \"h1\": names Service/default/h1, which speaks \
           HTTP/1.1, and gRPC needs HTTP/2",
        ],
    );
    apply(
        &another(
            "web",
            "{ backends: [{ service: { name: h2 } }], mirrors: [{ service: { name: h1 } }] }",
        ),
        &[
            "spec.rules[0].mirrors[0].service.name = \"h1\": names Service/default/h1, which speaks \
           HTTP/1.1, and gRPC needs HTTP/2",
        ],
    );
    let service = |more: &str| {
        format!("kind: Service\nmetadata: {{ name: h2 }}\nspec: {{ endpoints: []{more} }}\n")
    };
    for protocol in ["", ", protocol: HTTP1"] {
        apply(
            &service(protocol),
            &["spec.protocol = \"HTTP1\": is HTTP1, and gRPC needs HTTP/2: \
               GRPCRoute/default/calls (spec.rules[0].backends[0].service.name)"],
        );
    }
    let asking = |name: &str| {
        format!(
            "kind: AuthPolicy\nmetadata: {{ name: who }}\nspec: {{ external: {{ service: {{ name: {name} }}, \
             protocol: GRPC }} }}\n"
        )
    };
    apply(&asking("h2"), &[]);
    apply(
        &asking("h1"),
        &[
            "spec.external.service.name = \"h1\": names Service/default/h1, which speaks HTTP/1.1, and \
           gRPC needs HTTP/2",
        ],
    );
    apply(&service(", protocol: Auto, tls: { serverName: a.example }"), &[]);
    apply(&service(", protocol: HTTP2, connectTimeout: 1s"), &[]);
}

#[test]
fn what_it_refers_to_stays_and_fits() {
    apply(
        &another("feed", "{ backends: [{ service: { name: h2 } }] }"),
        &["spec.listeners[0].name = \"feed\": refers to Listener/default/feed, which speaks TCP"],
    );
    let delete = |key: &str, expected: &[&str]| {
        let keys: Vec<ObjectKey> = vec![key.parse().expect("a key")];
        check_errors(plan_delete(&snapshot(BASE), &keys).map(|_| ()), expected);
    };
    delete("Service/default/h1", &[]);
    delete(
        "Service/default/h2",
        &[": is removed, and still referred to by GRPCRoute/default/calls \
           (spec.rules[0].backends[0].service)"],
    );
    delete(
        "Listener/default/web",
        &[": is removed, and still referred to by GRPCRoute/default/calls (spec.listeners[0])"],
    );
}

#[test]
fn no_match_stands_twice_also_beside_an_http_route() {
    let message = "matches for h.example what";
    apply(
        "kind: HTTPRoute\nmetadata: { name: x }\nspec:\n  listeners: [{ name: web }]\n  hosts: \
         [h.example]\n  rules:\n    - { matches: [{ path: { prefix: /a.B } }], backends: [{ service: \
         { name: h1 } }] }\n",
        &[&format!(
            "spec.rules[0].matches[0]: {message} GRPCRoute/default/calls matches in \
             rules[0].matches[0]"
        )],
    );
    apply(
        &another(
            "web",
            "{ matches: [{ method: { service: { exact: a.B } } }], backends: [{ service: { name: h2 } }] }",
        ),
        &[&format!(
            "spec.rules[0].matches[0]: {message} GRPCRoute/default/calls matches in \
             rules[0].matches[0]"
        )],
    );
}
