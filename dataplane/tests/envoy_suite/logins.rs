//! Logins by OpenID Connect that a policy demands: a browser is sent to the provider, comes back with a code,
//! and has a session, whichever way its route is found, on whichever node; and all that is not right is
//! refused.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    auth::{HOSTS, Stage, merged, policy},
    browser::Browser,
    client::{Answer, send},
    identity_provider::{AUTHORIZE, CLIENT, ISSUER, IdentityProvider, SECRET, form},
    plane::{eventually, route, service},
};

/// The end session endpoint.
const END: &str = "https://idp.example/logout";

fn login(secret_file: &Path, more: &Value) -> Value {
    let service = json!({ "name": "idp" });
    let spec = json!({
        "provider": {
            "issuer": ISSUER,
            "authorizationEndpoint": AUTHORIZE,
            "tokenEndpoint": { "service": service, "host": "idp.example", "path": "/token" },
            "endSessionEndpoint": END,
            "jwks": { "remote": { "service": service, "host": "idp.example", "path": "/keys" } },
        },
        "client": { "id": CLIENT, "secretFile": secret_file, "scopes": ["openid", "email"] },
        "claimHeaders": [{ "name": "x-user", "claim": "sub" }],
        "apiPaths": ["/private/api"],
    });
    json!({ "oidc": merged(&spec, more) })
}

/// A stage with a provider.
struct Scene {
    stage: Stage,
    provider: IdentityProvider,
    directory: tempfile::TempDir,
}

impl Scene {
    async fn with(more: &Value) -> Self {
        let provider = IdentityProvider::start().await;
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let services = service("idp", &[provider.port]);
        let stage = Stage::with(&login(&secret, more), &services).await;
        let scene = Self { stage, provider, directory };
        scene.keys_are_there().await;
        scene
    }

    /// Waits for the secrets, which come after the routes that ask for them.
    async fn keys_are_there(&self) {
        eventually("the secrets", async || {
            let answer = self.stage.ask("a.example", "/private", &[]).await;
            (answer.status == 302).then_some(())
        })
        .await;
    }

    fn browser(&self, host: &str) -> Browser {
        Browser::new(self.stage.port, host)
    }

    /// Sends a browser to the provider and back, and returns the answer to its coming.
    async fn come_back(&self, browser: &mut Browser, path: &str) -> Answer {
        let sent = browser.get(path).await;
        assert_eq!(sent.status, 302, "{sent:?}");
        let back = self.provider.authorize(sent.header("location"));
        browser.get(path_of(&back)).await
    }

    async fn logged_in(&self, host: &str) -> Browser {
        let mut browser = self.browser(host);
        let answer = self.come_back(&mut browser, "/private/x?a=1").await;
        let there = format!("https://{}/private/x?a=1", host.to_ascii_lowercase());
        assert_eq!((answer.status.as_u16(), answer.header("location")), (302, there.as_str()));
        browser
    }

    async fn stop(self) {
        self.stage.plane.stop().await;
    }
}

/// The path and query of a URL.
fn path_of(url: &str) -> &str {
    let rest = url.strip_prefix("https://").unwrap();
    &rest[rest.find('/').unwrap()..]
}

