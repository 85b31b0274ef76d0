//! The OpenAPI document says what is true: of every route, and of every real answer.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::{
    harness::{Node, Raw, SHOP},
    schema::differences,
};
use crate::api::{access::Access, openapi::document, routes::operations};

/// A filter and a list with every field.
const FILTERS: &str = "\
kind: PrefixList
metadata: { name: bad }
spec: { prefixes: [203.0.113.0/24, '2001:db8:bad::/48'] }
---
kind: PacketFilter
metadata: { name: edge }
spec:
  priority: 7
  rules:
    - action: Deny
      sources: [198.51.100.0/24]
      sourceLists: [{ name: bad }]
      destinations: [192.0.2.10]
      protocol: UDP
      ports: [53, 8000-8999]
    - action: Rate
      rate: { packetsPerSecond: 500, per: Source }
    - action: Rate
      rate: { packetsPerSecond: 500000, burst: 9000, per: Rule }
      protocol: UDP
";

/// What Envoy does beyond forwarding, with every field.
const HTTP: &str = "\
kind: Listener
metadata: { name: full }
spec:
  protocol: HTTP
  port: 8090
  proxyProtocol: Optional
  maxConnections: 1000
  http: { idleTimeout: 1m, streamIdleTimeout: 1m, requestHeadersTimeout: 5s, maxConnectionDuration: 1h, maxRequestHeadersKB: 32, maxConcurrentStreams: 50, trustedHops: 1, compression: { algorithms: [gzip], minBytes: 50, contentTypes: [text/css] } }
  accessLogs:
    - { file: /var/log/a.log, headers: { shop: x-shop }, minStatus: 400, samplePercent: 10 }
    - { stdout: {} }
    - { otlp: { service: { name: asked } } }
---
kind: Listener
metadata: { name: secure }
spec:
  protocol: HTTPS
  port: 8443
  tls:
    certificateFile: /etc/a.pem
    privateKeyFile: /etc/a.key
    moreCertificates: [{ certificateFile: /etc/b.pem, privateKeyFile: /etc/b.key }]
    minVersion: \"1.2\"
    maxVersion: \"1.3\"
  http: { http3: { maxAge: 1h, advertisedPort: 443 } }
---
kind: Listener
metadata: { name: shown }
spec: { protocol: HTTPS, port: 8444, tls: { certificates: [{ name: given }, { name: asked }] } }
---
kind: Certificate
metadata: { name: given }
spec: { certificateFile: /etc/c.pem, privateKeyFile: /etc/c.key }
---
kind: Certificate
metadata: { name: asked }
spec: { issuer: { name: own }, hosts: [a.example], lifetime: 48h, renewBefore: 24h }
---
kind: Issuer
metadata: { name: own }
spec: { internal: {} }
---
kind: Listener
metadata: { name: partners }
spec:
  protocol: HTTPS
  port: 8445
  tls:
    certificateFile: /c.pem
    privateKeyFile: /c.key
    clients: { caFile: /ca.pem, crlFile: /ca.crl, mode: Required, subjectAltNames: [{ dns: { exact: a.example } }, { uri: { prefix: 's://a/' } }, { email: { suffix: '@a' } }, { ip: 10.0.0.1 }], forward: [Hash, Subject, DNS, URI, Certificate, Chain] }
---
kind: Service
metadata: { name: asked }
spec: { endpoints: [] }
---
kind: RolloutPolicy
metadata: { name: careful }
spec:
  steps: [{ nodes: [node-1] }, { percent: 50, hold: 1m }]
  gates: { latency: { p99: 1s }, drops: {} }
