//! An Envoy that stands still while its configuration changes: what waits for it is bounded.

use std::time::{Duration, Instant};

use dataplane::l7::ResourceType;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    backend::Backend,
    client::get,
    plane::{Plane, free_port, http_listener, route, service, to},
};

/// How long it stands still; `life` has one that does for longer, with a request that waits.
const PAUSE: Duration = Duration::from_secs(5);
/// The pace of changes meanwhile: each makes another version of a cluster's endpoints and a route.
const PACE: Duration = Duration::from_millis(2);
const HOSTS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn envoy_paused_under_churn_has_one_response_of_each_type_waiting() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = free_port();
    let objects = |host: usize, turn: usize| {
        let name = format!("s{host}");
        let backend = if turn.is_multiple_of(2) { a.port } else { b.port };
        let rule = format!(
            "{}\n      requestHeaders: {{ set: [{{ name: x-turn, value: \"{turn}\" }}] }}",
            to(&name)
        );
        service(&name, &[backend]) + &route(&name, &format!("h{host}.example"), &rule)
    };
    let all: String = (0..HOSTS).map(|host| objects(host, 0)).collect();
    let mut plane = Plane::with(&(http_listener(port) + &all)).await;
    let before = plane.counts();

    let pid = Pid::from_raw(plane.pid());
    kill(pid, Signal::SIGSTOP).unwrap();
    let (start, mut turn) = (Instant::now(), 0);
    while start.elapsed() < PAUSE || turn < 20 * HOSTS {
        turn += 1;
        plane.publish(&objects(turn % HOSTS, turn));
        tokio::time::sleep(PACE).await;
    }
    let paused = plane.counts();
    kill(pid, Signal::SIGCONT).unwrap();

    let last: String = (0..HOSTS).map(|host| objects(host, 1)).collect();
    plane.apply(&last).await;
    let after = plane.counts();
    println!(
        "{turn} changes in {:?}: {} responses, {} resources, {} bytes waited; then {} responses, {} \
         resources",
        start.elapsed(),
        paused.responses - before.responses,
        paused.resources - before.resources,
        paused.bytes - before.bytes,
        after.responses - paused.responses,
        after.resources - paused.resources,
    );
    assert!(paused.responses - before.responses <= ResourceType::COUNT as u64);
    assert!(paused.resources - before.resources <= 2 * HOSTS as u64);
    // What changed many times is sent as it is, not as it was: each host's two resources, and what
    // was on its way between the first and the last.
    assert!(after.resources - paused.resources <= 6 * HOSTS as u64);
    for host in [0, 1, HOSTS - 1] {
        assert_eq!(get(port, &format!("h{host}.example"), "/").await.backend(), "b");
    }
    plane.stop().await;
}
