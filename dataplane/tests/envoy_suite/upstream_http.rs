//! HTTP/2 to endpoints, and health checks by gRPC.

use std::sync::atomic::Ordering;

use crate::{
    client::{get, send},
    plane::{Plane, eventually, free_port, http_listener, route, to},
    secure_backend::SecureBackend,
};

fn service(backends: &[&SecureBackend], more: &str) -> String {
    let endpoints: Vec<String> = backends
        .iter()
        .map(|backend| format!("{{ address: 127.0.0.1, port: {} }}", backend.port))
        .collect();
    format!(
        "---\nkind: Service\nmetadata: {{ name: s }}\nspec: {{ endpoints: [{}]{more} }}\n",
        endpoints.join(", ")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_speaks_http2_to_endpoints_when_asked_to() {
    let backend = SecureBackend::start("a", None).await;
    let port = free_port();
    let config =
        http_listener(port) + &service(&[&backend], "") + &route("r", "h.example", &to("s"));
    let mut plane = Plane::with(&config).await;
    let version = async || {
        let answer = get(port, "h.example", "/").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["version"].as_str().unwrap().to_owned()
    };
    assert_eq!(version().await, "HTTP/1.1");

    let options =
        ", protocol: HTTP2, connections: { idleTimeout: 1m, http2: { pingInterval: 1s } }";
    plane.apply(&service(&[&backend], options)).await;
    eventually("HTTP/2", async || (version().await == "HTTP/2.0").then_some(())).await;
    // Twenty at a time over one connection.
    let before = backend.connections();
    let one = async move |port| {
        send(port, "GET", "h.example", "/", &[("x-delay-ms", "200")]).await.status.as_u16()
    };
    let all: Vec<_> = (0..20).map(|_| tokio::spawn(one(port))).collect();
    for task in all {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!(backend.connections(), before, "no connection for twenty requests at a time");

    // One at a time, so each has one of its own.
    let single = ", protocol: HTTP2, connections: { http2: { maxConcurrentStreams: 1 } }";
    plane.apply(&service(&[&backend], single)).await;
    let before = backend.connections();
    let all: Vec<_> = (0..5).map(|_| tokio::spawn(one(port))).collect();
    for task in all {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert!(backend.connections() >= before + 4, "{} {before}", backend.connections());
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_checks_health_by_grpc() {
    let (a, b) = (SecureBackend::start("a", None).await, SecureBackend::start("b", None).await);
    let port = free_port();
    let check = ", protocol: HTTP2, healthCheck: { by: Envoy, grpc: { service: shop.Cart }, interval: \
                 100ms, timeout: 100ms, unhealthyThreshold: 1, healthyThreshold: 1 }";
    let config =
        http_listener(port) + &service(&[&a, &b], check) + &route("r", "h.example", &to("s"));
    let plane = Plane::with(&config).await;
    let becomes = async |names: &str| {
        eventually(names, async || {
            let mut found = std::collections::BTreeSet::new();
            for _ in 0..20 {
                found.insert(get(port, "h.example", "/").await.backend());
            }
            (found.into_iter().collect::<String>() == *names).then_some(())
        })
        .await;
    };
    becomes("ab").await;
    assert!(a.seen.checks.load(Ordering::Relaxed) > 0);
    a.seen.not_serving.store(true, Ordering::Relaxed);
    becomes("b").await;
    a.seen.not_serving.store(false, Ordering::Relaxed);
    becomes("ab").await;
    plane.stop().await;
}
