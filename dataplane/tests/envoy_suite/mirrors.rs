//! Copies of requests.

use crate::{
    backend::Backend,
    client::get,
    plane::{Plane, eventually, free_port, http_listener, route, service},
};

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_mirror_gets_its_share_of_copies_and_its_failures_harm_nobody() {
    let (a, all, half) =
        (Backend::start("a").await, Backend::start("all").await, Backend::start("half").await);
    let port = free_port();
    let rules = "    - backends: [{ service: { name: a } }]
      mirrors:
        - { service: { name: all } }
        - { service: { name: half }, percent: 50 }
        - { service: { name: dead } }";
    let config = http_listener(port)
        + &service("a", &[a.port])
        + &service("all", &[all.port])
        + &service("half", &[half.port])
        + &service("dead", &[free_port()])
        + &route("r", "a.example", rules);
    let mut plane = Plane::with(&config).await;
    for _ in 0..400 {
        assert_eq!(get(port, "a.example", "/").await.backend(), "a");
    }
    eventually("all copies", async || (all.seen() == 400).then_some(())).await;
    // Of 400 with one half, fewer than 120 or more than 280 come once in 10^15.
    assert!((120..=280).contains(&half.seen()), "{}", half.seen());
    plane.apply(&route("r", "a.example", &crate::plane::to("a"))).await;
    assert_eq!(get(port, "a.example", "/").await.backend(), "a");
    assert_eq!((a.seen(), all.seen()), (401, 400), "no more copies");
    plane.stop().await;
}