---
kind: RateLimit
metadata: { name: each }
spec: { targetRefs: [{ kind: Listener, name: full }, { kind: GRPCRoute, name: full }], requests: 5, interval: 1m, burst: 9, per: { header: x-a } }
---
kind: RateLimit
metadata: { name: all }
spec: { targetRefs: [{ kind: HTTPRoute, name: full }], requests: 5, interval: 1m }
---
kind: AuthPolicy
metadata: { name: who }
spec:
  jwt:
    providers:
      - name: a
        issuer: i
        audiences: [b]
        jwks: { inline: '{\"keys\": [{\"kty\": \"EC\"}]}' }
        from: [{ header: { name: x-t, prefix: T } }, { query: q }, { cookie: c }]
        forward: true
        clockSkew: 5s
        requiredClaims: [{ claim: c, value: d }, { claim: e.f, value: true }]
      - { name: b, issuer: i, jwks: { file: /etc/jwks } }
      - { name: c, issuer: i, jwks: { remote: { service: { name: asked }, host: h, path: /k } } }
    claimHeaders: [{ name: x-user, claim: sub }]
  apiKeys: { keysFile: /etc/keys, from: [{ header: { name: x-t, prefix: T } }, { query: q }, { cookie: c }], clientHeader: x-client }
  basic: { usersFile: /etc/users, userHeader: x-user }
  external: { service: { name: asked }, pathPrefix: /check, requestHeaders: [x-a], upstreamHeaders: [x-b], onFailure: Allow, allowUnchecked: true }
---
kind: AuthPolicy
metadata: { name: login }
spec:
  oidc:
    provider: { issuer: i, authorizationEndpoint: 'https://h/a', tokenEndpoint: { service: { name: asked }, host: h, path: /t }, endSessionEndpoint: 'https://h/e', jwks: { remote: { service: { name: asked }, host: h, path: /k } } }
    client: { id: c, secretFile: /etc/s, authentication: Post, scopes: [openid] }
    apiPaths: [/api]
    session: { lifetime: 1h, sameSite: Strict }
    requiredClaims: [{ claim: c, value: d }]
    claimHeaders: [{ name: x-user, claim: sub }]
    forwardAccessToken: true
---
kind: HTTPRoute
metadata: { name: full }
spec:
  listeners: [{ name: full }]
  hosts: ['*']
  rules:
    - backends: [{ service: { name: asked } }]
      auth: { name: who }
      fault: { delay: { duration: 1s, percent: 1 }, abort: { status: 503, percent: 1 } }
    - matches: [{ path: { prefix: /grpc } }]
      backends: [{ service: { name: asked } }]
      compression: true
      fault: { abort: { grpcStatus: 14, percent: 1 } }
---
kind: Listener
metadata: { name: passing }
spec: { protocol: TLS, port: 8446 }
---
kind: TLSRoute
metadata: { name: passing }
spec: { listeners: [{ name: passing }], hosts: [a.example, '*'], backends: [{ service: { name: asked } }] }
---
kind: Service
metadata: { name: called }
spec:
  endpoints: [{ address: 10.0.0.1, port: 1, locality: { zone: a } }, { address: 10.0.0.2, port: 1, priority: 1 }]
  loadBalancing: RingHash
  ringHash: { minimumRingSize: 64, maximumRingSize: 128, hashFunction: MurmurHash2 }
  hashBalanceFactorPercent: 150
  failover: { panicThresholdPercent: 30, overprovisioningPercent: 200 }
  circuitBreakers: { maxConnections: 10, maxConnectionsPerEndpoint: 5, maxPendingRequests: 5, maxRequests: 9, maxRequestsPerConnection: 9, retryBudget: { percent: 10 } }
  outlierDetection: { consecutive5xx: 3, consecutiveGatewayErrors: 2, consecutiveLocalOriginFailures: 2, successRate: {}, failurePercentage: {} }
  protocol: HTTP2
  connections: { idleTimeout: 1m, maxDuration: 1h, http2: { maxConcurrentStreams: 9, pingInterval: 5s }, tcpKeepalive: {}, closeOnUnhealthy: true }
  tls: { serverName: a.example, caFile: /ca.pem, subjectAltNames: [{ dns: a.example }], certificateFile: /c.pem, privateKeyFile: /k.pem }
  healthCheck: { grpc: { service: a }, by: Envoy, jitterPercent: 5 }
