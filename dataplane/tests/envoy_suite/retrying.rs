//! Bounds of the time of a request, and what is tried again when.

use std::time::{Duration, Instant};

use crate::{
    backend::Backend,
    client::send,
    plane::{Plane, free_port, http_listener, route, service},
};

#[tokio::test(flavor = "multi_thread")]
async fn envoy_retries_statuses_waits_as_told_and_bounds_silence() {
    let a = Backend::start("a").await;
    let port = free_port();
    let rules = "    - matches: [{ path: { prefix: /statuses } }]
      backends: [{ service: { name: a } }]
      retries: { attempts: 3, statuses: [429], backoff: 1ms, maxBackoff: 5ms }
    - matches: [{ path: { prefix: /told } }]
      backends: [{ service: { name: a } }]
      retries: { statuses: [429], backoff: 1ms, retryAfterMax: 5s }
    - matches: [{ path: { prefix: /silent } }]
      backends: [{ service: { name: a } }]
      retries: { attempts: 1, perTryIdleTimeout: 200ms }
    - matches: [{ path: { prefix: /idle } }]
      backends: [{ service: { name: a } }]
      streamIdleTimeout: 200ms
    - matches: [{ path: { prefix: /stream } }]
      backends: [{ service: { name: a } }]
      maxStreamDuration: 200ms
    - matches: [{ path: { prefix: /grpc } }]
      backends: [{ service: { name: a } }]
      grpcTimeoutHeaderMax: 10s
    - backends: [{ service: { name: a } }]";
    let config = http_listener(port) + &service("a", &[a.port]) + &route("r", "a.example", rules);
    let plane = Plane::with(&config).await;
    let ask = async |path: &str, headers: &[(&str, &str)]| {
        let begin = Instant::now();
        let answer = send(port, "GET", "a.example", path, headers).await;
        (answer.status.as_u16(), begin.elapsed())
    };
    let refusing = |more: u64| (a.seen() + more).to_string();
    assert_eq!(ask("/", &[("x-refuse-first", &refusing(1))]).await.0, 429, "no retries");
    let (status, time) = ask("/statuses", &[("x-refuse-first", &refusing(3))]).await;
    assert_eq!(status, 200, "three refusals, then the answer");
    assert!(time < Duration::from_millis(900), "its own pauses, not those told: {time:?}");
    let (status, time) = ask("/told", &[("x-refuse-first", &refusing(1))]).await;
    assert_eq!(status, 200);
    assert!(time >= Duration::from_millis(900), "the answer says 1 s: {time:?}");

    let slow = [("x-delay-ms", "5000")];
    let seen = a.seen();
    let (status, time) = ask("/silent", &slow).await;
    assert!(status == 504 && time < Duration::from_secs(3), "{status} {time:?}");
    assert!(a.seen() > seen);
    for path in ["/idle", "/stream"] {
        let (status, time) = ask(path, &slow).await;
        assert!(matches!(status, 408 | 504), "{path}: {status}");
        assert!(time < Duration::from_secs(3), "{path}: {time:?}");
    }
    let grpc = [("content-type", "application/grpc"), ("grpc-timeout", "200m"), slow[0]];
    let (_, time) = ask("/grpc", &grpc).await;
    assert!(time < Duration::from_secs(3), "{time:?}");
    plane.stop().await;
}
