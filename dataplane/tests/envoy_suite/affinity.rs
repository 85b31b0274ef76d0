//! Requests that go to the same endpoint: by a hash of what they have in common, and by a cookie or
//! header that names the endpoint.

use std::collections::BTreeSet;

use crate::{
    backend::Backend,
    client::send,
    plane::{Plane, free_port, http_listener, route, service},
};

const RULES: &str = "    - matches: [{ path: { prefix: /header } }]
      backends: [{ service: { name: hashed } }]
      affinity: { header: x-user }
    - matches: [{ path: { prefix: /query } }]
      backends: [{ service: { name: hashed } }]
      affinity: { query: user }
    - matches: [{ path: { prefix: /cookie } }]
      backends: [{ service: { name: hashed } }]
      affinity: { cookie: { name: user, ttl: 1h, path: /cookie } }
    - matches: [{ path: { prefix: /session } }]
      backends: [{ service: { name: turns } }]
      sessionPersistence: { cookie: { name: place } }
    - matches: [{ path: { prefix: /named } }]
      backends: [{ service: { name: turns } }]
      sessionPersistence: { header: x-place }
    - backends: [{ service: { name: hashed } }]";

#[tokio::test(flavor = "multi_thread")]
async fn envoy_requests_with_the_same_value_go_to_the_same_endpoint() {
    let backends =
        [Backend::start("a").await, Backend::start("b").await, Backend::start("c").await];
    let ports = backends.each_ref().map(|backend| backend.port);
    let port = free_port();
    let hashed = service("hashed", &ports).replace("spec: {", "spec: { loadBalancing: Maglev,");
    let config = http_listener(port)
        + &hashed
        + &service("turns", &ports)
        + &route("exact", "a.example", RULES)
        + &route("wild", "*.w.example", RULES);
    let plane = Plane::with(&config).await;
    for host in ["a.example", "A.Example", "x.w.example", "X.W.example"] {
        let backend = async |path: &str, headers: &[(&str, &str)]| {
            send(port, "GET", host, path, headers).await.backend()
        };
        let users: Vec<String> = (0..20).map(|n| format!("user-{n}")).collect();
        let (mut by_header, mut by_query) = (BTreeSet::new(), BTreeSet::new());
        for user in &users {
            let query = format!("/query?user={user}");
            let (one, other) =
                (backend("/header", &[("x-user", user)]).await, backend(&query, &[]).await);
            for _ in 0..3 {
                assert_eq!(backend("/header", &[("x-user", user)]).await, one, "{host}");
                assert_eq!(backend(&query, &[]).await, other, "{host}");
            }
            by_header.insert(one);
            by_query.insert(other);
        }
        assert!(by_header.len() > 1 && by_query.len() > 1, "users are spread");
        // What has no value goes by its source.
        let one = backend("/header", &[]).await;
        for _ in 0..10 {
            assert_eq!(backend("/header", &[]).await, one);
            assert_eq!(backend("/", &[]).await, one);
        }

        let mut places = BTreeSet::new();
        for _ in 0..20 {
            let first = send(port, "GET", host, "/cookie", &[]).await;
            let cookie = first.header("set-cookie").to_owned();
            let lower = cookie.to_ascii_lowercase();
            assert!(lower.starts_with("user=") && lower.contains("max-age=3600"), "{cookie}");
            assert!(lower.contains("path=/cookie") && lower.contains("httponly"), "{cookie}");
            let value = cookie.split(';').next().unwrap();
            assert_eq!(backend("/cookie", &[("cookie", value)]).await, first.backend());
            places.insert(first.backend());
        }
        assert!(places.len() > 1, "clients are spread");

        for _ in 0..6 {
            let first = send(port, "GET", host, "/session", &[]).await;
            let cookie = first.header("set-cookie").to_owned();
            assert!(cookie.starts_with("place="), "{host}: {first:?}");
            let value = cookie.split(';').next().unwrap();
            let named = send(port, "GET", host, "/named", &[]).await;
            let place = named.header("x-place").to_owned();
            for _ in 0..5 {
                assert_eq!(backend("/session", &[("cookie", value)]).await, first.backend());
                assert_eq!(backend("/named", &[("x-place", &place)]).await, named.backend());
            }
        }
    }
    plane.stop().await;
}
