//! What a listener does with connections: whom it believes, how many it keeps, how long.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    backend::Backend,
    client::{Client, send},
    plane::{Plane, eventually, free_port, route, service, to},
};

fn config(port: u16, options: &str, backend: &Backend) -> String {
    format!(
        "kind: Listener\nmetadata: {{ name: web }}\nspec: {{ protocol: HTTP, port: {port}, {options} }}\n"
    ) + &service("a", &[backend.port])
        + &route("r", "shop.example", &to("a"))
}

/// Sends bytes and a request, and returns all of the answer; nothing when there is none.
async fn exchange(port: u16, before: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n";
    let mut text = Vec::new();
    let sent = stream.write_all(&[before, request].concat()).await;
    // A connection that is closed with bytes unread ends with a reset.
    let _ = stream.read_to_end(&mut text).await;
    sent.map(|()| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}

const HEADER: &[u8] = b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 80\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_proxy_header_names_the_client_and_is_demanded_where_it_is_required() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let mut plane = Plane::with(&config(port, "proxyProtocol: Required", &backend)).await;
    let told = exchange(port, HEADER).await;
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    assert!(told.contains(r#""x-forwarded-for":"203.0.113.7""#), "{told}");
    assert_eq!(exchange(port, b"").await, "", "no header, no answer");

    plane.apply(&config(port, "proxyProtocol: Optional", &backend)).await;
    eventually("both kinds of connections", async || {
        let (with, without) = (exchange(port, HEADER).await, exchange(port, b"").await);
        (with.contains("203.0.113.7") && without.contains("127.0.0.1")).then_some(())
    })
    .await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_connections_beyond_the_limit_are_closed_and_room_is_used_again() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let plane = Plane::with(&config(port, "maxConnections: 2", &backend)).await;
    let ask = async || {
        let mut client = Client::connect(port).await?;
        let answer = client.get("shop.example", "/").await?;
        assert_eq!(answer.status, 200);
        Some(client)
    };
    let (first, _second) = (ask().await.unwrap(), ask().await.unwrap());
    assert!(ask().await.is_none(), "the third");
    drop(first);
    eventually("room for another", ask).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_http_options_bound_headers_idle_connections_and_trust() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let options = format!(
        "http: {{ maxRequestHeadersKB: 8, idleTimeout: 1s, trustedHops: 1 }}, accessLogs: [{{ file: {} }}]",
        path.display()
    );
    let plane = Plane::with(&config(port, &options, &backend)).await;
    let large = "x".repeat(9 * 1024);
    let answer = send(port, "GET", "shop.example", "/", &[("x-large", &large)]).await;
    assert_eq!(answer.status, 431);
    let told = [("x-forwarded-for", "192.0.2.1, 203.0.113.9")];
    let answer = send(port, "GET", "shop.example", "/", &told).await;
    let seen = answer.json()["headers"]["x-forwarded-for"].as_str().unwrap().to_owned();
    assert!(seen.starts_with("192.0.2.1, 203.0.113.9,"), "{seen}");
    // Who is one hop before the proxy that is trusted, not who that one claims to stand for.
    let line = eventually("the line of the request", async || {
        let text = std::fs::read_to_string(&path).ok()?;
        text.lines().find(|line| line.contains("\"status\":200")).map(str::to_owned)
    })
    .await;
    assert!(line.contains(r#""client":"203.0.113.9:"#), "{line}");

    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let begin = Instant::now();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest))
        .await
        .expect("an idle connection is closed")
        .unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(900), "{:?}", begin.elapsed());
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_tcp_connections_have_a_limit_and_a_log_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tcp.log");
    let backend = Backend::start("a").await;
    let port = free_port();
    let config = format!(
        "kind: Listener\nmetadata: {{ name: l4 }}\nspec: {{ protocol: TCP, engine: envoy, port: {port}, \
         maxConnections: 1, accessLogs: [{{ file: {} }}] }}\n---\nkind: TCPRoute\nmetadata: {{ name: l4 \
         }}\nspec: {{ listeners: [{{ name: l4 }}], backends: [{{ service: {{ name: a }} }}] }}\n",
        path.display()
    ) + &service("a", &[backend.port]);
    let plane = Plane::with(&config).await;
    let first = eventually("a connection", async || {
        let mut client = Client::connect(port).await?;
        client.get("any.example", "/").await.map(|_| client)
    })
    .await;
    let second = async || Client::connect(port).await?.get("any.example", "/").await;
    assert!(second().await.is_none(), "the second");
    drop(first);
    let line = eventually("the line of the first", async || {
        let text = std::fs::read_to_string(&path).ok()?;
        text.lines().find(|line| line.contains("default/a")).map(str::to_owned)
    })
    .await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["listener"], "default/l4", "{line}");
    assert!(line["bytes_sent"].as_u64().is_some_and(|bytes| bytes > 0), "{line}");
    plane.stop().await;
}