---
kind: Service
metadata: { name: named }
spec: { dns: { name: a.example, port: 80, resolvers: [{ address: 10.0.0.1, port: 53 }] }, loadBalancing: LeastRequest, leastRequest: { choiceCount: 3 } }
---
kind: Service
metadata: { name: hashed }
spec: { endpoints: [], loadBalancing: Maglev, maglev: { tableSize: 251 }, circuitBreakers: { maxRetries: 1 } }
---
kind: GRPCRoute
metadata: { name: full }
spec:
  listeners: [{ name: full }]
  hosts: [grpc.example]
  rules:
    - matches: [{ method: { service: { exact: a.B }, method: { regex: Get.* } }, headers: [{ name: x-a, exact: b }] }]
      backends: [{ service: { name: called } }]
      requestHeaders: { remove: [x-a] }
      responseHeaders: { remove: [x-b] }
      timeout: 1m
      streamIdleTimeout: 1m
      maxStreamDuration: 1m
      grpcTimeoutHeaderMax: 1m
      retries: { on: [unavailable], statuses: [429], perTryTimeout: 1s, perTryIdleTimeout: 1s, maxBackoff: 1s, retryAfterMax: 1s }
      auth: { name: who }
      fault: { abort: { grpcStatus: 14, percent: 1 } }
      cors: { allowOrigins: [https://a.example], allowOriginRegexes: [b+], allowMethods: [POST], allowHeaders: [x-a], exposeHeaders: [x-b], maxAge: 1m }
      sessionPersistence: { cookie: { name: s, ttl: 1m } }
      mirrors: [{ service: { name: called } }]
      affinity: { cookie: { name: a } }
      grpcWeb: true
";

/// A packet.
const EXPLAIN: &str = r#"{"from":"10.0.0.1:4242","to":"10.0.0.2:80"}"#;

const MODULE: &str = "/v1/modules/{sha256}";
/// One that is not there.
const NO_MODULE: &str =
    "/v1/modules/0000000000000000000000000000000000000000000000000000000000000000";
/// A module with every field.
const MODULES: &str = "\
kind: Listener
metadata: { name: filtered }
spec: { protocol: HTTP, port: 8099 }
---
kind: FilterModule
metadata: { name: full }
spec:
  targetRefs: [{ kind: Listener, name: filtered }]
  sha256: CODE
  rootId: a
  configuration: { a: [1] }
  memoryLimitMib: 4
  order: 7
  onFailure: Open
  allowUnchecked: true
";

const ASK: &str = "/v1/explain/request";
/// A question about a request, to a listener and host of the test's configuration.
const REQUEST: &str =
    r#"{"url":"http://shop.example:8090/grpc/x","headers":[{"name":"x-a","value":"1"}]}"#;

/// A policy with every field.
const POLICY: &str = "\
kind: Listener
metadata: { name: orders }
spec: { protocol: TCP, port: 5432 }
---
kind: QoSPolicy
metadata: { name: gold }
spec:
  listeners: [{ name: orders }]
  class: P1
  latencyLimit: 2ms
  weight: 20
  ingress: { bandwidthMbps: 100, burstKB: 500 }
  egress: { bandwidthMbps: 100 }
  excess: Drop
  dscp: AF41
  ecn: Mark
  scope: Node
";

#[test]
fn the_document_names_exactly_the_routes_and_every_reference_leads_somewhere() {
    let document = document();
    let mut named = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            named.insert((method.to_ascii_uppercase(), path.clone()));
        }
    }
    let served: BTreeSet<_> = operations()
        .iter()
        .map(|operation| (operation.method.to_string(), operation.path.to_owned()))
        .collect();
    assert_eq!(named, served);
    let ids: BTreeSet<_> = operations().iter().map(|operation| operation.id).collect();
    assert_eq!(ids.len(), served.len(), "an operation id stands twice");
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    for reference in &used {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
    for schema in document["components"]["schemas"].as_object().unwrap().keys() {
        // Events travel as text, so no operation refers to their schema.
        let known = schema == "Event" || used.contains(&format!("#/components/schemas/{schema}"));
        assert!(known, "nothing refers to the schema {schema}");
    }
}

#[test]
fn the_page_for_people_names_every_operation_and_its_role() {
    let page = include_str!("../../../../docs/api.md");
    for operation in operations() {
        let role = match operation.access {
            Access::Anonymous => "nobody",
            Access::Read => "read",
            Access::Admin => "admin",
            Access::JoinSecret => "join secret",
        };
        let row = format!("| `{} {}` | {role} |", operation.method, operation.path);
        assert!(page.contains(&row), "docs/api.md lacks {row}");
    }
}

fn references(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                out.insert(reference.to_owned());
            }
            fields.values().for_each(|value| references(value, out));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, out)),
        _ => {}
    }
}

