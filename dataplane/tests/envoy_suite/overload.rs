//! An Envoy whose memory runs out gives up one thing after the other, and goes back.

use std::time::Duration;

use crate::{
    backend::Backend,
    client::{Client, get},
    plane::{Plane, eventually, free_port, http_listener, route, service, to},
};

/// What Envoy does about it, in its own words.
const ACTIONS: [&str; 6] = [
    "reduce_timeouts",
    "shrink_heap",
    "disable_http_keepalive",
    "reset_high_memory_stream",
    "stop_accepting_requests",
    "stop_accepting_connections",
];
/// An Envoy that takes requests answers one far sooner.
const PATIENCE: Duration = Duration::from_secs(1);

async fn far(plane: &Plane, action: &str) -> u64 {
    let name = format!("overload.envoy.overload_actions.{action}.scale_percent");
    plane.statistic(&name).await.unwrap_or_else(|| panic!("{name} is not counted"))
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_without_memory_takes_configuration_and_no_requests() {
    let a = Backend::start("a").await;
    let port = free_port();
    let config =
        http_listener(port) + &service("a", &[a.port]) + &route("r", "shop.example", &to("a"));
    let plenty = Plane::with(&config).await;
    get(port, "shop.example", "/").await;
    for action in ACTIONS {
        assert_eq!(far(&plenty, action).await, 0, "{action}");
    }
    let pressure = "overload.envoy.resource_monitors.fixed_heap.pressure";
    assert!(plenty.statistic(pressure).await.unwrap() < 50);
    plenty.stop().await;

    let mut plane = Plane::start_with(|envoy| envoy.memory = Some(1 << 20)).await;
    plane.apply(&config).await;
    for action in ACTIONS {
        let whole = async || (far(&plane, action).await == 100).then_some(());
        eventually(action, whole).await;
    }
    let asked = async { Client::connect(port).await?.get("shop.example", "/").await };
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(a.seen.load(std::sync::atomic::Ordering::Relaxed), 1, "the first Envoy's");
    plane.stop().await;
}
