//! Tokens that a policy demands: whose, from where, with which keys and claims, whichever way the
//! route was found.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

use crate::{
    auth::{HOSTS, Stage, merged, policy, routes},
    client::{Answer, send},
    consent::Consent,
    plane::{eventually, free_port, service},
    token::{Issuer, unsigned},
};

const ISSUER: &str = "https://idp.example";
const ORIGIN: &str = "https://a.example";

/// Asks what a script of an origin may send to the path that is guarded.
async fn preflight(port: u16, host: &str, origin: &str) -> Answer {
    let headers = [("origin", origin), ("access-control-request-method", "GET")];
    send(port, "OPTIONS", host, "/private/x", &headers).await
}

fn seconds_from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + seconds
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Claims that are accepted, but for `more`.
fn claims(more: &Value) -> Value {
    let good = json!({ "iss": ISSUER, "aud": "shop", "sub": "ada", "exp": seconds_from_now(600) });
    merged(&good, more)
}

/// A policy with one issuer whose keys are there, and `more`.
fn spec(jwks: &Value, more: &Value) -> Value {
    let provider = json!({ "name": "idp", "issuer": ISSUER, "audiences": ["shop"], "jwks": jwks });
    json!({ "jwt": { "providers": [merged(&provider, more)] } })
}

