//! Faults of a rule, and with them that a route's filters run whichever way the route was found.

use std::time::{Duration, Instant};

use crate::{
    backend::Backend,
    client::{Answer, get},
    plane::{Plane, free_port, http_listener, route, service},
};

/// Rules with a fault on one path only.
fn rules(fault: &str) -> String {
    format!(
        "    - matches: [{{ path: {{ prefix: /faulty }} }}]\n      backends: [{{ service: {{ name: a }} }}]\n      \
         fault: {fault}\n    - backends: [{{ service: {{ name: a }} }}]"
    )
}

/// Hosts that find their route by a scope, by the script for capitals, by that for wildcards, and by
/// both.
const HOSTS: [&str; 4] = ["a.example", "A.Example", "x.w.example", "X.W.example"];

async fn with_fault(fault: &str) -> (Plane, Backend, u16) {
    let backend = Backend::start("a").await;
    let port = free_port();
    let config = http_listener(port)
        + &service("a", &[backend.port])
        + &route("exact", "a.example", &rules(fault))
        + &route("wild", "*.w.example", &rules(fault));
    (Plane::with(&config).await, backend, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_fault_answers_in_place_of_the_service_whichever_way_the_route_is_found() {
    let (mut plane, backend, port) = with_fault("{ abort: { status: 418, percent: 100 } }").await;
    for host in HOSTS {
        assert_eq!(get(port, host, "/faulty/x").await.status, 418, "{host}");
        assert_eq!(backend.seen(), 0, "{host}");
    }
    for host in HOSTS {
        assert_eq!(get(port, host, "/").await.backend(), "a", "{host}: a rule without a fault");
    }
    // A rule begins and ceases to have one while the listener stays: its connections go on.
    let mut client = crate::client::Client::connect(port).await.unwrap();
    assert_eq!(client.get("a.example", "/").await.unwrap().status, 200);
    let fault = "{ abort: { grpcStatus: 14, percent: 100 } }";
    let rules = format!("    - backends: [{{ service: {{ name: a }} }}]\n      fault: {fault}");
    plane.apply(&route("exact", "a.example", &rules)).await;
    let grpc = [("content-type", "application/grpc")];
    let answer = client.send("GET", "a.example", "/", &grpc).await;
    let answer = answer.expect("the connection goes on");
    assert_eq!(answer.header("grpc-status"), "14", "{answer:?}");
    let typed = [("content-type", "application/json")];
    for headers in [&typed[..], &[]] {
        let answer = client.send("GET", "a.example", "/", headers).await.expect("an answer");
        assert_eq!(answer.status, 503, "to who speaks no gRPC: {answer:?}");
    }
    plane.apply(&route("exact", "a.example", &crate::plane::to("a"))).await;
    assert_eq!(client.get("a.example", "/").await.expect("the same connection").backend(), "a");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_fault_delays_and_hits_its_share_of_requests() {
    // Envoy counts from the last turn of its loop, some milliseconds before the request.
    const DELAY: Duration = Duration::from_millis(250);
    let (mut plane, _backend, port) =
        with_fault("{ delay: { duration: 300ms, percent: 100 } }").await;
    for host in HOSTS {
        let begin = Instant::now();
        assert_eq!(get(port, host, "/faulty").await.backend(), "a");
        assert!(begin.elapsed() >= DELAY, "{host}: {:?}", begin.elapsed());
    }
    // Of 400 requests with one half to fail, fewer than 120 or more than 280 fail once in 10^15.
    let half = rules("{ abort: { status: 503, percent: 50 } }");
    plane.apply(&route("exact", "a.example", &half)).await;
    let mut failed = 0;
    for _ in 0..400 {
        let answer: Answer = get(port, "a.example", "/faulty").await;
        failed += u32::from(answer.status == 503);
    }
    assert!((120..=280).contains(&failed), "{failed} of 400");
    plane.stop().await;
}
