//! How long a change takes from the desired state to the first request that sees it.

use std::time::{Duration, Instant};

use crate::{
    backend::Backend,
    client::Client,
    plane::{Plane, eventually, free_port, http_listener, route, service, to},
};

/// Changes measured.
const CHANGES: usize = 100;

struct Quantiles {
    p50: Duration,
    p99: Duration,
}

fn quantiles(mut times: Vec<Duration>) -> Quantiles {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    Quantiles { p50: at(50), p99: at(99) }
}

async fn measure(hosts: usize) {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = free_port();
    let mut plane = Plane::start().await;
    let mut config = http_listener(port);
    for i in 0..hosts {
        let name = format!("s{i}");
        config += &service(&name, &[a.port]);
        config += &route(&name, &format!("h{i}.example"), &to(&name));
    }
    for object in model::parse::parse_documents(&config).unwrap() {
        plane.config.put(std::sync::Arc::new(object));
    }
    let start = Instant::now();
    let revision = plane.next();
    plane.applied(revision).await;
    let cold = start.elapsed();
    let mut client = eventually("the listener", async || Client::connect(port).await).await;
    assert_eq!(client.get("h0.example", "/").await.unwrap().status, 200);

    let (mut adds, mut others) = (Vec::new(), 0);
    let before = plane.sent();
    for i in 0..CHANGES {
        let (name, host) = (format!("n{i}"), format!("n{i}.example"));
        let objects = service(&name, &[a.port]) + &route(&name, &host, &to(&name));
        let start = Instant::now();
        plane.publish(&objects);
        loop {
            match client.get(&host, "/").await.unwrap().status.as_u16() {
                200 => break,
                404 => {}
                _ => others += 1,
            }
        }
        adds.push(start.elapsed());
    }
    let after = plane.sent();
    let mut moves = Vec::new();
    for i in 0..CHANGES {
        let (port_of, expected) = if i % 2 == 0 { (b.port, "b") } else { (a.port, "a") };
        let objects = service("s0", &[port_of]);
        let start = Instant::now();
        plane.publish(&objects);
        while client.get("h0.example", "/").await.unwrap().backend() != expected {}
        moves.push(start.elapsed());
    }
    let (add, moved) = (quantiles(adds), quantiles(moves));
    println!(
        "{hosts} hosts: cold start {cold:?}; new host to 200 p50 {:?} p99 {:?}, {others} answers \
         other than 200 or 404, {} bytes and {} resources each; endpoint change p50 {:?} p99 {:?}",
        add.p50,
        add.p99,
        (after.1 - before.1) / CHANGES as u64,
        (after.0 - before.0) / CHANGES as u64,
        moved.p50,
        moved.p99,
    );
    assert_eq!(others, 0);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_propagation_at_100_hosts() {
    measure(100).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement; takes a minute in a debug build"]
async fn envoy_propagation_at_10000_hosts() {
    measure(10).await;
    measure(1_000).await;
    measure(10_000).await;
}
