//! Requests to one small configuration, and what is said of them.

use std::{collections::BTreeSet, sync::Arc};

use super::{Grounds, Outcome, RequestExplanation, RequestHeader, RequestQuestion, explain};
use crate::{cluster::NodeId, endpoint::EndpointId, parse::parse_documents, snapshot::Snapshot};

const CONFIG: &str = r"
kind: Listener
metadata: { name: web }
spec: { protocol: HTTP, port: 80, address: 192.0.2.10 }
---
kind: Listener
metadata: { name: other }
spec: { protocol: HTTP, port: 80, address: 192.0.2.11, http: { trustedHops: 1 } }
---
kind: Listener
metadata: { name: raw }
spec: { protocol: TCP, port: 9000 }
---
kind: Listener
metadata: { name: passing }
spec: { protocol: TLS, port: 443 }
---
kind: TLSRoute
metadata: { name: named }
spec:
  listeners: [{ name: passing }]
  hosts: [a.example, '*.b.example', '*.x.b.example']
  backends: [{ service: { name: cart }, weight: 3 }, { service: { name: empty } }]
---
kind: TLSRoute
metadata: { name: others }
spec: { listeners: [{ name: passing }], hosts: ['*', x.b.example], backends: [{ service: { name: cart } }] }
---
kind: Service
metadata: { name: cart }
spec: { endpoints: [{ address: 10.0.0.1, port: 80 }, { address: 10.0.0.2, port: 80 }] }
---
kind: Service
metadata: { name: empty }
spec: { endpoints: [] }
---
kind: AuthPolicy
metadata: { name: staff }
spec: { basic: { usersFile: /etc/users } }
---
kind: AuthPolicy
metadata: { name: clients }
spec: { apiKeys: { keysFile: /etc/keys, clientHeader: x-client, from: [{ header: { name: x-key, prefix: 'K ' } }, { cookie: key }] } }
---
kind: AuthPolicy
metadata: { name: tokens }
spec:
  jwt:
    providers:
      - name: idp
        issuer: https://idp.example
        audiences: [shop]
        jwks: { file: /etc/jwks.json }
        from: [{ header: { name: x-token, prefix: 'T ' } }, { query: token }]
        requiredClaims: [{ claim: groups, value: staff }]
      - name: old
        issuer: https://old.example
        jwks: { file: /etc/old.json }
        from: [{ header: { name: authorization, prefix: 'Bearer ' } }, { cookie: session }]
        forward: true
    claimHeaders: [{ name: x-user, claim: sub }]
---
kind: AuthPolicy
metadata: { name: login }
spec:
  oidc:
    provider:
      issuer: https://idp.example
      authorizationEndpoint: https://idp.example/a
      tokenEndpoint: { service: { name: a }, host: idp.example, path: /t }
      jwks: { file: /etc/jwks.json }
    client: { id: shop, secretFile: /etc/secret }
    apiPaths: [/in/api]
    claimHeaders: [{ name: x-user, claim: sub }]
---
kind: HTTPRoute
metadata: { name: inside }
spec:
  listeners: [{ name: web }]
  hosts: [in.example]
  rules:
    - matches: [{ path: { prefix: /in } }]
      backends: [{ service: { name: cart } }]
      auth: { name: login }
    - backends: [{ service: { name: cart } }]
