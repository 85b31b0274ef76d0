//! Rewrites by expressions and headers, and redirects that keep the rest of a path.

use crate::{
    backend::Backend,
    client::{get, send},
    plane::{Plane, free_port, http_listener, route, service},
};

#[tokio::test(flavor = "multi_thread")]
async fn envoy_rewrites_by_expression_and_header_and_redirects_by_prefix() {
    let a = Backend::start("a").await;
    let port = free_port();
    let rules = r"    - matches: [{ path: { regex: '/v[0-9]+/.*' } }]
      backends: [{ service: { name: a } }]
      rewrite:
        pathRegex: { pattern: '/v([0-9]+)/(.*)', substitution: '/\2/version/\1' }
        hostFromHeader: x-tenant
    - matches: [{ path: { prefix: /old } }]
      redirect: { replacePrefix: /new, status: 301 }
    - matches: [{ path: { prefix: /gone } }]
      redirect: { replacePrefix: / }
    - matches: [{ path: { exact: /answer } }]
      directResponse: { status: 200, body: ok }
      responseHeaders: { set: [{ name: x-answer, value: here }] }
    - backends: [{ service: { name: a } }]";
    let config = http_listener(port) + &service("a", &[a.port]) + &route("r", "a.example", rules);
    let plane = Plane::with(&config).await;
    let headers = [("x-tenant", "tenant.example")];
    let answer = send(port, "GET", "a.example", "/v2/cart/items?q=1", &headers).await.json();
    assert_eq!(answer["target"], "/cart/items/version/2?q=1");
    assert_eq!(answer["headers"]["host"], "tenant.example");
    let answer = get(port, "a.example", "/v2/cart").await.json();
    assert_eq!(answer["headers"]["host"], "a.example", "without the header the host stays");

    let host = format!("a.example:{port}");
    let moved = async |path: &str| {
        let answer = get(port, &host, path).await;
        let to = answer.header("location").to_owned();
        (answer.status.as_u16(), to.replace(&format!("http://{host}"), ""))
    };
    assert_eq!(moved("/old").await, (301, "/new".into()));
    assert_eq!(moved("/old/x?q=/old").await, (301, "/new/x?q=/old".into()));
    assert_eq!(moved("/gone").await, (302, "/".into()));
    assert_eq!(moved("/gone/x").await, (302, "/x".into()));
    assert_eq!(get(port, "a.example", "/older").await.backend(), "a", "whole segments only");
    let answer = get(port, "a.example", "/answer").await;
    assert_eq!((&answer.body[..], answer.header("x-answer")), (&b"ok"[..], "here"));
    plane.stop().await;
}