fn inline(issuer: &Issuer) -> Value {
    json!({ "inline": issuer.jwks() })
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_token_is_demanded_by_issuer_audience_time_and_signature() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let mut stage = Stage::with(&spec(&inline(&issuer), &json!({ "clockSkew": "30s" })), "").await;
    let good = bearer(&issuer.token(&claims(&json!({}))));
    stage.guarded(&[("authorization", &good)], 200).await;
    let before = stage.backend.seen();
    stage.guarded(&[], 401).await;
    stage.guarded(&[("authorization", "Bearer nonsense")], 401).await;
    stage.guarded(&[("authorization", "Basic dXNlcjE6dGVzdDE=")], 401).await;
    // A preflight proves nothing either: the rule has no CORS.
    for host in HOSTS {
        assert_eq!(preflight(stage.port, host, ORIGIN).await.status, 403, "{host}");
    }
    for (more, status) in [
        (json!({ "iss": "https://other.example" }), 401),
        (json!({ "aud": "bank" }), 403),
        (json!({ "aud": ["bank", "club"] }), 403),
        (json!({ "exp": seconds_from_now(-40) }), 401),
        (json!({ "nbf": seconds_from_now(600) }), 401),
    ] {
        let token = bearer(&issuer.token(&claims(&more)));
        stage.guarded(&[("authorization", &token)], status).await;
    }
    let mut endless = claims(&json!({}));
    endless.as_object_mut().unwrap().remove("exp");
    stage.guarded(&[("authorization", &bearer(&issuer.token(&endless)))], 401).await;

    // Keys of somebody else, no signature, and the public key as a secret one.
    let good_claims = claims(&json!({}));
    let text = unsigned("HS256", &good_claims);
    let confused = hmac::Key::new(hmac::HMAC_SHA256, issuer.jwks().as_bytes());
    let confused = URL_SAFE_NO_PAD.encode(hmac::sign(&confused, text.as_bytes()));
    for token in [
        stranger.token(&good_claims),
        format!("{}.", unsigned("none", &good_claims)),
        issuer.signed("none", &good_claims),
        issuer.signed("RS256", &good_claims),
        issuer.signed("ES1", &good_claims),
        format!("{text}.{confused}"),
    ] {
        stage.guarded(&[("authorization", &bearer(&token))], 401).await;
    }
    assert_eq!(stage.backend.seen(), before, "the service sees nothing that is refused");
    let late = bearer(&issuer.token(&claims(&json!({ "exp": seconds_from_now(-15) }))));
    stage.guarded(&[("authorization", &late)], 200).await;
    stage.others_are_open().await;

    // A change of keys counts with the next request, and cuts no connection.
    let mut client = crate::client::Client::connect(stage.port).await.unwrap();
    assert_eq!(client.get("a.example", "/").await.unwrap().status, 200);
    stage.plane.apply(&policy(&spec(&inline(&stranger), &json!({})))).await;
    stage.guarded(&[("authorization", &good)], 401).await;
    stage.guarded(&[("authorization", &bearer(&stranger.token(&good_claims)))], 200).await;
    assert_eq!(client.get("a.example", "/").await.unwrap().status, 200);
    stage.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_preflights_are_answered_without_a_token_and_what_follows_needs_one() {
    let issuer = Issuer::new();
    let claim = json!({ "requiredClaims": [{ "claim": "sub", "value": "ada" }] });
    let mut stage = Stage::with(&spec(&inline(&issuer), &claim), "").await;
    let cors = format!("      cors: {{ allowOrigins: ['{ORIGIN}'] }}\n");
    stage.plane.apply(&routes(&cors)).await;
    let before = stage.backend.seen();
    for host in HOSTS {
        let answer = preflight(stage.port, host, ORIGIN).await;
        assert_eq!(answer.status, 200, "{host}");
        assert_eq!(answer.header("access-control-allow-origin"), ORIGIN, "{host}");
        let answer = preflight(stage.port, host, "https://x.test").await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{host}");
    }
    stage.guarded(&[("origin", ORIGIN)], 401).await;
    // What only looks like one.
    stage.guarded(&[("origin", ORIGIN), ("access-control-request-method", "GET")], 401).await;
    assert_eq!(stage.backend.seen(), before, "the service sees neither");
    let token = bearer(&issuer.token(&claims(&json!({}))));
    for host in HOSTS {
        let headers = [("origin", ORIGIN), ("authorization", token.as_str())];
        let answer = stage.ask(host, "/private", &headers).await;
        assert_eq!(answer.status, 200, "{host}");
        assert_eq!(answer.header("access-control-allow-origin"), ORIGIN, "{host}");
    }
    stage.others_are_open().await;
    stage.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_claims_reach_the_service_as_the_token_says_and_never_as_a_client_says() {
    let (first, second) = (Issuer::new(), Issuer::new());
    let provider = |name: &str, issuer: &Issuer| json!({ "name": name, "issuer": format!("https://{name}.example"), "jwks": inline(issuer) });
    let spec = json!({ "jwt": {
        "providers": [provider("one", &first), provider("two", &second)],
        "claimHeaders": [{ "name": "x-user", "claim": "sub" },
            { "name": "X-Role", "claim": "realm.role" }, { "name": "x-team", "claim": "team" }],
    } });
    let stage = Stage::with(&spec, "").await;
    let exp = seconds_from_now(600);
    let one = json!({ "iss": "https://one.example", "sub": "ada", "exp": exp });
    let two = json!({ "iss": "https://two.example", "sub": "bob", "exp": exp,
        "realm": { "role": "cook" } });
    let evil = merged(&two, &json!({ "sub": "bob\r\nx-evil: 1" }));
    let (one, two, evil) = (first.token(&one), second.token(&two), second.token(&evil));
    let [one, two, evil] = [one, two, evil].map(|token| bearer(&token));
    for host in HOSTS {
        let forged = |token: &str| {
            [("authorization", token), ("x-user", "eve"), ("x-team", "eve"), ("X-Role", "root")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        let ask = async |token: &str| {
            let forged = forged(token);
            let headers: Vec<_> = forged.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            stage.ask(host, "/private", &headers).await
        };
        let told = ask(&one).await.json();
        assert_eq!(told["headers"]["x-user"], "ada", "{told}");
        for header in ["x-team", "x-role", "authorization"] {
            assert!(told["headers"][header].is_null(), "{host} {header}: {told}");
        }
        let told = ask(&two).await.json();
        assert_eq!(told["headers"]["x-user"], "bob", "{told}");
        assert_eq!(told["headers"]["x-role"], "cook", "{told}");
        assert!(told["headers"]["x-team"].is_null(), "{told}");
        // A claim cannot write another header.
        let answer = ask(&evil).await;
        assert!(answer.status != 200 || answer.json()["headers"]["x-evil"].is_null(), "{answer:?}");
    }
    // The issuers' keys are not each other's.
    let crossed = json!({ "iss": "https://one.example", "sub": "ada", "exp": exp });
    stage.guarded(&[("authorization", &bearer(&second.token(&crossed)))], 401).await;
    stage.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_claims_are_demanded_and_tokens_come_from_where_the_policy_says() {
    let issuer = Issuer::new();
    let more = json!({
        "from": [{ "header": { "name": "x-token", "prefix": "T-" } }, { "query": "token" },
            { "cookie": "session" }],
        "forward": true,
        "requiredClaims": [{ "claim": "groups", "value": "staff" },
            { "claim": "realm.trusted", "value": true }],
    });
    let mut stage = Stage::with(&spec(&inline(&issuer), &more), "").await;
    let staff = json!({ "groups": ["users", "staff"], "realm": { "trusted": true } });
    let good = issuer.token(&claims(&staff));
    stage.guarded(&[("x-token", &format!("T-{good}"))], 200).await;
    stage.guarded(&[("cookie", &format!("a=b; session={good}"))], 200).await;
    for host in HOSTS {
        let path = format!("/private?token={good}");
        assert_eq!(stage.ask(host, &path, &[]).await.status, 200, "{host}");
    }
    // Not where nobody looks.
    stage.guarded(&[("authorization", &bearer(&good))], 401).await;
    let single = merged(&staff, &json!({ "groups": "staff" }));
    let single = issuer.token(&claims(&single));
    stage.guarded(&[("x-token", &format!("T-{single}"))], 200).await;
    for lacking in [
        json!({ "groups": ["users", "staffs"] }),
        json!({ "groups": null }),
        json!({ "groups": "Staff" }),
        json!({ "realm": { "trusted": false } }),
        json!({ "realm": { "trusted": "true" } }),
        json!({ "realm": true }),
    ] {
        let token = issuer.token(&claims(&merged(&staff, &lacking)));
        stage.guarded(&[("x-token", &format!("T-{token}"))], 403).await;
    }
    stage.others_are_open().await;
    // Without forward it is taken out of the query too.
    let more = json!({ "from": [{ "query": "token" }] });
    stage.plane.apply(&policy(&spec(&inline(&issuer), &more))).await;
    let answer = stage.ask("a.example", &format!("/private?a=1&token={good}&b=2"), &[]).await;
    assert_eq!(answer.status, 200);
    let text = answer.json().to_string();
    assert!(!text.contains(&good) && text.contains("a=1"), "{text}");
    stage.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_keys_are_fetched_from_a_service_and_none_closes() {
    let issuer = Issuer::new();
    let keys = Consent::start(200, &issuer.jwks()).await;
    let remote = |name: &str| {
        json!({ "remote": { "service": { "name": name }, "host": "idp.example",
            "path": "/jwks.json", "refresh": "1s" } })
    };
    let services = service("keys", &[keys.port]) + &service("gone", &[free_port()]);
    let mut stage = Stage::with(&spec(&remote("keys"), &json!({})), &services).await;
    let token = bearer(&issuer.token(&claims(&json!({}))));
    stage.guarded(&[("authorization", &token)], 200).await;
    stage.guarded(&[], 401).await;
    assert_eq!(keys.asked()[0].path, "/jwks.json");
    assert_eq!(keys.asked()[0].headers["host"], "idp.example");

    // Another key is found without a change of the configuration.
    let next = Issuer::new();
    keys.say(&next.jwks());
    let rotated = bearer(&next.token(&claims(&json!({}))));
    eventually("the next key", async || {
        let answer = stage.ask("a.example", "/private", &[("authorization", &rotated)]).await;
        (answer.status == 200).then_some(())
    })
    .await;
    stage.guarded(&[("authorization", &token)], 401).await;

    stage.plane.apply(&policy(&spec(&remote("gone"), &json!({})))).await;
    stage.guarded(&[("authorization", &rotated)], 401).await;
    stage.others_are_open().await;
    stage.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_what_stands_behind_a_token_is_demanded_of_requests_that_wait_for_its_keys() {
    let issuer = Issuer::new();
    for host in HOSTS {
        let waiting = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = waiting.local_addr().unwrap().port();
        let jwks = json!({ "remote": { "service": { "name": "keys" }, "host": "idp.example",
            "path": "/jwks.json" } });
        let claim = json!({ "requiredClaims": [{ "claim": "groups", "value": "staff" }] });
        let stage = Stage::with(&spec(&jwks, &claim), &service("keys", &[port])).await;
        let tokens = [json!({}), json!({ "groups": "staff" })]
            .map(|more| bearer(&issuer.token(&claims(&more))));
        let ask = async |token: &str| {
            stage.ask(host, "/private/x", &[("authorization", token)]).await.status.as_u16()
        };
        let (lacking, good, _keys) = tokio::join!(ask(&tokens[0]), ask(&tokens[1]), async {
            // Both wait by then.
            tokio::time::sleep(Duration::from_millis(300)).await;
            Consent::at(waiting, 200, &issuer.jwks())
        });
        assert_eq!((lacking, good), (403, 200), "{host}");
        stage.plane.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_keys_are_read_from_a_file_and_a_missing_one_is_named() {
    let issuer = Issuer::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    std::fs::write(&file, issuer.jwks()).unwrap();
    let mut stage = Stage::with(&spec(&json!({ "file": file }), &json!({})), "").await;
    let token = bearer(&issuer.token(&claims(&json!({}))));
    stage.guarded(&[("authorization", &token)], 200).await;
    stage.guarded(&[], 401).await;

    let gone = spec(&json!({ "file": "/nonexistent/jwks.json" }), &json!({}));
    let revision = stage.plane.publish(&policy(&gone));
    let refusals = stage.plane.refused(revision).await;
    let named = refusals.iter().any(|refusal| refusal.field == "spec.jwt.providers[0].jwks.file");
    assert!(named, "{refusals:?}");
    stage.guarded(&[], 401).await;
    stage.others_are_open().await;
    stage.plane.stop().await;
}

/// A policy of a name, with one issuer.
fn named(name: &str, provider: &str, jwks: &Value) -> String {
    let provider = json!({ "name": provider, "issuer": ISSUER, "jwks": jwks });
    policy(&json!({ "jwt": { "providers": [provider] } })).replace("\"who\"", &format!("{name:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_routes_that_move_between_policies_refuse_no_right_token_and_take_no_wrong_one() {
    const MOVES: usize = 40;
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let keys = Consent::start(200, &issuer.jwks()).await;
    let remote = json!({ "remote": { "service": { "name": "keys" }, "host": "idp.example",
        "path": "/jwks.json" } });
    let services = service("keys", &[keys.port]);
    let mut stage = Stage::with(&spec(&remote, &json!({ "audiences": [] })), &services).await;
    let tokens = [&issuer, &stranger].map(|of| bearer(&of.token(&claims(&json!({})))));
    let [good, wrong] = tokens.clone();
    stage.guarded(&[("authorization", &good)], 200).await;
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let clients: Vec<_> = HOSTS
        .into_iter()
        .map(|host| {
            let (port, done, [good, wrong]) = (stage.port, done.clone(), tokens.clone());
            tokio::spawn(async move {
                let mut client = crate::client::Client::connect(port).await.unwrap();
                let mut asked = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    for (token, status) in [(&good, 200), (&wrong, 401)] {
                        let headers = [("authorization", token.as_str())];
                        let answer =
                            client.send("GET", host, "/private/x", &headers).await.unwrap();
                        assert_eq!(answer.status, status, "{host}, {asked} before: {answer:?}");
                        asked += 1;
                    }
                }
                asked
            })
        })
        .collect();
    // Each has a policy of its own, by turns with keys of a service and of the policy; or changes the one.
    let mut before = "who".to_owned();
    for number in 0..MOVES {
        let jwks = if number % 3 == 0 { remote.clone() } else { inline(&issuer) };
        let name = if number % 4 == 3 { before.clone() } else { format!("p{number}") };
        let moved = routes("").replace("auth: { name: who }", &format!("auth: {{ name: {name} }}"));
        if name != before {
            let key = format!("AuthPolicy/default/{before}").parse().unwrap();
            assert!(stage.plane.config.remove(&key));
        }
        stage.plane.apply(&(named(&name, &format!("i{number}"), &jwks) + &moved)).await;
        before = name;
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut asked = 0;
    for client in clients {
        asked += client.await.unwrap();
    }
    assert!(asked > MOVES * 8, "{asked} requests are no load");
    stage.guarded(&[("authorization", &good)], 200).await;
    stage.guarded(&[("authorization", &wrong)], 401).await;
    stage.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_policy_whose_keys_are_missing_or_no_keys_keeps_no_other_back() {
    let (issuer, next) = (Issuer::new(), Issuer::new());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    let mut stage = Stage::with(&spec(&inline(&issuer), &json!({})), "").await;
    let [old, new] = [&issuer, &next].map(|of| bearer(&of.token(&claims(&json!({})))));
    stage.guarded(&[("authorization", &old)], 200).await;
    // Two at once that Envoy refuses, one of which it does not name, beside a change of keys that it takes.
    let nonsense = json!({ "inline": "{\"keys\": [{\"kty\": \"EC\", \"crv\": \"P-256\"}]}" });
    let rules = |name: &str| {
        format!(
            "    - matches: [{{ path: {{ prefix: /{name} }} }}]\n      backends: [{{ service: {{ name: a }} \
             }}]\n      auth: {{ name: {name} }}"
        )
    };
    let revision = stage.plane.publish(
        &(policy(&spec(&inline(&next), &json!({})))
            + &named("broken", "idp", &json!({ "file": file }))
            + &named("nonsense", "idp", &nonsense)
            + &crate::plane::route("b", "b.example", &rules("broken"))
            + &crate::plane::route("n", "n.example", &rules("nonsense"))),
    );
    let both = eventually("both refusals", async || {
        let refusals = stage.plane.refused(revision).await;
        let of = |name: &str| {
            refusals
                .iter()
                .any(|refusal| refusal.object.as_ref().is_some_and(|object| object.name == name))
        };
        (of("broken") && of("nonsense")).then_some(refusals.clone())
    })
    .await;
    assert_eq!(both.len(), 2, "{both:?}");
    eventually("the change of keys", async || {
        let answer = stage.ask("a.example", "/private", &[("authorization", &new)]).await;
        (answer.status == 200).then_some(())
    })
    .await;
    stage.guarded(&[("authorization", &old)], 401).await;
    stage.guarded(&[("authorization", &new)], 200).await;
    for host in ["b.example", "n.example"] {
        let path = if host == "b.example" { "/broken" } else { "/nonsense" };
        for token in [&old, &new] {
            let answer = stage.ask(host, path, &[("authorization", token)]).await;
            assert_eq!(answer.status, 403, "{host}");
        }
    }
    // It comes, and is read without another revision.
    std::fs::write(&file, issuer.jwks()).unwrap();
    eventually("the keys", async || {
        let answer = stage.ask("b.example", "/broken", &[("authorization", &old)]).await;
        (answer.status == 200).then_some(())
    })
    .await;
    stage.guarded(&[("authorization", &old)], 401).await;
    stage.plane.stop().await;
}
