//! Changes under load: what is added works from its first answer on, what stays is not touched.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::{
    backend::Backend,
    client::Client,
    plane::{DEADLINE, Plane, free_port, http_listener, route, service, to},
    websocket::WebSocket,
};

/// Hosts added one after the other.
const ADDS: usize = 300;
/// Unrelated changes while connections are open.
const CHANGES: usize = 100;

/// Requests to a host that stays, over connections that stay, as fast as they are answered.
struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Load {
    fn start(port: u16, host: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicU64::new(0));
        let (stopped, counter) = (stop.clone(), answers.clone());
        let task = tokio::spawn(async move {
            let mut bad = Vec::new();
            let mut client = Client::connect(port).await.unwrap();
            while !stopped.load(Ordering::Relaxed) {
                match client.get(host, "/").await {
                    Some(answer) if answer.status == 200 => {
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                    other => {
                        bad.push(format!("{other:?}"));
                        client = Client::connect(port).await.unwrap();
                    }
                }
            }
            bad
        });
        Self { stop, answers, task }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let bad = self.task.await.unwrap();
        assert!(bad.is_empty(), "{} bad answers, first {}", bad.len(), bad[0]);
        self.answers.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_new_hosts_answer_404_until_they_answer_200() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let config = http_listener(port)
        + &service("stable", &[backend.port])
        + &route("stable", "stable.example", &to("stable"));
    let mut plane = Plane::with(&config).await;
    let load = Load::start(port, "stable.example");
    let mut client = Client::connect(port).await.unwrap();
    let mut others = Vec::new();
    for i in 0..ADDS {
        let (name, host) = (format!("s{i}"), format!("h{i}.example"));
        plane.publish(&(service(&name, &[backend.port]) + &route(&name, &host, &to(&name))));
        let found = async {
            loop {
                match client.get(&host, "/").await.unwrap().status.as_u16() {
                    200 => return,
                    404 => {}
                    other => others.push(other),
                }
            }
        };
        tokio::time::timeout(DEADLINE, found).await.expect("the new host answers");
    }
    assert!(others.is_empty(), "{} answers other than 200 or 404: {others:?}", others.len());
    // And all of them go again, routes and services in one revision each.
    for i in 0..ADDS {
        let (a, b) = (format!("HTTPRoute/default/s{i}"), format!("Service/default/s{i}"));
        plane.remove(&[&a, &b]);
    }
    let last = plane.next();
    plane.applied(last).await;
    assert_eq!(client.get("h7.example", "/").await.unwrap().status, 404);
    assert!(load.stop().await > 100);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_route_that_moves_between_services_never_fails() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let config = http_listener(port)
        + &service("s0", &[backend.port])
        + &route("r", "moving.example", &to("s0"));
    let mut plane = Plane::with(&config).await;
    let load = Load::start(port, "moving.example");
    for i in 1..CHANGES {
        let name = format!("s{i}");
        // The service before goes in the same revision.
        assert!(plane.config.remove(&format!("Service/default/s{}", i - 1).parse().unwrap()));
        plane
            .apply(&(service(&name, &[backend.port]) + &route("r", "moving.example", &to(&name))))
            .await;
    }
    assert!(load.stop().await > 100);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_unrelated_changes_touch_no_live_connection() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let config = http_listener(port)
        + &service("ws", &[backend.port])
        + &route("ws", "ws.example", &to("ws"));
    let mut plane = Plane::with(&config).await;
    let mut socket = WebSocket::open(port, "ws.example").await;
    let mut kept = Client::connect(port).await.unwrap();
    assert_eq!(kept.get("ws.example", "/").await.unwrap().status, 200);
    for i in 0..CHANGES {
        let name = format!("other{i}");
        let host = if i % 3 == 0 { format!("*.w{i}.example") } else { format!("h{i}.example") };
        let revision =
            plane.publish(&(service(&name, &[backend.port]) + &route(&name, &host, &to(&name))));
        plane.applied(revision).await;
        socket.echo(&format!("message {i}")).await;
    }
    // The very connection that was opened first still serves.
    assert_eq!(kept.get("ws.example", "/").await.unwrap().status, 200);
    socket.echo("the end").await;
    plane.stop().await;
}
