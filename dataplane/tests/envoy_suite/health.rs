//! Health checks that Envoy makes itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    backend::Backend,
    client::get,
    plane::{Plane, eventually, free_port, http_listener, route, to},
};

fn service(ports: &[u16], check: &str, more: &str) -> String {
    let endpoints: Vec<String> =
        ports.iter().map(|port| format!("{{ address: 127.0.0.1, port: {port} }}")).collect();
    format!(
        "---\nkind: Service\nmetadata: {{ name: s }}\nspec:\n  endpoints: [{}]\n  healthCheck: {{ by: \
         Envoy, {check}, interval: 100ms, timeout: 100ms, unhealthyThreshold: 2, healthyThreshold: 1 }}\n\
         {more}",
        endpoints.join(", ")
    )
}

/// Says which backends answer twenty requests; nothing when one of them fails.
async fn answering(port: u16) -> Option<String> {
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let answer = get(port, "h.example", "/").await;
        if answer.status != 200 {
            return None;
        }
        names.insert(answer.backend());
    }
    Some(names.into_iter().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_out_by_its_own_checks_what_answers_badly_and_takes_it_back() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = free_port();
    let config = http_listener(port)
        + &service(&[a.port, b.port], "http: { path: /healthz }, jitterPercent: 10", "")
        + &route("r", "h.example", &to("s"));
    let mut plane = Plane::with(&config).await;
    let becomes = async |names: &str| {
        eventually(names, async || (answering(port).await? == *names).then_some(())).await;
    };
    becomes("ab").await;
    a.fail(true);
    becomes("b").await;
    a.fail(false);
    becomes("ab").await;

    // One that is taken away goes, though it answers well.
    plane.apply(&service(&[a.port], "http: { path: /healthz }, jitterPercent: 10", "")).await;
    becomes("a").await;

    // An endpoint that is checked at another port.
    let other = Backend::start("other").await;
    let check = format!("http: {{ path: /healthz }}, port: {}", other.port);
    plane.apply(&service(&[a.port, b.port], &check, "")).await;
    becomes("ab").await;
    assert!(other.seen() > 0, "the check goes there");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_uses_all_endpoints_when_all_fail_its_checks_unless_told_not_to() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = free_port();
    // Nobody listens where the check goes.
    let check = format!("tcp: {{}}, port: {}", free_port());
    let ports = [a.port, b.port];
    let config =
        http_listener(port) + &service(&ports, &check, "") + &route("r", "h.example", &to("s"));
    let mut plane = Plane::with(&config).await;
    eventually("both", async || (answering(port).await? == "ab").then_some(())).await;
    plane.apply(&service(&ports, &check, "  failover: { panicThresholdPercent: 0 }\n")).await;
    eventually("none", async || (get(port, "h.example", "/").await.status == 503).then_some(()))
        .await;
    plane.stop().await;
}

/// A server that repeats what it hears, and may stop taking connections.
async fn echo(open: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if !open.load(Ordering::Relaxed) {
                continue;
            }
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_closes_tcp_connections_to_an_endpoint_that_fails_when_asked_to() {
    let server = echo(Arc::new(AtomicBool::new(true))).await;
    let checked = Backend::start("health").await;
    let port = free_port();
    let check = format!("http: {{ path: / }}, port: {}", checked.port);
    let config = |more: &str| {
        format!(
            "kind: Listener\nmetadata: {{ name: l4 }}\nspec: {{ protocol: TCP, port: {port} }}\n---\n\
             kind: TCPRoute\nmetadata: {{ name: l4 }}\nspec: {{ listeners: [{{ name: l4 }}], backends: \
             [{{ service: {{ name: s }} }}] }}\n"
        ) + &service(&[server], &check, more)
    };
    let open = async || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(b"hello").await.ok()?;
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.ok()?;
        Some(stream)
    };
    let fails = async |plane: &Plane| {
        checked.fail(true);
        eventually("the check to fail", async || {
            let healthy = plane.statistic("cluster.default/s.membership_healthy").await?;
            (healthy == 0).then_some(())
        })
        .await;
    };
    let mut plane = Plane::with(&config("")).await;
    let mut stream = eventually("a connection", open).await;
    fails(&plane).await;
    let mut heard = [0; 5];
    stream.write_all(b"still").await.unwrap();
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still", "it goes on");

    checked.fail(false);
    plane.apply(&config("  connections: { closeOnUnhealthy: true }\n")).await;
    let mut stream = eventually("a connection", open).await;
    fails(&plane).await;
    let end = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut heard)).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    plane.stop().await;
}
