//! CORS of a rule, whichever way its route is found.

use crate::{
    backend::Backend,
    client::{Answer, send},
    plane::{Plane, free_port, http_listener, route, service},
};

/// Hosts that find their route by a scope, by the script for capitals, by that for wildcards, and by
/// both.
const HOSTS: [&str; 4] = ["a.example", "A.Example", "x.w.example", "X.W.example"];
const RULES: &str = "    - matches: [{ path: { prefix: /shared } }]
      backends: [{ service: { name: a } }]
      cors:
        allowOrigins: [https://shop.example, \"https://*.shop.example\"]
        allowOriginRegexes: ['http://localhost:[0-9]+']
        allowMethods: [GET, PUT]
        allowHeaders: [x-token]
        exposeHeaders: [x-from]
        allowCredentials: true
        maxAge: 10m
    - matches: [{ path: { prefix: /open } }]
      backends: [{ service: { name: a } }]
      cors: { allowOrigins: [\"*\"], allowMethods: [\"*\"] }
    - backends: [{ service: { name: a } }]";

async fn ask(port: u16, method: &str, host: &str, path: &str, origin: &str) -> Answer {
    let preflight = ("access-control-request-method", "PUT");
    let headers = [("origin", origin), preflight];
    let headers = if method == "OPTIONS" { &headers[..] } else { &headers[..1] };
    send(port, method, host, path, headers).await
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_cors_answers_preflights_and_marks_answers_whichever_way_the_route_is_found() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let config = http_listener(port)
        + &service("a", &[backend.port])
        + &route("exact", "a.example", RULES)
        + &route("wild", "*.w.example", RULES);
    let plane = Plane::with(&config).await;
    let allowed = |answer: &Answer| answer.header("access-control-allow-origin").to_owned();
    for host in HOSTS {
        for origin in ["https://shop.example", "https://a.b.shop.example", "http://localhost:30"] {
            let seen = backend.seen();
            let answer = ask(port, "OPTIONS", host, "/shared", origin).await;
            assert_eq!((answer.status.as_u16(), allowed(&answer)), (200, origin.into()), "{host}");
            assert_eq!(answer.header("access-control-allow-methods"), "GET, PUT");
            assert_eq!(answer.header("access-control-allow-headers"), "x-token");
            assert_eq!(answer.header("access-control-allow-credentials"), "true");
            assert_eq!(answer.header("access-control-max-age"), "600");
            assert_eq!(backend.seen(), seen, "{host}: the service is not asked");
            let answer = ask(port, "GET", host, "/shared", origin).await;
            assert_eq!((answer.backend(), allowed(&answer)), ("a".into(), origin.into()));
            assert_eq!(answer.header("access-control-expose-headers"), "x-from");
        }
        for origin in [
            "https://evil.example",
            "https://shop.example.evil.test",
            "https://xshop.example",
            "null",
        ] {
            let seen = backend.seen();
            let answer = ask(port, "OPTIONS", host, "/shared", origin).await;
            assert_eq!(allowed(&answer), "", "{host} {origin}");
            assert_eq!(backend.seen(), seen, "{host}: the service is not asked");
            assert_eq!(allowed(&ask(port, "GET", host, "/shared", origin).await), "");
        }
        let answer = ask(port, "OPTIONS", host, "/open", "https://any.example").await;
        assert_eq!(allowed(&answer), "https://any.example", "{host}");
        assert_eq!(answer.header("access-control-allow-methods"), "PUT");
        assert_eq!(answer.header("access-control-allow-credentials"), "");
        // A rule without it leaves both to the service.
        let answer = ask(port, "OPTIONS", host, "/", "https://shop.example").await;
        assert_eq!((answer.backend(), allowed(&answer)), ("a".into(), String::new()), "{host}");
    }
    plane.stop().await;
}