/// Reads a real answer against what the document says of its operation and status.
fn check(document: &Value, method: &Method, template: &str, raw: &Raw) {
    let operation = &document["paths"][template][method.as_str().to_ascii_lowercase()];
    let mut response = &operation["responses"][raw.status.as_str()];
    if response["$ref"].is_string() {
        response = &document["components"]["responses"]["Error"];
    }
    let text = String::from_utf8_lossy(&raw.body);
    assert!(response.is_object(), "{method} {template} answered {}: {text}", raw.status);
    let Some(content) = response["content"].as_object() else {
        assert!(raw.body.is_empty(), "{method} {template}: {text}");
        return;
    };
    let media_type = raw.headers["content-type"].to_str().unwrap();
    let schema = content.get(media_type).unwrap_or_else(|| panic!("{template}: {media_type}"));
    if media_type == "application/json" {
        let found = differences(document, &schema["schema"], &raw.json());
        assert!(found.is_empty(), "{method} {template} {}: {found:#?}\n{text}", raw.status);
    }
}

#[tokio::test]
async fn real_answers_of_every_operation_are_as_the_document_says() {
    let node = Node::start().await;
    let document = node.get("/v1/openapi.json").await.json();
    let mut reached = BTreeSet::new();
    let bad = SHOP.replace("port: 8080", "port: 0");
    let code = super::modules::code(0);
    let sha256 = runtime::filter_code::sha256(&code).to_string();
    let secret = "mpj_wrong";
    let join = super::access::join();
    // Method, template, path, body, expected status; in this order.
    let calls: Vec<(&str, &str, &str, String, u16)> = vec![
        ("GET", "/healthz", "/healthz", String::new(), 200),
        ("GET", "/metrics", "/metrics", String::new(), 200),
        ("GET", "/metrics/dataplane", "/metrics/dataplane", String::new(), 502),
        ("GET", "/v1/openapi.json", "/v1/openapi.json", String::new(), 200),
        ("POST", "/v1/diff", "/v1/diff", SHOP.to_owned(), 200),
        ("POST", "/v1/apply", "/v1/apply?dryRun=true", SHOP.to_owned(), 200),
        (
            "POST",
            "/v1/apply",
            "/v1/apply?message=first&wait=true&timeout=1ms",
            SHOP.to_owned(),
            200,
        ),
        ("POST", "/v1/apply", "/v1/apply?force=true", FILTERS.to_owned(), 200),
        ("GET", "/v1/objects/{kind}", "/v1/objects/packetfilters", String::new(), 200),
        ("GET", "/v1/objects/{kind}", "/v1/objects/prefixlists", String::new(), 200),
        ("POST", "/v1/apply", "/v1/apply", POLICY.to_owned(), 200),
        ("GET", "/v1/objects/{kind}", "/v1/objects/qospolicies", String::new(), 200),
        ("POST", "/v1/apply", "/v1/apply", HTTP.to_owned(), 200),
        ("GET", "/v1/objects/{kind}", "/v1/objects/authpolicies", String::new(), 200),
        ("GET", "/v1/objects/{kind}", "/v1/objects/tlsroutes", String::new(), 200),
        ("GET", "/v1/objects/{kind}", "/v1/objects/ratelimits", String::new(), 200),
        ("POST", "/v1/apply", "/v1/apply", bad, 422),
        ("POST", "/v1/apply", "/v1/apply?expectRevision=1", SHOP.to_owned(), 409),
        ("POST", "/v1/apply", "/v1/apply?unknown=1", SHOP.to_owned(), 400),
        ("POST", "/v1/diff", "/v1/diff", SHOP.replace("weight: 90", "weight: 80"), 200),
        ("GET", "/v1/objects/{kind}", "/v1/objects/listeners", String::new(), 200),
        (
            "GET",
            "/v1/objects/{kind}",
            "/v1/objects/HTTPRoute?consistency=stale",
            String::new(),
            200,
        ),
        ("GET", "/v1/objects/{kind}", "/v1/objects/tcproutes", String::new(), 200),
        ("GET", "/v1/objects/{kind}", "/v1/objects/services?namespace=default", String::new(), 200),
        ("GET", "/v1/objects/{kind}", "/v1/objects/pods", String::new(), 400),
        (
            "GET",
            "/v1/objects/{kind}/{namespace}/{name}",
            "/v1/objects/Service/default/cart",
            String::new(),
            200,
        ),
        (
            "GET",
            "/v1/objects/{kind}/{namespace}/{name}",
            "/v1/objects/Service/default/none",
            String::new(),
            404,
        ),
        (
            "DELETE",
            "/v1/objects/{kind}/{namespace}/{name}",
            "/v1/objects/UDPRoute/default/ticks?message=m",
            String::new(),
            200,
        ),
        (
            "DELETE",
            "/v1/objects/{kind}/{namespace}/{name}",
            "/v1/objects/Service/default/cart",
            String::new(),
            422,
        ),
        ("GET", "/v1/objects/{kind}", "/v1/objects/rolloutpolicies", String::new(), 200),
        ("GET", "/v1/history", "/v1/history?limit=5", String::new(), 200),
        ("GET", "/v1/history", "/v1/history?limit=0", String::new(), 400),
        ("GET", "/v1/history/{revision}", "/v1/history/NEWEST", String::new(), 200),
        ("GET", "/v1/history/{revision}", "/v1/history/999999", String::new(), 404),
        ("POST", "/v1/rollback", "/v1/rollback?dryRun=true", r#"{"revision":OLDEST}"#.into(), 200),
        ("POST", "/v1/rollback", "/v1/rollback", r#"{"revision":999999}"#.into(), 404),
        ("GET", "/v1/acks", "/v1/acks?wait=1ms", String::new(), 200),
        ("GET", "/v1/certificates", "/v1/certificates", String::new(), 200),
        (
            "GET",
            "/v1/issuers/{namespace}/{name}/authority",
            "/v1/issuers/default/own/authority",
            String::new(),
            200,
        ),
        (
            "GET",
            "/v1/issuers/{namespace}/{name}/authority",
            "/v1/issuers/default/none/authority",
            String::new(),
            404,
        ),
        ("GET", "/v1/rollout", "/v1/rollout", String::new(), 200),
        ("POST", "/v1/rollout/pause", "/v1/rollout/pause", String::new(), 200),
        ("POST", "/v1/rollout/resume", "/v1/rollout/resume", String::new(), 200),
        ("POST", "/v1/rollout/abort", "/v1/rollout/abort?message=m", String::new(), 200),
        ("POST", "/v1/rollout/pause", "/v1/rollout/pause", String::new(), 409),
        ("GET", "/v1/rollout", "/v1/rollout", String::new(), 200),
        ("GET", MODULE, NO_MODULE, String::new(), 404),
        ("PUT", MODULE, NO_MODULE, "no module".to_owned(), 422),
        ("PUT", MODULE, "/v1/modules/CODE", "CODE".to_owned(), 200),
        ("GET", MODULE, "/v1/modules/CODE", String::new(), 200),
        ("POST", "/v1/apply", "/v1/apply?allAtOnce=true", MODULES.to_owned(), 200),
        ("GET", "/v1/objects/{kind}", "/v1/objects/filtermodules", String::new(), 200),
        ("GET", "/v1/modules", "/v1/modules", String::new(), 200),
        ("DELETE", MODULE, "/v1/modules/CODE", String::new(), 409),
        (
            "DELETE",
            "/v1/objects/{kind}/{namespace}/{name}",
            "/v1/objects/filtermodule/default/full?allAtOnce=true",
            String::new(),
            200,
        ),
        ("DELETE", MODULE, "/v1/modules/CODE", String::new(), 204),
        ("GET", "/v1/events", "/v1/events", String::new(), 200),
        ("GET", "/v1/flows", "/v1/flows?follow=true&verdict=dropped", String::new(), 502),
        ("GET", "/v1/flows", "/v1/flows?verdict=lost", String::new(), 400),
        ("GET", "/v1/endpoints", "/v1/endpoints?service=shop/cart", String::new(), 502),
        ("GET", "/v1/endpoints", "/v1/endpoints?verdict=dropped", String::new(), 400),
        ("GET", "/v1/qos", "/v1/qos", String::new(), 502),
        (
            "POST",
            "/v1/dataplane/envoy/restart",
            "/v1/dataplane/envoy/restart?drain=true",
            String::new(),
            502,
        ),
        ("POST", "/v1/dataplane/restart", "/v1/dataplane/restart", String::new(), 502),
        ("POST", "/v1/explain", "/v1/explain", EXPLAIN.to_owned(), 502),
        ("POST", "/v1/explain", "/v1/explain", EXPLAIN.replace("80", "99999"), 400),
        ("POST", "/v1/explain", "/v1/explain", EXPLAIN.replace("10.0.0.2", "[::1]"), 422),
        ("POST", "/v1/explain", "/v1/explain", EXPLAIN.replace('}', ",\"revision\":999999}"), 404),
        ("POST", ASK, ASK, REQUEST.to_owned(), 200),
        ("POST", ASK, ASK, REQUEST.replace("/grpc", "/rest"), 200),
        ("POST", ASK, ASK, r#"{"url":"https://a.example:8446/"}"#.into(), 200),
        ("POST", ASK, ASK, REQUEST.replace("url", "uri"), 400),
        ("POST", ASK, ASK, REQUEST.replace("http:", "ftp:"), 422),
        ("POST", ASK, ASK, REQUEST.replacen('{', "{\"revision\":999999,", 1), 404),
        ("GET", "/v1/status", "/v1/status", String::new(), 200),
        ("GET", "/v1/nodes", "/v1/nodes", String::new(), 200),
        ("DELETE", "/v1/nodes/{id}", "/v1/nodes/99", String::new(), 404),
        ("POST", "/v1/tokens", "/v1/tokens", r#"{"name":"ci","role":"read"}"#.into(), 201),
        ("POST", "/v1/tokens", "/v1/tokens", r#"{"name":"ci","role":"read"}"#.into(), 422),
        ("GET", "/v1/tokens", "/v1/tokens", String::new(), 200),
        ("DELETE", "/v1/tokens/{name}", "/v1/tokens/ci", String::new(), 204),
        ("DELETE", "/v1/tokens/{name}", "/v1/tokens/ci", String::new(), 404),
        ("POST", "/v1/join-lines", "/v1/join-lines", r#"{"ttlSeconds":60}"#.into(), 201),
        ("POST", "/v1/join-lines", "/v1/join-lines", r#"{"ttlSeconds":1}"#.into(), 422),
        ("POST", "/v1/join", "/v1/join", join, 401),
    ];
    for (method, template, path, body, expected) in calls {
        let history = node.get("/v1/history").await.json();
        let entries = history["entries"].as_array().unwrap().clone();
        let revision = |entry: Option<&Value>| {
            entry.map_or_else(|| "0".to_owned(), |entry| entry["revision"].to_string())
        };
        let path = path.replace("NEWEST", &revision(entries.first()));
        let path = path.replace("CODE", &sha256);
        let body = body.replace("OLDEST", &revision(entries.last()));
        let body = match body.as_str() {
            "CODE" => Bytes::from(code.clone()),
            text => text.replace("CODE", &sha256).into(),
        };
        let method: Method = method.parse().unwrap();
        let token = if template == "/v1/join" { secret } else { &node.admin };
        let raw = node.call(method.clone(), &path, Some(token), &[], body).await;
        let text = String::from_utf8_lossy(&raw.body);
        assert_eq!(raw.status.as_u16(), expected, "{method} {path}: {text}");
        check(&document, &method, template, &raw);
        reached.insert((method.to_string(), template.to_owned()));
    }
    for operation in operations() {
        let one = (operation.method.to_string(), operation.path.to_owned());
        assert!(reached.contains(&one), "no answer of {one:?} was read");
    }
    node.stop().await;
}
