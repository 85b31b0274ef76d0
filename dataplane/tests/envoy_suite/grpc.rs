//! GRPCRoutes with calls of a real client to real servers.

use std::time::{Duration, Instant};

use tonic::Code;

use crate::{
    backend::Backend,
    client::get,
    grpc_backend::{GrpcBackend, GrpcClient},
    grpc_web::{frame, send},
    plane::{Plane, free_port, http_listener, route, service},
};

fn grpc_route(host: &str, rules: &str) -> String {
    format!(
        "---\nkind: GRPCRoute\nmetadata: {{ name: r }}\nspec:\n  listeners: [{{ name: web }}]\n  \
         hosts: [\"{host}\"]\n  rules:\n{rules}\n"
    )
}

/// Starts a plane with the servers `a` and `b`, and a client.
async fn with(rules: &str) -> (Plane, [GrpcBackend; 2], GrpcClient, u16) {
    let (a, b) = (GrpcBackend::start("a").await, GrpcBackend::start("b").await);
    let port = free_port();
    let services = a.service("a") + &b.service("b");
    let config = http_listener(port) + &services + &grpc_route("h.example", rules);
    let plane = Plane::with(&config).await;
    let client = GrpcClient::connect(port, "h.example").await;
    (plane, [a, b], client, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_grpc_calls_are_routed_by_service_method_and_header() {
    let rules = "    - matches: [{ method: { service: { exact: shop.Cart }, method: { exact: Add } } }]
      backends: [{ service: { name: a } }]
    - matches: [{ method: { service: { exact: shop.Cart } } }]
      backends: [{ service: { name: b } }]
    - matches: [{ method: { service: { exact: shop.Cart } }, headers: [{ name: x-team, exact: blue }] }]
      backends: [{ service: { name: a } }]
    - matches: [{ method: { method: { regex: 'Get.*|List' } } }]
      backends: [{ service: { name: a } }]
    - matches: [{ method: { service: { regex: 'stock[.].*' }, method: { exact: Put } } }]
      backends: [{ service: { name: b } }]";
    let (mut plane, _servers, client, port) = with(rules).await;
    for (method, expected) in [
        ("shop.Cart/Add", "a: hello"),
        ("shop.Cart/Remove", "b: hello"),
        ("other.Thing/GetIt", "a: hello"),
        ("other.Thing/List", "a: hello"),
        ("stock.v1.Store/Put", "b: hello"),
    ] {
        assert_eq!(client.call(method, &[]).await.unwrap(), expected, "{method}");
    }
    let blue = [("x-team", "blue")];
    assert_eq!(client.call("shop.Cart/Remove", &blue).await.unwrap(), "a: hello");
    for method in
        ["shop.Cartoon/Add", "shopxCart/Add", "other.Thing/Listing", "stock.v1.Store/Put2"]
    {
        let status = client.call(method, &[]).await.expect_err(method);
        assert_eq!(status.code(), Code::Unimplemented, "{method}: {status:?}");
    }

    // Requests of an HTTPRoute find theirs at the same host, and calls go on to find theirs.
    let plain = Backend::start("plain").await;
    let rules = "    - matches: [{ path: { prefix: /shop.Cart/Remove } }]
      backends: [{ service: { name: plain } }]
    - matches: [{ path: { prefix: /web } }]
      backends: [{ service: { name: plain } }]";
    let more = service("plain", &[plain.port]) + &route("web", "h.example", rules);
    plane.apply(&more).await;
    assert_eq!(get(port, "h.example", "/web/x").await.backend(), "plain");
    assert_eq!(get(port, "h.example", "/shop.Cart/Remove").await.backend(), "plain", "longer");
    assert_eq!(client.call("shop.Cart/Add", &[]).await.unwrap(), "a: hello");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_grpc_streams_go_both_ways_and_calls_are_shared_by_weight() {
    let rules = "    - matches: [{ method: { service: { exact: talk.Room } } }]
      backends: [{ service: { name: a } }]
    - backends: [{ service: { name: a }, weight: 1 }, { service: { name: b }, weight: 3 }]";
    let (plane, [a, b], client, _) = with(rules).await;
    let (sender, mut answers) = client.chat("talk.Room/Chat").await.unwrap();
    // Each text is sent after the answer to the one before came.
    for text in ["one", "two", "three"] {
        sender.send(text.to_owned()).await.unwrap();
        let answer = answers.message().await.unwrap();
        assert_eq!(answer, Some(format!("a: {text}")));
    }
    drop(sender);
    assert_eq!(answers.message().await.unwrap(), None, "the end comes with status OK");

    let before = a.seen();
    for _ in 0..400 {
        client.call("any.Service/Do", &[]).await.unwrap();
    }
    // Of 400 with three quarters, fewer than 230 or more than 360 come once in 10^12.
    assert!((230..=360).contains(&b.seen()), "{}", b.seen());
    assert_eq!(a.seen() - before + b.seen(), 400);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_grpc_calls_are_tried_again_bounded_in_time_and_failed_on_purpose() {
    let rules = "    - matches: [{ method: { service: { exact: retry.S } } }]
      backends: [{ service: { name: a } }]
      retries: { attempts: 2, on: [unavailable], backoff: 1ms }
    - matches: [{ method: { service: { exact: bounded.S } } }]
      backends: [{ service: { name: b } }]
      grpcTimeoutHeaderMax: 10s
    - matches: [{ method: { service: { exact: faulty.S } } }]
      backends: [{ service: { name: b } }]
      fault: { abort: { grpcStatus: 8, percent: 100 } }
    - matches: [{ method: { service: { exact: plain.S } } }]
      backends: [{ service: { name: a } }]";
    let (plane, [a, b], client, port) = with(rules).await;
    let first = [("x-unavailable-first", "1")];
    assert_eq!(client.call("retry.S/Do", &first).await.unwrap(), "a: hello");
    assert_eq!(a.seen(), 2, "the first try fails");
    let more = [("x-unavailable-first", "3")];
    let status = client.call("plain.S/Do", &more).await.expect_err("no retries");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "as asked"));

    let begin = Instant::now();
    // Not by tonic's client, which ends a call with this header itself.
    let slow =
        [("content-type", "application/grpc"), ("grpc-timeout", "200m"), ("x-delay-ms", "5000")];
    let heard = send(port, ("POST", "/bounded.S/Do"), &slow, frame("hello")).await;
    assert_eq!(heard.headers["grpc-status"], "4", "{:?}", heard.headers);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());

    let seen = b.seen();
    let status = client.call("faulty.S/Do", &[]).await.expect_err("a fault");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(b.seen(), seen);
    plane.stop().await;
}