fn is_sent_to_login(answer: &Answer) -> bool {
    answer.status == 302 && answer.header("location").starts_with(AUTHORIZE)
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_login_begins_a_session_and_its_service_sees_who_it_is_and_no_cookie() {
    let scene = Scene::with(&json!({})).await;
    for host in HOSTS {
        let mut browser = scene.logged_in(host).await;
        for (name, attributes) in &browser.attributes {
            let safe = ["secure", "httponly", "samesite=lax"];
            assert!(safe.iter().all(|it| attributes.contains(it)), "{name}: {attributes}");
        }
        let names: Vec<&String> = browser.cookies.keys().collect();
        assert!(names.iter().all(|name| name.starts_with("__Host-")), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("nonce")), "of a login: {names:?}");
        let held = format!("{:?}", browser.cookies);
        assert!(!held.contains("-of-the-provider"), "tokens are encrypted: {held}");

        browser.cookies.insert("basket".into(), "7".into());
        let forged = [("authorization", "Bearer forged"), ("x-user", "eve"), ("x_user", "eve")];
        let told = browser.send("GET", "/private/x", &forged).await.json();
        assert_eq!(told["headers"]["x-user"], "ada", "{host}: {told}");
        assert_eq!(told["headers"]["cookie"], "basket=7", "{host}: {told}");
        assert!(told["headers"]["authorization"].is_null(), "{host}: {told}");
        // Nor does a service see it that demands none.
        let told = browser.get("/").await.json();
        assert_eq!(told["headers"]["cookie"], "basket=7", "{host}: {told}");
        assert!(browser.send("POST", "/private/x", &[]).await.status == 200, "{host}");
        // Coming back once more, it is led to where it wanted to go.
        let again = scene.browser(host).get("/oauth2/callback?code=x&state=y").await;
        assert_eq!(again.status, 401, "{host}: {again:?}");
    }
    scene.stage.others_are_open().await;
    assert_eq!(scene.provider.refused(), Vec::<String>::new());
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_without_a_session_users_are_sent_to_log_in_and_programs_are_refused() {
    let scene = Scene::with(&json!({})).await;
    let before = scene.stage.backend.seen();
    for host in HOSTS {
        let ask = async |method: &str, path: &str, headers: &[(&str, &str)]| {
            scene.browser(host).send(method, path, headers).await
        };
        assert!(is_sent_to_login(&ask("GET", "/private/x", &[]).await), "{host}");
        assert!(is_sent_to_login(&ask("GET", "/private/apis", &[]).await), "{host}");
        let navigates = [("sec-fetch-mode", "navigate"), ("accept", "text/html,application/json")];
        assert!(is_sent_to_login(&ask("GET", "/private", &navigates).await), "{host}");
        for (method, path, headers) in [
            ("POST", "/private/x", None),
            ("OPTIONS", "/private/x", None),
            ("GET", "/private/api", None),
            ("GET", "/private/api/x?y=1", None),
            ("GET", "/private/api?y=1", None),
            ("GET", "/private/x", Some(("sec-fetch-mode", "cors"))),
            ("GET", "/private/x", Some(("x-requested-with", "XMLHttpRequest"))),
            ("GET", "/private/x", Some(("accept", "application/json"))),
            ("GET", "/oauth2/callback", None),
        ] {
            let answer = ask(method, path, headers.as_slice()).await;
            assert_eq!(answer.status, 401, "{host}: {method} {path} {headers:?}: {answer:?}");
        }
    }
    assert_eq!(scene.stage.backend.seen(), before, "the service sees nothing that is refused");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_login_that_another_began_or_that_has_another_state_or_code_is_refused() {
    let scene = Scene::with(&json!({})).await;
    let host = "a.example";
    let mut browser = scene.browser(host);
    let sent = browser.get("/private/x").await;
    let back = scene.provider.authorize(sent.header("location"));
    // Somebody else's browser, as when a link is sent to a victim.
    let mut other = scene.browser(host);
    assert_eq!(other.get(path_of(&back)).await.status, 401);
    other.get("/private/x").await;
    assert_eq!(other.get(path_of(&back)).await.status, 401);

    // A state that leads elsewhere, or that is made up.
    let (before, state) = path_of(&back).split_once("&state=").unwrap();
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(state).unwrap()).unwrap();
    let mut elsewhere: Value = serde_json::from_str(&text).unwrap();
    elsewhere["url"] = "https://evil.example/".into();
    let mut made_up = elsewhere.clone();
    made_up["url"] = "https://a.example/private/x".into();
    made_up["csrf_token"] = "0123456789abcdef.AAAA".into();
    for state in [elsewhere.to_string(), made_up.to_string(), "{}".into(), "nonsense".into()] {
        let state = URL_SAFE_NO_PAD.encode(state);
        let answer = browser.moved(scene.stage.port).get(&format!("{before}&state={state}")).await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    // A code that the provider did not give, and one that was used.
    let wrong = path_of(&back).replace("code=code-", "code=none-");
    assert_eq!(browser.moved(scene.stage.port).get(&wrong).await.status, 401);
    assert_eq!(scene.provider.refused(), ["no such code"]);
    let mut thief = browser.moved(scene.stage.port);
    assert_eq!(browser.get(path_of(&back)).await.status, 302);
    assert_eq!(thief.get(path_of(&back)).await.status, 401);
    assert_eq!(browser.get("/private/x").await.backend(), "a");
    assert_ne!(thief.get("/private/x").await.status, 200);
    // Without the verifier of its login a code is worth nothing.
    let mut browser = scene.browser(host);
    let sent = browser.get("/private/x").await;
    let back = scene.provider.authorize(sent.header("location"));
    let mut another = scene.browser(host);
    another.get("/private/x").await;
    let theirs = another.cookies.iter().filter(|(name, _)| name.contains("verifier"));
    let own = browser.cookies.keys().filter(|name| name.contains("verifier")).cloned();
    let mixed: Vec<_> = own.zip(theirs.map(|(_, value)| value.clone())).collect();
    browser.cookies.extend(mixed);
    assert_eq!(browser.get(path_of(&back)).await.status, 401);
    assert_eq!(scene.provider.refused().last().unwrap(), "another code_verifier");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_session_that_ends_is_refreshed_and_one_that_cannot_be_is_over() {
    let scene = Scene::with(&json!({})).await;
    scene.provider.conduct(|conduct| conduct.expires_in = Duration::from_secs(2));
    for host in ["a.example", "X.W.example"] {
        let mut browser = scene.logged_in(host).await;
        let (before, began) = (scene.provider.refreshed(), Instant::now());
        while scene.provider.refreshed() < before + 2 {
            assert!(began.elapsed() < crate::plane::DEADLINE, "{host}: it is refreshed twice");
            let told = browser.get("/private/x").await;
            assert_eq!(told.status, 200, "{host}: {told:?}");
            assert_eq!(told.json()["headers"]["x-user"], "ada", "{host}");
            assert!(told.json()["headers"]["cookie"].is_null(), "{host}: {told:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let mut browser = scene.logged_in("a.example").await;
    scene.provider.conduct(|conduct| conduct.is_down = true);
    eventually("the end of the session", async || {
        let answer = browser.moved(scene.stage.port).get("/private/x").await;
        is_sent_to_login(&answer).then_some(())
    })
    .await;
    assert_eq!(browser.send("POST", "/private/x", &[]).await.status, 401);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_logout_ends_the_session_here_and_with_the_provider() {
    let scene = Scene::with(&json!({ "logoutPath": "/bye", "callbackPath": "/here/again" })).await;
    for host in HOSTS {
        let mut browser = scene.logged_in(host).await;
        assert_eq!(browser.get("/private/x").await.backend(), "a", "{host}");
        let answer = browser.get("/bye").await;
        assert_eq!(answer.status, 302, "{host}: {answer:?}");
        let query = answer.header("location").strip_prefix(END).unwrap().strip_prefix('?');
        let query = form(query.unwrap());
        assert_eq!(query["id_token_hint"].split('.').count(), 3, "{query:?}");
        let home = format!("https://{}/", host.to_ascii_lowercase());
        assert_eq!(query["post_logout_redirect_uri"], home, "{host}");
        assert!(browser.cookies.is_empty(), "{host}: {:?}", browser.cookies);
        assert!(is_sent_to_login(&browser.get("/private/x").await), "{host}");
    }
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_cookies_that_were_changed_and_id_tokens_that_do_not_verify_are_refused() {
    let staff = json!({ "requiredClaims": [{ "claim": "groups", "value": "staff" }] });
    let scene = Scene::with(&staff).await;
    let browser = scene.logged_in("a.example").await;
    let before = scene.stage.backend.seen();
    let kept = ["access", "end", "id", "refresh", "seal"];
    for what in kept {
        let name = browser.cookies.keys().find(|name| name.ends_with(what)).unwrap();
        let mut forger = browser.moved(scene.stage.port);
        let value = &browser.cookies[name];
        let other = if value.starts_with('A') { "B" } else { "A" };
        let changed = match what {
            "end" => "9999999999".to_owned(),
            _ => format!("{other}{}", &value[1..]),
        };
        forger.cookies.insert(name.clone(), changed);
        // What cannot be refreshed is all that is left of it.
        forger.cookies.retain(|name, _| what == "refresh" || !name.ends_with("refresh"));
        let answer = forger.get("/private/x").await;
        assert!(is_sent_to_login(&answer), "{what}: {answer:?}");
    }
    // An ID token alone, as the provider gave it, is no session.
    let id = browser.cookies.keys().find(|name| name.ends_with("-id")).unwrap();
    let query = browser.moved(scene.stage.port).get("/oauth2/logout").await;
    let hint = form(query.header("location").split_once('?').unwrap().1)["id_token_hint"].clone();
    let bare = format!("{id}={hint}");
    for host in HOSTS {
        let answer = scene.stage.ask(host, "/private/x", &[("cookie", &bare)]).await;
        assert!(is_sent_to_login(&answer), "{host}: {answer:?}");
        let bearer = format!("Bearer {hint}");
        let answer = scene.stage.ask(host, "/private/x", &[("authorization", &bearer)]).await;
        assert!(is_sent_to_login(&answer), "{host}: {answer:?}");
        let headers = [("cookie", bare.as_str())];
        let answer = send(scene.stage.port, "OPTIONS", host, "/private/x", &headers).await;
        assert_eq!(answer.status, 401, "{host}");
    }
    assert_eq!(scene.stage.backend.seen(), before, "the service sees nothing that is refused");

    // What the provider answers is looked at too.
    for (forges, claims, status) in [
        (true, json!({}), 401),
        (false, json!({ "iss": "https://other.example" }), 401),
        (false, json!({ "aud": "bank" }), 403),
        (false, json!({ "groups": ["users"] }), 403),
        (false, json!({ "exp": 1_000_000_000 }), 401),
    ] {
        scene.provider.conduct(|conduct| {
            conduct.forges = forges;
            conduct.claims = claims.clone();
        });
        for host in HOSTS {
            let mut browser = scene.logged_in(host).await;
            let answer = browser.get("/private/x").await;
            assert_eq!(answer.status, status, "{host}: {claims}: {answer:?}");
        }
    }
    assert_eq!(scene.stage.backend.seen(), before, "the service sees nothing that is refused");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_session_is_good_on_each_node_with_the_secret_and_for_no_other_policy() {
    let scene = Scene::with(&json!({ "forwardAccessToken": true })).await;
    let mut browser = scene.logged_in("a.example").await;
    let told = browser.get("/private/x").await.json();
    let token = told["headers"]["authorization"].as_str().unwrap();
    assert!(token.starts_with("Bearer access-"), "{told}");

    // Another node, that reads the secret from another place.
    let elsewhere = scene.directory.path().join("elsewhere");
    std::fs::write(&elsewhere, SECRET).unwrap();
    let services = service("idp", &[scene.provider.port]);
    let mut second = Stage::with(&login(&elsewhere, &json!({})), &services).await;
    eventually("the session on another node", async || {
        let answer = browser.moved(second.port).get("/private/x").await;
        (answer.status == 200).then_some(())
    })
    .await;
    // With another secret it is none; nobody else's seal is believed.
    std::fs::write(&elsewhere, "another-secret-of-the-client").unwrap();
    eventually("another secret without another revision", async || {
        let answer = browser.moved(second.port).get("/private/x").await;
        is_sent_to_login(&answer).then_some(())
    })
    .await;

    // Two policies of one host, and one client: a session of one is none of the other's.
    std::fs::write(&elsewhere, SECRET).unwrap();
    let more = json!({ "callbackPath": "/b/callback", "logoutPath": "/b/logout" });
    let other = policy(&login(&elsewhere, &more)).replace("\"who\"", "\"others\"");
    let rules = "    - matches: [{ path: { prefix: /b } }]\n      backends: [{ service: { name: a } }]\n      \
                 auth: { name: others }";
    second.plane.apply(&(other + &route("others", "a.example", rules))).await;
    eventually("the first policy's secrets", async || {
        let answer = browser.moved(second.port).get("/private/x").await;
        (answer.status == 200).then_some(())
    })
    .await;
    let mut both = browser.moved(second.port);
    assert!(is_sent_to_login(&both.get("/b").await));
    assert_eq!(both.get("/private/x").await.status, 200);
    let renamed = browser.cookies.clone().into_iter().map(|(name, value)| {
        let (_, what) = name.rsplit_once('-').unwrap();
        let tag = both.cookies.keys().find(|other| {
            other.contains("nonce") && !browser.cookies.keys().any(|own| own[..30] == other[..30])
        });
        (format!("{}-{what}", &tag.unwrap()[..30]), value)
    });
    let renamed: Vec<_> = renamed.collect();
    both.cookies.extend(renamed);
    assert!(is_sent_to_login(&both.get("/b").await), "{:?}", both.cookies);
    second.plane.stop().await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_without_the_secret_nobody_gets_by_and_it_is_named_and_shown_nowhere() {
    let provider = IdentityProvider::start().await;
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    let services = service("idp", &[provider.port]);
    let backend = crate::backend::Backend::start("a").await;
    let port = crate::plane::free_port();
    let config = crate::plane::http_listener(port)
        + &service("a", &[backend.port])
        + &services
        + &policy(&login(&secret, &json!({})))
        + &crate::auth::routes("");
    let mut plane = crate::plane::Plane::start().await;
    let revision = plane.publish(&config);
    let refusals = plane.refused(revision).await;
    let [refusal] = refusals.as_slice() else { panic!("{refusals:?}") };
    assert_eq!(refusal.field, "spec.oidc.client.secretFile", "{refusal:?}");
    assert!(refusal.message.contains("No such file"), "{refusal:?}");
    for host in HOSTS {
        assert_eq!(crate::client::get(port, host, "/private/x").await.status, 503, "{host}");
        assert_eq!(crate::client::get(port, host, "/").await.status, 200, "{host}");
    }
    // It is put in place, and nothing else changes.
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    eventually("a login", async || {
        let answer = crate::client::get(port, "a.example", "/private/x").await;
        is_sent_to_login(&answer).then_some(())
    })
    .await;
    plane.applied(revision).await;
    let shown = plane.admin().get("/config_dump?include_eds").await.unwrap();
    let shown = String::from_utf8(shown.to_vec()).unwrap();
    assert!(shown.contains("default/who/client-secret"), "the dump is one of secrets too");
    assert!(!shown.contains(SECRET), "in clear");
    let encoded = base64::engine::general_purpose::STANDARD.encode(SECRET);
    assert!(!shown.contains(&encoded), "as bytes");
    plane.stop().await;
}