---
kind: HTTPRoute
metadata: { name: shop }
spec:
  listeners: [{ name: web }, { name: other }]
  hosts: [shop.example, '*.shop.example']
  rules:
    - matches:
        - { path: { prefix: /cart } }
        - { path: { prefix: /cart }, headers: [{ name: x-beta, present: true }] }
      backends: [{ service: { name: cart }, weight: 3 }, { service: { name: empty } }]
      rewrite: { path: /v2, hostFromHeader: x-tenant }
      requestHeaders: { set: [{ name: x-shop, value: beta }], remove: [x-beta] }
      responseHeaders: { add: [{ name: x-by, value: us }] }
      mirrors: [{ service: { name: empty }, percent: 10 }]
    - matches: [{ path: { regex: '/cart/[0-9]+' }, method: POST }, { path: { exact: /empty } }]
      backends: [{ service: { name: empty } }]
    - matches: [{ path: { prefix: /old } }]
      redirect: { replacePrefix: /new, scheme: https }
    - matches: [{ path: { exact: /ping } }]
      directResponse: { status: 200, body: pong }
    - matches: [{ path: { exact: /private } }]
      backends: [{ service: { name: cart } }]
      auth: { name: staff }
    - matches: [{ path: { exact: /key } }]
      backends: [{ service: { name: cart } }]
      auth: { name: clients }
    - matches: [{ path: { exact: /token } }]
      backends: [{ service: { name: cart } }]
      auth: { name: tokens }
    - matches: [{ path: { exact: /token/cors } }]
      backends: [{ service: { name: cart } }]
      auth: { name: tokens }
      cors: { allowOrigins: ['https://a.example'] }
    - matches: [{ path: { exact: /tea } }]
      backends: [{ service: { name: cart } }]
      fault: { abort: { grpcStatus: 7, percent: 100 } }
---
kind: RateLimit
metadata: { name: each }
spec:
  targetRefs: [{ kind: HTTPRoute, name: early }, { kind: Listener, name: other }]
  requests: 5
  interval: 60s
  per: { header: x-user }
---
kind: HTTPRoute
metadata: { name: early }
spec:
  listeners: [{ name: web }]
  hosts: [shop.example]
  rules:
    - matches: [{ path: { prefix: /cart }, query: [{ name: q, exact: '1' }] }]
      backends: [{ service: { name: cart } }]
";

fn config() -> Snapshot {
    let mut config = Snapshot::default();
    for object in parse_documents(CONFIG).unwrap() {
        config.put(Arc::new(object));
    }
    config
}

