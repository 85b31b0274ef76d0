//! Circuit breakers: what is beyond a limit is answered at once.

use std::{sync::Arc, time::Duration};

use crate::{
    backend::Backend,
    client::{get, send},
    plane::{Plane, eventually, free_port, http_listener, route, to},
};

fn service(port: u16, more: &str) -> String {
    format!(
        "---\nkind: Service\nmetadata: {{ name: s }}\nspec:\n  endpoints: [{{ address: 127.0.0.1, port: \
         {port} }}]\n  circuitBreakers: {{ {more} }}\n"
    )
}

/// Sends eight slow requests at once; returns how many of each status, and whether those of 503 say
/// that it was the breaker.
async fn burst(port: u16) -> (usize, usize) {
    let one = async move |port| {
        let delay = [("x-delay-ms", "700")];
        send(port, "GET", "h.example", "/", &delay).await
    };
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(one(port))).collect();
    let (mut fine, mut refused) = (0, 0);
    for task in tasks {
        let answer = task.await.unwrap();
        match answer.status.as_u16() {
            200 => fine += 1,
            503 => {
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(body.ends_with("reset reason: overflow"), "{answer:?}");
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    (fine, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_answers_503_at_once_to_what_a_circuit_breaker_keeps_out() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let config = http_listener(port)
        + &service(backend.port, "maxRequests: 3")
        + &route("r", "h.example", &to("s"));
    let mut plane = Plane::with(&config).await;
    assert_eq!(burst(port).await, (3, 5));
    // What was under way has ended, so the breaker is closed again.
    assert_eq!(get(port, "h.example", "/").await.status, 200);

    // Two connections, and two requests that wait for one, be it for being opened.
    for limit in ["maxConnections: 2", "maxConnectionsPerEndpoint: 2"] {
        plane.apply(&service(backend.port, &format!("{limit}, maxPendingRequests: 2"))).await;
        let (fine, refused) = burst(port).await;
        assert!((2..=4).contains(&fine), "{limit}: {fine} fine, {refused} refused");
    }
    // As by default, all go through.
    plane.apply(&service(backend.port, "")).await;
    assert_eq!(burst(port).await, (8, 0));
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_closes_a_connection_after_so_many_requests() {
    let backend = Arc::new(Backend::start("a").await);
    let port = free_port();
    let config = http_listener(port)
        + &service(backend.port, "maxRequestsPerConnection: 2")
        + &route("r", "h.example", &to("s"));
    let plane = Plane::with(&config).await;
    for _ in 0..10 {
        assert_eq!(get(port, "h.example", "/").await.status, 200);
    }
    let opened = eventually("the statistics", async || {
        plane.statistic("cluster.default/s.upstream_cx_total").await
    })
    .await;
    assert_eq!(opened, 5, "ten requests, two to a connection");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_bounds_retries_by_the_breaker() {
    let backend = Backend::start("a").await;
    backend.fail(true);
    let port = free_port();
    let rules = to("s") + "\n      retries: { attempts: 3, on: [5xx] }";
    let config = http_listener(port)
        + &service(backend.port, "maxRetries: 0")
        + &route("r", "h.example", &rules);
    let mut plane = Plane::with(&config).await;
    assert_eq!(get(port, "h.example", "/").await.status, 503);
    let retries = async |plane: &Plane| {
        plane.statistic("cluster.default/s.upstream_rq_retry").await.unwrap_or(0)
    };
    assert_eq!(retries(&plane).await, 0);
    plane
        .apply(&service(backend.port, "retryBudget: { percent: 100, minRetryConcurrency: 3 }"))
        .await;
    let start = std::time::Instant::now();
    assert_eq!(get(port, "h.example", "/").await.status, 503);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(retries(&plane).await, 3);
    plane.stop().await;
}
