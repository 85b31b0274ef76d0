//! What Envoy counts of listeners and services is in the metrics.

use crate::{
    backend::Backend,
    client::{get, send},
    plane::{Plane, eventually, free_port, http_listener, route, service, to},
};

#[tokio::test(flavor = "multi_thread")]
async fn envoy_requests_are_counted_by_listener_and_service() {
    let a = Backend::start("a").await;
    let (port, nobody) = (free_port(), free_port());
    let config = http_listener(port)
        + &service("a", &[a.port])
        + &service("down", &[nobody])
        + &route("r", "shop.example", &to("a"))
        + &route("d", "down.example", &to("down"));
    let plane = Plane::with(&config).await;
    for _ in 0..5 {
        get(port, "shop.example", "/").await;
    }
    let failed = send(port, "GET", "down.example", "/", &[]).await;
    assert_eq!(failed.status, 503);
    // Envoy is read every 15 s; the second reading has all of it at the latest.
    let series = eventually("the series", async || {
        let series = plane.life.series.borrow().clone();
        series.contains("class=\"5xx\"").then_some(series)
    })
    .await;
    for line in [
        "marchproxy_envoy_listener_responses_total{listener=\"default/web\",class=\"2xx\"} 5",
        "marchproxy_envoy_listener_responses_total{listener=\"default/web\",class=\"5xx\"} 1",
        "marchproxy_envoy_service_responses_total{service=\"default/a\",class=\"2xx\"} 5",
        "marchproxy_envoy_service_failures_total{service=\"default/down\",reason=\"connect\"} 1",
        "marchproxy_envoy_service_endpoints{service=\"default/a\"} 1",
        "marchproxy_envoy_service_endpoints_healthy{service=\"default/a\"} 1",
        "marchproxy_envoy_objects_without_series 0",
    ] {
        assert!(series.lines().any(|found| found == line), "no {line} in\n{series}");
    }
    // Percentiles are those of the time before the last reading but one.
    for name in [
        "listener_request_seconds{listener=\"default/web\"",
        "service_request_seconds{service=\"default/a\"",
    ] {
        eventually(name, async || {
            get(port, "shop.example", "/").await;
            plane.life.series.borrow().contains(name).then_some(())
        })
        .await;
    }
    plane.stop().await;
}
