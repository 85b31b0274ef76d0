//! Outlier detection: who answers badly is left out, and comes back.

use crate::{
    backend::Backend,
    client::get,
    plane::{Plane, eventually, free_port, http_listener, route, to},
};

fn service(ports: [u16; 2], more: &str) -> String {
    format!(
        "---\nkind: Service\nmetadata: {{ name: s }}\nspec:\n  endpoints: [{{ address: 127.0.0.1, port: \
         {} }}, {{ address: 127.0.0.1, port: {} }}]\n  outlierDetection: {{ {more} }}\n",
        ports[0], ports[1]
    )
}

/// How many of twenty requests get 503.
async fn failures(port: u16) -> usize {
    let mut failures = 0;
    for _ in 0..20 {
        failures += usize::from(get(port, "h.example", "/").await.status == 503);
    }
    failures
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_leaves_out_an_endpoint_that_fails_and_takes_it_back() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = free_port();
    let times = "interval: 100ms, baseEjectionTime: 300ms, maxEjectionTime: 300ms";
    let config = http_listener(port)
        + &service([a.port, b.port], &format!("consecutiveGatewayErrors: 3, {times}"))
        + &route("r", "h.example", &to("s"));
    let mut plane = Plane::with(&config).await;
    assert_eq!(failures(port).await, 0);
    a.fail(true);
    eventually("the endpoint that fails to be left out", async || {
        (failures(port).await == 0).then_some(())
    })
    .await;
    let ejected = plane.statistic("cluster.default/s.outlier_detection.ejections_enforced_total");
    assert!(ejected.await.unwrap_or(0) > 0, "the detector did it");
    a.fail(false);
    let before = a.seen();
    eventually("it to come back", async || {
        get(port, "h.example", "/").await;
        (a.seen() > before).then_some(())
    })
    .await;

    // Both fail: one half stays, since somebody has to answer.
    a.fail(true);
    b.fail(true);
    assert!(failures(port).await > 0);
    a.fail(false);
    b.fail(false);
    eventually("the good answers", async || (failures(port).await == 0).then_some(())).await;

    // What is not asked for is not enforced: 503 are no local failures.
    let only = format!("consecutiveLocalOriginFailures: 3, {times}");
    plane.apply(&service([a.port, b.port], &only)).await;
    a.fail(true);
    for _ in 0..5 {
        assert_eq!(failures(port).await, 10, "every second one");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_every_detector() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = free_port();
    let all = "consecutive5xx: 3, consecutiveGatewayErrors: 3, consecutiveLocalOriginFailures: 3, \
               successRate: {}, failurePercentage: { threshold: 1 }, maxEjectionPercent: 100";
    let mut plane = Plane::start().await;
    for more in ["", all] {
        let config = http_listener(port)
            + &service([a.port, b.port], more)
            + &route("r", "h.example", &to("s"));
        plane.apply(&config).await;
        assert_eq!(failures(port).await, 0);
    }
    plane.stop().await;
}