fn question(url: &str, headers: &[(&str, &str)]) -> RequestQuestion {
    let header = |(name, value): &(&str, &str)| RequestHeader {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    RequestQuestion {
        url: url.to_owned(),
        headers: headers.iter().map(header).collect(),
        to: Some(([192, 0, 2, 10], 80).into()),
        ..RequestQuestion::default()
    }
}

fn answer(question: &RequestQuestion, failing: &[&str]) -> RequestExplanation {
    let failing: BTreeSet<EndpointId> = failing
        .iter()
        .map(|address| EndpointId {
            service: "Service/default/cart".parse().unwrap(),
            address: address.parse().unwrap(),
        })
        .collect();
    let config = config();
    let grounds = Grounds { node: NodeId(1), config: &config, live: true, failing: &failing };
    explain(question, &grounds).unwrap()
}

fn lines(answer: &RequestExplanation) -> Vec<String> {
    answer.decisions.iter().map(ToString::to_string).collect()
}

#[test]
fn every_decision_names_its_object_and_field() {
    let headers = [("X-Beta", "1"), ("x-tenant", "Tenant.example")];
    let found =
        answer(&question("http://Shop.example/a/../cart/7?x=1", &headers), &["10.0.0.1:80"]);
    let route = "HTTPRoute/default/shop spec.rules[0]";
    let expected = [
        "listener: HTTP on 192.0.2.10, port 80 (Listener/default/web spec.port)".to_owned(),
        "request: GET /cart/7?x=1 (normalized from /a/../cart/7), host shop.example".to_owned(),
        "host: shop.example is served by name, so no wildcard is asked: HTTPRoute/default/early, \
         HTTPRoute/default/shop"
            .to_owned(),
        format!("route: prefix /cart, header x-beta there ({route}.matches[1])"),
        format!("also matched: prefix /cart; but more headers go first ({route}.matches[0])"),
        format!("request headers: -x-beta ({route}.requestHeaders.remove)"),
        format!("request headers: +x-shop: beta (in place of others) ({route}.requestHeaders.set)"),
        format!("rewrite: host Tenant.example, from x-tenant ({route}.rewrite.hostFromHeader)"),
        format!("rewrite: path /v2/7 ({route}.rewrite.path)"),
        format!("mirror: 10 % are copied to Service/default/empty ({route}.mirrors[0])"),
        "upstream: GET /v2/7?x=1, host Tenant.example".to_owned(),
        format!("response headers: +x-by: us ({route}.responseHeaders.add)"),
        format!("service: Service/default/cart, by lot: 3 of 4 (75 %) ({route}.backends[0])"),
        "endpoint: 10.0.0.1:80, weight 1, priority 0, failing: does not get it \
         (Service/default/cart spec.endpoints[0])"
            .to_owned(),
        "endpoint: 10.0.0.2:80, weight 1, priority 0, healthy: may get it (Service/default/cart \
         spec.endpoints[1])"
            .to_owned(),
        "endpoint: 10.0.0.2:80, the only one that may (Service/default/cart spec.endpoints)"
            .to_owned(),
        format!("service: Service/default/empty, by lot: 1 of 4 (25 %) ({route}.backends[1])"),
        "endpoint: there is none: 503 (Service/default/empty spec.endpoints)".to_owned(),
        "outcome: it is forwarded".to_owned(),
    ];
    assert_eq!(lines(&found), expected);
    assert_eq!(found.route.as_deref(), Some("default/shop#0.1"));
    let upstream = found.upstream.unwrap();
    assert_eq!((upstream.host.as_str(), upstream.target.as_str()), ("Tenant.example", "/v2/7?x=1"));
    assert!(!upstream.headers.iter().any(|header| header.name == "x-beta"));
}

#[test]
fn requests_end_as_the_configuration_says() {
    let check = |url: &str, headers: &[(&str, &str)], outcome, status: Option<u16>| {
        let found = answer(&question(url, headers), &[]);
        assert_eq!((found.outcome, found.status), (outcome, status), "{url}: {found:#?}");
        found
    };
    let shop = |path: &str| format!("http://shop.example{path}");
    check(&shop("/cart"), &[], Outcome::Forwarded, None);
    check(&shop("/"), &[], Outcome::NoRoute, Some(404));
    check("http://nobody.example/cart", &[], Outcome::NoRoute, Some(404));
    check(&shop("/%00"), &[], Outcome::Malformed, Some(400));
    check(&shop("/empty"), &[], Outcome::NoEndpoint, Some(503));
    check(&shop("/private"), &[], Outcome::Answered, Some(401));
    check(&shop("/private"), &[("authorization", "Basic eA==")], Outcome::Forwarded, None);
    check(&shop("/tea"), &[], Outcome::Answered, Some(403));
    let grpc =
        check(&shop("/tea"), &[("content-type", "application/grpc")], Outcome::Answered, Some(200));
    assert_eq!(grpc.grpc_status, Some(7));
    let moved = check(&shop("/old/x?q=1"), &[], Outcome::Redirected, Some(302));
    assert_eq!(moved.location.as_deref(), Some("https://shop.example/new/x?q=1"));
    let pong = check(&shop("/ping"), &[], Outcome::Answered, Some(200));
    assert_eq!(pong.body.as_deref(), Some("pong"));
    check("https://shop.example/ping", &[], Outcome::WrongProtocol, None);
}

#[test]
fn tls_that_passes_through_goes_by_the_host() {
    let check = |url: &str, expected: &str| {
        let asked =
            RequestQuestion { to: Some(([192, 0, 2, 10], 443).into()), ..question(url, &[]) };
        let found = answer(&asked, &[]);
        let host = found.decisions.iter().find(|decision| decision.step == "host");
        let said = host.map_or("", |decision| decision.said.as_str());
        assert!(said.starts_with(expected), "{url}: {found:#?}");
        found.outcome
    };
    for (url, expected) in [
        ("https://a.example/", "a.example takes a.example: TLSRoute/default/named"),
        ("https://A.Example:8443/", "a.example takes a.example: TLSRoute/default/named"),
        ("https://b.example/", "* takes b.example: TLSRoute/default/others"),
        ("https://x.b.example/", "x.b.example takes x.b.example: TLSRoute/default/others"),
        ("https://y.z.b.example/", "*.b.example takes y.z.b.example: TLSRoute/default/named"),
        ("https://y.x.b.example/", "*.x.b.example takes y.x.b.example: TLSRoute/default/named"),
        ("https://192.0.2.10/", "* takes 192.0.2.10: TLSRoute/default/others"),
    ] {
        assert_eq!(check(url, expected), Outcome::PassedThrough, "{url}");
    }
    assert_eq!(check("http://a.example/", ""), Outcome::WrongProtocol);
}

#[test]
fn keys_are_demanded_where_a_policy_does_and_taken_out() {
    let ask = |headers: &[(&str, &str)]| answer(&question("http://shop.example/key", headers), &[]);
    let field = "AuthPolicy/default/clients spec.apiKeys";
    let none = ask(&[("x-key", "a.K b"), ("cookie", "keys=a.b")]);
    assert_eq!((none.outcome, none.status), (Outcome::Answered, Some(401)));
    let said = format!("auth: it shows no key (header x-key: K …, or cookie key): 401 ({field})");
    assert!(lines(&none).contains(&said), "{:#?}", lines(&none));
    let found = ask(&[("x-key", "K a.b"), ("cookie", "key=a.b; c=d")]);
    assert_eq!(found.outcome, Outcome::Forwarded);
    let said = format!(
        "auth: it goes on if /etc/keys has the client of its key, else 401; the service is told by \
         x-client ({field})"
    );
    assert!(lines(&found).contains(&said), "{:#?}", lines(&found));
    let headers = found.upstream.unwrap().headers;
    let value = |name: &str| headers.iter().find(|it| it.name == name).map(|it| it.value.as_str());
    assert_eq!((value("x-key"), value("cookie")), (None, Some("c=d")));
}

#[test]
fn tokens_are_demanded_where_a_policy_does_and_taken_out() {
    let check = |path: &str, headers: &[(&str, &str)], outcome, status: Option<u16>| {
        let url = format!("http://shop.example{path}");
        let found = answer(&question(&url, headers), &[]);
        assert_eq!((found.outcome, found.status), (outcome, status), "{path}: {found:#?}");
        found
    };
    let none =
        check("/token", &[("x-token", "t"), ("x-user", "eve")], Outcome::Answered, Some(401));
    let policy = "AuthPolicy/default/tokens spec.jwt";
    for said in [
        format!(
            "auth: it shows no token of https://idp.example (header x-token: T …, or query \
             token): 401 ({policy}.providers[0])"
        ),
        format!(
            "auth: it shows no token of https://old.example (header authorization: Bearer …, or \
             cookie session): 401 ({policy}.providers[1])"
        ),
    ] {
        assert!(lines(&none).contains(&said), "{said}: {:#?}", lines(&none));
    }
    let shown = [("x-token", "T t"), ("x-user", "eve"), ("authorization", "Bearer b")];
    let found = check("/token?a=1&token=t", &shown, Outcome::Forwarded, None);
    let said = format!(
        "auth: it goes on if its token is of https://idp.example, signed by the keys of \
         /etc/jwks.json, and in time, else 401; and for shop, else 403; and has what is required of \
         groups, else 403 ({policy}.providers[0])"
    );
    assert!(lines(&found).contains(&said), "{:#?}", lines(&found));
    let upstream = found.upstream.unwrap();
    let has = |name: &str| upstream.headers.iter().any(|header| header.name == name);
    assert!(!has("x-token") && !has("x-user") && has("authorization"), "{upstream:?}");
    assert_eq!(upstream.target, "/token?a=1");
    check("/token", &[("cookie", "a=b; session=t")], Outcome::Forwarded, None);
    check("/token", &[("cookie", "a=b; sessions=t")], Outcome::Answered, Some(401));
    check("/token?tokens=1", &[], Outcome::Answered, Some(401));

    let preflight = |path: &str| {
        let url = format!("http://shop.example{path}");
        let headers = [("origin", "https://a.example"), ("access-control-request-method", "PUT")];
        let asked = RequestQuestion { method: Some("OPTIONS".into()), ..question(&url, &headers) };
        answer(&asked, &[]).status
    };
    assert_eq!(preflight("/token/cors"), Some(200));
    assert_eq!(preflight("/token"), Some(403));
}

#[test]
fn sessions_are_demanded_where_a_policy_does_and_reach_no_service() {
    let check = |path: &str, headers: &[(&str, &str)], outcome, status: Option<u16>| {
        let found = answer(&question(&format!("http://in.example{path}"), headers), &[]);
        assert_eq!((found.outcome, found.status), (outcome, status), "{path}: {found:#?}");
        found
    };
    let none = check("/in/x", &[("cookie", "a=b")], Outcome::Answered, Some(302));
    let said = "auth: it has no session; it is sent to https://idp.example/a: 302 \
                (AuthPolicy/default/login spec.oidc)";
    assert!(lines(&none).contains(&said.to_owned()), "{:#?}", lines(&none));
    check("/in/api/x", &[], Outcome::Answered, Some(401));
    check("/in/apis", &[], Outcome::Answered, Some(302));
    check("/in/x", &[("accept", "application/json")], Outcome::Answered, Some(401));
    check("/in/x", &[("sec-fetch-mode", "cors")], Outcome::Answered, Some(401));
    check("/oauth2/logout", &[], Outcome::Answered, Some(302));
    check("/oauth2/callback", &[], Outcome::Answered, Some(401));
    check("/oauth2/callback?code=a&state=b", &[], Outcome::Answered, Some(302));
    let cookie = "a=b; __Host-marchproxy-0-seal=x; c=d";
    let headers = [("cookie", cookie), ("x-user", "eve"), ("authorization", "Bearer x")];
    for path in ["/in/x", "/"] {
        let found = check(path, &headers, Outcome::Forwarded, None);
        let headers = found.upstream.unwrap().headers;
        let value =
            |name: &str| headers.iter().find(|it| it.name == name).map(|it| it.value.as_str());
        assert_eq!(value("cookie"), Some("a=b; c=d"), "{path}");
        assert_eq!(value("x-user").is_none(), path == "/in/x");
        assert_eq!(value("authorization").is_none(), path == "/in/x");
    }
}

#[test]
fn the_more_specific_match_wins_and_then_the_first_name() {
    let route = |url: &str, method: &str| {
        let asked = RequestQuestion { method: Some(method.to_owned()), ..question(url, &[]) };
        answer(&asked, &[]).route.unwrap_or_default()
    };
    assert_eq!(route("http://shop.example/cart/1", "GET"), "default/shop#0.0");
    assert_eq!(route("http://shop.example/cart/1", "POST"), "default/shop#0.0", "before a regex");
    assert_eq!(route("http://shop.example/cart?q=1", "GET"), "default/early#0.0");
    assert_eq!(route("http://x.shop.example/cart?q=1", "GET"), "default/shop#0.0");
}

#[test]
fn limits_of_the_listener_and_of_the_route_are_told() {
    let told = |question: &RequestQuestion| {
        let lines = lines(&answer(question, &[]));
        lines.into_iter().filter(|line| line.starts_with("limit: ")).collect::<Vec<_>>()
    };
    let asked = question("http://shop.example/cart?q=1", &[("x-user", "me")]);
    let within = "limit: it goes on within 5 requests in 1m (at once: 5)";
    let policy = "else 429 (RateLimit/default/each spec.targetRefs";
    assert_eq!(told(&asked), [format!("{within} with its x-user, {policy}[0])")]);
    let elsewhere = RequestQuestion { to: Some(([192, 0, 2, 11], 80).into()), ..asked };
    assert_eq!(told(&elsewhere), [format!("{within} with its x-user, {policy}[1])")]);
    assert_eq!(told(&question("http://shop.example/ping", &[])), [""; 0]);
}

#[test]
fn modules_are_told_in_their_order() {
    let mut config = config();
    for (name, target, digit, fields) in [
        ("all", "Listener, name: web", "a", "order: 5"),
        ("one", "HTTPRoute, name: early", "b", "onFailure: Open, allowUnchecked: true"),
        ("elsewhere", "Listener, name: other", "c", ""),
    ] {
        let yaml = format!(
            "kind: FilterModule\nmetadata: {{ name: {name} }}\nspec: {{ targetRefs: [{{ kind: {target} \
             }}], sha256: {}, {fields} }}\n",
            digit.repeat(64)
        );
        config.put(Arc::new(parse_documents(&yaml).unwrap().remove(0)));
    }
    let told = |url: &str| {
        let failing = BTreeSet::new();
        let grounds = Grounds { node: NodeId(1), config: &config, live: true, failing: &failing };
        let lines = lines(&explain(&question(url, &[]), &grounds).unwrap());
        lines.into_iter().filter(|line| line.starts_with("module: ")).collect::<Vec<_>>()
    };
    let sees = |digit: &str| format!("module: module {} sees it, ", digit.repeat(64));
    let [first, second] = &told("http://shop.example/cart?q=1")[..] else { panic!("two modules") };
    assert!(first.starts_with(&sees("b")) && first.contains("if it fails, it goes on"), "{first}");
    assert!(second.starts_with(&sees("a")) && second.contains("if it fails, 503"), "{second}");
    assert!(second.ends_with("(FilterModule/default/all spec.targetRefs[0])"), "{second}");
    assert_eq!(told("http://shop.example/ping").len(), 1);
}

#[test]
fn the_listener_is_named_or_found() {
    let asked = question("http://shop.example/cart", &[]);
    let ends = |question: RequestQuestion| answer(&question, &[]).outcome;
    let anywhere = RequestQuestion { to: None, ..asked.clone() };
    assert_eq!(ends(anywhere.clone()), Outcome::Ambiguous);
    let named = |name: &str| RequestQuestion { listener: Some(name.into()), ..anywhere.clone() };
    assert_eq!(ends(named("default/web")), Outcome::Forwarded);
    assert_eq!(ends(named("gone")), Outcome::NoListener);
    assert_eq!(ends(named("raw")), Outcome::WrongProtocol);
    let elsewhere = RequestQuestion { to: Some(([192, 0, 2, 12], 80).into()), ..asked };
    assert_eq!(ends(elsewhere), Outcome::NoListener);
}

#[test]
fn trusted_proxies_say_who_the_client_is() {
    let asked = RequestQuestion {
        to: Some(([192, 0, 2, 11], 80).into()),
        client: Some([198, 51, 100, 1].into()),
        ..question(
            "http://shop.example/cart",
            &[("x-forwarded-for", "203.0.113.9, 203.0.113.8"), ("x-forwarded-proto", "https")],
        )
    };
    let headers = answer(&asked, &[]).upstream.unwrap().headers;
    let value = |name: &str| headers.iter().find(|it| it.name == name).map(|it| it.value.as_str());
    assert_eq!(value("x-envoy-external-address"), Some("203.0.113.8"));
    assert_eq!(value("x-forwarded-for"), Some("203.0.113.9, 203.0.113.8,198.51.100.1"));
    assert_eq!(value("x-forwarded-proto"), Some("https"));
}

#[test]
fn what_is_no_request_is_refused_by_field() {
    let field = |question: RequestQuestion| question.check().unwrap_err().field;
    let of = |url: &str| question(url, &[]);
    for url in
        ["shop.example/", "ftp://a/", "http:///x", "http://a:0/", "http://a/ b", "http://a/#x"]
    {
        assert_eq!(field(of(url)), "url", "{url}");
    }
    assert_eq!(field(of("http://a/%zz")), "url");
    let method = |method: &str| RequestQuestion { method: Some(method.into()), ..of("http://a") };
    assert_eq!(field(method("CONNECT")), "method");
    assert_eq!(field(method("")), "method");
    assert!(method("PURGE").check().is_ok());
    for header in [("upgrade", "x"), ("a b", "x"), ("x", "a\nb"), ("host", "a/b")] {
        assert_eq!(field(question("http://a", &[header])), "headers", "{header:?}");
    }
    let both = RequestQuestion { listener: Some("web".into()), ..of("http://a") };
    assert_eq!(field(both), "listener");
}
