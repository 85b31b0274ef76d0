//! Who may send a request: by a password, or the consent of a service that is asked. Each is demanded whichever
//! way the route was found, and of no other route.

use serde_json::{Value, json};

use crate::{
    backend::Backend,
    client::{Answer, send},
    consent::Consent,
    consent_grpc::ConsentGrpc,
    plane::{Plane, free_port, http_listener, route, service},
};

/// Hosts that find their route by a scope, by the script for capitals, by that for wildcards, and by
/// both.
pub(crate) const HOSTS: [&str; 4] = ["a.example", "A.Example", "x.w.example", "X.W.example"];

/// Routes of which one path asks for the policy, and for `more`, and all others do not.
pub(crate) fn routes(more: &str) -> String {
    let rules = format!(
        "    - matches: [{{ path: {{ prefix: /private }} }}]\n      backends: [{{ service: {{ name: a }} \
         }}]\n      auth: {{ name: who }}\n{more}    - backends: [{{ service: {{ name: a }} }}]"
    );
    route("exact", "a.example", &rules) + &route("wild", "*.w.example", &rules)
}

pub(crate) fn policy(spec: &Value) -> String {
    let object = json!({ "kind": "AuthPolicy", "metadata": { "name": "who" }, "spec": spec });
    format!("---\n{object}\n")
}

/// A listener with a policy for one path of its hosts.
pub(crate) struct Stage {
    pub(crate) plane: Plane,
    pub(crate) backend: Backend,
    pub(crate) port: u16,
}

impl Stage {
    pub(crate) async fn with(spec: &Value, more: &str) -> Self {
        let backend = Backend::start("a").await;
        let port = free_port();
        let config = http_listener(port)
            + &service("a", &[backend.port])
            + more
            + &policy(spec)
            + &routes("");
        Self { plane: Plane::with(&config).await, backend, port }
    }

    pub(crate) async fn ask(&self, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        send(self.port, "GET", host, path, headers).await
    }

    /// Asserts the status of a request for the path that is guarded, on all hosts.
    pub(crate) async fn guarded(&self, headers: &[(&str, &str)], status: u16) {
        for host in HOSTS {
            let answer = self.ask(host, "/private/x", headers).await;
            assert_eq!(answer.status, status, "{host}, {headers:?}: {answer:?}");
        }
    }

    /// Asserts that what is not guarded is open.
    pub(crate) async fn others_are_open(&self) {
        for host in HOSTS {
            assert_eq!(self.ask(host, "/", &[]).await.backend(), "a", "{host}");
        }
    }
}

