//! TCP and UDP through Envoy, where XDP does not carry them.

use std::{collections::BTreeMap, sync::Arc};

use dataplane::xdp::{L4Placement, NotCarried, Placement};
use imbl::OrdMap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

use crate::plane::{DEADLINE, Plane, eventually, free_port, http_listener, service};

async fn tcp_greeter(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(name.as_bytes()).await;
        }
    });
    port
}

async fn greeting(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    (!text.is_empty()).then_some(text)
}

fn listener(protocol: &str, port: u16) -> String {
    format!(
        "kind: Listener\nmetadata: {{ name: l4 }}\nspec: {{ protocol: {protocol}, port: {port} }}\n"
    )
}

fn route(protocol: &str, backends: &str) -> String {
    format!(
        "---\nkind: {protocol}Route\nmetadata: {{ name: l4 }}\nspec: {{ listeners: [{{ name: l4 }}], \
         backends: [{backends}] }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_carries_tcp_until_xdp_does() {
    let (a, b) = (tcp_greeter("a").await, tcp_greeter("b").await);
    let port = free_port();
    let config = listener("TCP", port)
        + &service("a", &[a])
        + &service("b", &[b])
        + &route("TCP", "{ service: { name: a }, weight: 1 }, { service: { name: b }, weight: 1 }");
    let mut plane = Plane::with(&config).await;
    let mut seen = BTreeMap::<String, usize>::new();
    for _ in 0..100 {
        let text = eventually("a greeting", async || greeting(port).await).await;
        *seen.entry(text).or_default() += 1;
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    plane.apply(&route("TCP", "{ service: { name: b } }")).await;
    eventually("only b", async || (greeting(port).await? == "b").then_some(())).await;

    // XDP takes it over: Envoy closes the port.
    let listeners =
        OrdMap::from_iter([("Listener/default/l4".parse().unwrap(), Placement::Carried)]);
    let carried = L4Placement { listeners, ..L4Placement::default() };
    plane.placement.send_replace(Arc::new(carried));
    eventually("the port to close", async || {
        TcpStream::connect(("127.0.0.1", port)).await.is_err().then_some(())
    })
    .await;
    plane.placement.send_replace(Arc::default());
    eventually("the port to open", async || greeting(port).await).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_waits_for_xdp_to_decide_on_tcp_but_not_on_http() {
    let (a, web) = (tcp_greeter("a").await, free_port());
    let ports = [free_port(), free_port()];
    let names = ["first", "second"];
    let mut config = http_listener(web)
        + &crate::plane::route("r", "shop.example", "    - directResponse: { status: 204 }")
        + &service("a", &[a]);
    for (name, port) in names.into_iter().zip(ports) {
        let objects = listener("TCP", port) + &route("TCP", "{ service: { name: a } }");
        config += "---\n";
        config += &objects.replace("name: l4", &format!("name: {name}"));
    }
    let mut plane = Plane::start().await;
    plane.placement.send_replace(Arc::new(L4Placement::undecided()));
    let revision = plane.publish(&config);
    let answer = eventually("HTTP", async || {
        crate::client::Client::connect(web).await?.get("shop.example", "/").await
    })
    .await;
    assert_eq!(answer.status, 204);
    let applied = |report: &Option<model::EngineReport>| {
        report.as_ref().is_some_and(|report| report.revision >= revision)
    };
    assert!(!applied(&plane.report().borrow()), "TCP is not applied yet");
    for port in ports {
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "{port} is open");
    }

    // XDP takes the first, and leaves the second to Envoy.
    let placed = [Placement::Carried, Placement::NotCarried(NotCarried::NoEndpoint)];
    let keys = names.map(|name| format!("Listener/default/{name}").parse().unwrap());
    let listeners = keys.into_iter().zip(placed).collect();
    let decided = L4Placement { listeners, ..L4Placement::undecided() };
    plane.placement.send_replace(Arc::new(decided));
    plane.applied(revision).await;
    assert_eq!(greeting(ports[1]).await.as_deref(), Some("a"));
    assert!(TcpStream::connect(("127.0.0.1", ports[0])).await.is_err(), "XDP's port is closed");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_carries_what_xdp_does_not_decide_on_in_time() {
    let (a, port) = (tcp_greeter("a").await, free_port());
    let mut plane = Plane::start().await;
    plane.placement.send_replace(Arc::new(L4Placement::undecided()));
    let config =
        listener("TCP", port) + &service("a", &[a]) + &route("TCP", "{ service: { name: a } }");
    plane.apply(&config).await;
    eventually("the port to open", async || greeting(port).await).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_carries_udp() {
    let backend = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let backend_port = backend.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = backend.recv_from(&mut buffer).await {
            let _ = backend.send_to(&buffer[..length], from).await;
        }
    });
    let port = free_port();
    let config = listener("UDP", port)
        + &service("u", &[backend_port])
        + &route("UDP", "{ service: { name: u } }");
    let plane = Plane::with(&config).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(("127.0.0.1", port)).await.unwrap();
    let exchange = async {
        loop {
            let _ = client.send(b"ping").await;
            let mut buffer = [0; 16];
            let wait = tokio::time::Duration::from_millis(100);
            if let Ok(Ok(4)) = tokio::time::timeout(wait, client.recv(&mut buffer)).await {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("datagrams come back");
    plane.stop().await;
}