pub(crate) fn merged(claims: &Value, more: &Value) -> Value {
    let mut all = claims.clone();
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_password_is_demanded_and_a_missing_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    // htpasswd -s: the SHA-1 of "test1".
    std::fs::write(&users, "user1:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw=\n").unwrap();
    let spec = json!({ "basic": { "usersFile": users, "userHeader": "x-user" } });
    let mut stage = Stage::with(&spec, "").await;
    // user1:test1, user1:test2
    stage.guarded(&[("authorization", "Basic dXNlcjE6dGVzdDE=")], 200).await;
    stage.guarded(&[("authorization", "Basic dXNlcjE6dGVzdDI=")], 401).await;
    stage.guarded(&[], 401).await;
    let told = [("authorization", "Basic dXNlcjE6dGVzdDE="), ("x-user", "mallory")];
    let answer = stage.ask("a.example", "/private", &told).await.json();
    assert_eq!(answer["headers"]["x-user"], "user1");
    stage.others_are_open().await;

    let gone = json!({ "basic": { "usersFile": "/nonexistent/users" } });
    let revision = stage.plane.publish(&policy(&gone));
    let refusals = stage.plane.refused(revision).await;
    let named = refusals.iter().all(|refusal| refusal.field == "spec.rules[0].auth");
    assert!(named && !refusals.is_empty(), "{refusals:?}");
    stage.guarded(&[], 401).await;
    stage.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_service_consents_and_its_silence_closes_unless_that_was_confirmed() {
    let consent = Consent::start(200, "").await;
    let refusal = Consent::start(418, "no").await;
    let services = service("yes", &[consent.port])
        + &service("no", &[refusal.port])
        + &service("nobody", &[free_port()]);
    let spec = |name: &str, more: &Value| {
        let external = json!({ "service": { "name": name }, "pathPrefix": "/check",
            "requestHeaders": ["x-shop"], "upstreamHeaders": ["x-consent"] });
        json!({ "external": merged(&external, more) })
    };
    let mut stage = Stage::with(&spec("yes", &json!({})), &services).await;
    let headers = [("authorization", "Bearer x"), ("x-shop", "7"), ("x-other", "8")];
    stage.guarded(&headers, 200).await;
    let asked = consent.asked();
    assert_eq!(asked[0].path, "/check/private/x");
    assert_eq!(asked[0].headers["authorization"], "Bearer x");
    assert_eq!(asked[0].headers["x-shop"], "7");
    assert!(asked[0].headers.get("x-other").is_none(), "{:?}", asked[0]);
    let answer = stage.ask("a.example", "/private", &headers).await.json();
    assert_eq!(answer["headers"]["x-consent"], "given");
    stage.others_are_open().await;
    // What the service says of a request, a client cannot, in whatever spelling.
    let forged = [("x-consent", "forged"), ("x_consent", "forged"), ("x-role", "forged")];
    for host in HOSTS {
        let answer = stage.ask(host, "/private", &forged).await.json();
        assert_eq!(answer["headers"]["x-consent"], "given", "{host}: {answer}");
        assert!(answer["headers"].get("x_consent").is_none(), "{host}: {answer}");
    }
    let says_more = json!({ "upstreamHeaders": ["x-consent", "x-role"] });
    stage.plane.apply(&policy(&spec("yes", &says_more))).await;
    for host in HOSTS {
        let answer = stage.ask(host, "/private", &forged).await.json();
        assert!(answer["headers"].get("x-role").is_none(), "{host}: {answer}");
    }

    stage.plane.apply(&policy(&spec("no", &json!({})))).await;
    let before = stage.backend.seen();
    stage.guarded(&headers, 418).await;
    assert_eq!(stage.backend.seen(), before, "the service sees nothing that is refused");
    stage.plane.apply(&policy(&spec("nobody", &json!({})))).await;
    stage.guarded(&headers, 403).await;
    let open = json!({ "onFailure": "Allow", "allowUnchecked": true });
    stage.plane.apply(&policy(&spec("nobody", &open))).await;
    stage.guarded(&headers, 200).await;
    let answer = stage.ask("a.example", "/private", &forged).await.json();
    assert!(answer["headers"].get("x-consent").is_none(), "{answer}");
    stage.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_what_else_a_rule_asks_for_happens_also_where_a_service_consents() {
    let consent = Consent::start(200, "").await;
    let spec = json!({ "external": { "service": { "name": "yes" } } });
    let mut stage = Stage::with(&spec, &service("yes", &[consent.port])).await;
    stage.plane.apply(&routes("      sessionPersistence: { cookie: { name: at } }\n")).await;
    for host in HOSTS {
        let answer = stage.ask(host, "/private", &[]).await;
        assert_eq!(answer.status, 200, "{host}");
        assert!(answer.header("set-cookie").starts_with("at="), "{host}: {answer:?}");
    }
    let fault = "      fault: { delay: { duration: 1ms, percent: 100 }, abort: { status: 418, percent: 100 } }\n";
    stage.plane.apply(&routes(fault)).await;
    stage.guarded(&[], 418).await;
    stage.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_service_consents_over_grpc_and_says_what_is_changed() {
    let judge = ConsentGrpc::start().await;
    let over_http2 = |name: &str, port: u16| {
        service(name, &[port]).replace("spec: {", "spec: { protocol: HTTP2,")
    };
    let services = over_http2("judge", judge.port) + &over_http2("nobody", free_port());
    let spec = |name: &str, more: &Value| {
        let external = json!({ "service": { "name": name }, "protocol": "GRPC",
            "requestHeaders": ["x-shop"] });
        json!({ "external": merged(&external, more) })
    };
    let mut stage = Stage::with(&spec("judge", &json!({})), &services).await;
    let headers = [("authorization", "Bearer x"), ("x-shop", "7"), ("x-other", "8")];
    stage.guarded(&headers, 200).await;
    let asked = judge.asked();
    assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("GET", "/private/x"));
    assert_eq!(asked[0].headers["authorization"], "Bearer x");
    assert!(!asked[0].headers.contains_key("x-other"), "{:?}", asked[0]);
    let answer = stage.ask("a.example", "/private", &headers).await.json();
    assert_eq!(answer["headers"]["x-consent"], "given");
    stage.others_are_open().await;

    let before = stage.backend.seen();
    stage.guarded(&[("x-shop", "8")], 418).await;
    let refused = stage.ask("a.example", "/private", &[]).await;
    assert_eq!(refused.body, "no", "{refused:?}");
    assert_eq!(stage.backend.seen(), before, "the service sees nothing that is refused");

    stage.plane.apply(&policy(&spec("nobody", &json!({})))).await;
    stage.guarded(&headers, 403).await;
    let open = json!({ "onFailure": "Allow", "allowUnchecked": true });
    stage.plane.apply(&policy(&spec("nobody", &open))).await;
    stage.guarded(&headers, 200).await;
    stage.plane.stop().await;
}
