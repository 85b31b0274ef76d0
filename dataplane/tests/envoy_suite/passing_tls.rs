//! TLS that passes through Envoy, to the service of the host that a client asks for.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    cluster::NodeId,
    explain::request::{Grounds, Outcome, RequestQuestion, explain},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    certificates::{Authority, Issued, TlsClient, TlsConnection},
    client,
    plane::{Plane, eventually, free_port, service},
    secure_backend::SecureBackend,
};

/// What clients ask for; the address stands for clients that ask for nothing.
const NAMES: [&str; 9] = [
    "a.example",
    "b.example",
    "q.b.example",
    "q.z.b.example",
    "x.b.example",
    "y.b.example",
    "q.y.b.example",
    "other.example",
    "127.0.0.1",
];

/// A backend that ends TLS, with a certificate of its own for all names.
struct End {
    name: &'static str,
    issued: Issued,
    backend: SecureBackend,
}

impl End {
    async fn start(authority: &Authority, name: &'static str) -> Self {
        let issued = authority.issue(&NAMES);
        let backend = SecureBackend::start(name, Some(issued.server())).await;
        Self { name, issued, backend }
    }

    fn service(&self) -> String {
        service(self.name, &[self.backend.port])
    }
}

fn listener(port: u16, more: &str) -> String {
    format!(
        "kind: Listener\nmetadata: {{ name: web }}\nspec: {{ protocol: TLS, port: {port}{more} }}\n"
    )
}

fn tls_route(name: &str, hosts: &str, backends: &str) -> String {
    format!(
        "---\nkind: TLSRoute\nmetadata: {{ name: {name} }}\nspec: {{ listeners: [{{ name: web }}], \
         hosts: [{hosts}], backends: [{backends}] }}\n"
    )
}

fn to(service: &str) -> String {
    format!("{{ service: {{ name: {service} }} }}")
}

/// Connects by a name; returns who answered, and the certificate that was seen.
async fn reached(client: &TlsClient, port: u16, name: &str) -> Option<(String, Vec<u8>)> {
    let mut connection = client.connect(port, name).await.ok()?;
    let answer = connection.client.get(name, "/").await?;
    Some((answer.backend(), connection.certificate.to_vec()))
}

/// Says what the explanation says of a name: the service, or none.
fn explained(plane: &Plane, port: u16, name: &str) -> Option<String> {
    let question =
        RequestQuestion { url: format!("https://{name}:{port}/"), ..RequestQuestion::default() };
    let failing = BTreeSet::new();
    let grounds = Grounds { node: NodeId(1), config: &plane.config, live: true, failing: &failing };
    let answer = explain(&question, &grounds).unwrap();
    let service = answer.decisions.iter().find(|decision| decision.step == "service");
    assert_eq!(service.is_some(), answer.outcome == Outcome::PassedThrough, "{answer:?}");
    let (service, _) = service?.said.split_once(',').unwrap();
    Some(service.strip_prefix("Service/default/").unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_tls_passes_through_by_host() {
    let authority = Authority::new();
    let mut ends = BTreeMap::new();
    for name in ["a", "b", "c"] {
        ends.insert(name, End::start(&authority, name).await);
    }
    let (client, port) = (authority.client(), free_port());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tls.log");
    let config = listener(port, &format!(", accessLogs: [{{ file: {} }}]", path.display()))
        + &ends.values().map(End::service).collect::<String>()
        + &tls_route("named", "a.example, '*.b.example'", &to("a"))
        + &tls_route("others", "'*', x.b.example", &to("b"))
        + &tls_route("below", "'*.y.b.example'", &to("c"));
    let mut plane = Plane::with(&config).await;
    eventually("a first answer", async || reached(&client, port, "a.example").await).await;
    for (name, expected) in [
        ("a.example", "a"),
        ("A.Example", "a"),
        ("q.b.example", "a"),
        ("q.z.b.example", "a"),
        ("y.b.example", "a"),
        ("x.b.example", "b"),
        ("b.example", "b"),
        ("other.example", "b"),
        ("127.0.0.1", "b"),
        ("q.y.b.example", "c"),
    ] {
        let (backend, certificate) = reached(&client, port, name).await.expect(name);
        assert_eq!(backend, expected, "{name}");
        assert_eq!(certificate, **ends[expected].issued.certificate.der(), "{name}");
        assert_eq!(explained(&plane, port, name).as_deref(), Some(expected), "{name}");
    }

    // What is no TLS is not for the route that takes everything else.
    let taken = async || plane.statistic("tcp.default/web.downstream_cx_total").await.unwrap();
    let before = taken().await;
    let mut plain = client::Client::connect(port).await.unwrap();
    assert!(plain.get("a.example", "/").await.is_none());
    assert_eq!(taken().await, before);

    // Without a route for everything else nobody is reached by other names.
    plane.apply(&tls_route("others", "x.b.example", &to("b"))).await;
    eventually("others to be closed", async || {
        client.connect(port, "other.example").await.is_err().then_some(())
    })
    .await;
    let connections = || ends.values().map(|end| end.backend.connections()).sum::<u64>();
    let before = connections();
    for name in ["other.example", "b.example", "127.0.0.1"] {
        assert!(client.connect(port, name).await.is_err(), "{name}");
        assert_eq!(explained(&plane, port, name), None, "{name}");
    }
    let mut plain = client::Client::connect(port).await.unwrap();
    assert!(plain.get("a.example", "/").await.is_none(), "what is no TLS");
    assert_eq!(connections(), before);
    assert_eq!(reached(&client, port, "x.b.example").await.unwrap().0, "b");

    let line = eventually("the line of a connection", async || {
        let text = std::fs::read_to_string(&path).ok()?;
        text.lines().find(|line| line.contains(r#""sni":"q.y.b.example""#)).map(str::to_owned)
    })
    .await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["route"], &line["service"]), (&"default/below".into(), &"default/c".into()));
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_tls_goes_to_services_by_weight() {
    let authority = Authority::new();
    let (a, b) = (End::start(&authority, "a").await, End::start(&authority, "b").await);
    let c = End::start(&authority, "c").await;
    let (client, port) = (authority.client(), free_port());
    let backends = "{ service: { name: a }, weight: 3 }, { service: { name: b } }, \
                    { service: { name: c }, weight: 0 }";
    let config = listener(port, "")
        + &[&a, &b, &c].map(End::service).concat()
        + &tls_route("r", "a.example", backends);
    let plane = Plane::with(&config).await;
    eventually("a first answer", async || reached(&client, port, "a.example").await).await;
    let mut seen = BTreeMap::<String, u32>::new();
    for _ in 0..200 {
        let (backend, _) = reached(&client, port, "a.example").await.unwrap();
        *seen.entry(backend).or_default() += 1;
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    // 150 are to be expected; fewer than 115, or more than 185, once in more than a million runs.
    assert!((115..=185).contains(&seen["a"]), "{seen:?}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_changed_tls_route_cuts_its_own_connections_only() {
    let authority = Authority::new();
    let (a, b) = (End::start(&authority, "a").await, End::start(&authority, "b").await);
    let (client, port) = (authority.client(), free_port());
    let config = listener(port, "")
        + &(a.service() + &b.service())
        + &tls_route("kept", "a.example", &to("a"))
        + &tls_route("changed", "b.example", &to("a"));
    let mut plane = Plane::with(&config).await;
    let open = async |name: &str| -> TlsConnection {
        eventually("a connection", async || client.connect(port, name).await.ok()).await
    };
    let (mut kept, mut cut) = (open("a.example").await, open("b.example").await);
    let asks = async |connection: &mut TlsConnection| {
        let answer = connection.client.get("any.example", "/").await?;
        Some(answer.backend())
    };
    assert_eq!(asks(&mut kept).await.as_deref(), Some("a"));
    assert_eq!(asks(&mut cut).await.as_deref(), Some("a"));

    // One more route, and one to another service: what it has is drained, and then cut.
    plane.apply(&tls_route("new", "other.example", &to("b"))).await;
    plane.apply(&tls_route("changed", "b.example", &to("b"))).await;
    eventually("the route to lead elsewhere", async || {
        (reached(&client, port, "b.example").await?.0 == "b").then_some(())
    })
    .await;
    let start = std::time::Instant::now();
    while asks(&mut cut).await.is_some() {
        assert!(start.elapsed() < crate::plane::DEADLINE, "the connection is not cut");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(asks(&mut kept).await.as_deref(), Some("a"), "another route's connection");

    // Its own end, too.
    let revision = plane.remove(&["TLSRoute/default/new", "TLSRoute/default/changed"]);
    plane.applied(revision).await;
    eventually("the routes to be gone", async || {
        client.connect(port, "b.example").await.is_err().then_some(())
    })
    .await;
    assert_eq!(asks(&mut kept).await.as_deref(), Some("a"));
    let revision = plane.remove(&["TLSRoute/default/kept"]);
    plane.applied(revision).await;
    eventually("the port to close", async || {
        TcpStream::connect(("127.0.0.1", port)).await.is_err().then_some(())
    })
    .await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_tls_may_follow_a_proxy_header() {
    let authority = Authority::new();
    let (a, client, port) = (End::start(&authority, "a").await, authority.client(), free_port());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tls.log");
    let more = format!(", proxyProtocol: Required, accessLogs: [{{ file: {} }}]", path.display());
    let config = listener(port, &more) + &a.service() + &tls_route("r", "a.example", &to("a"));
    let plane = Plane::with(&config).await;
    let mut connection = eventually("a connection", async || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let header = b"PROXY TCP4 203.0.113.9 192.0.2.1 4242 443\r\n";
        stream.write_all(header).await.ok()?;
        client.over(stream, "a.example").await.ok()
    })
    .await;
    assert_eq!(connection.client.get("a.example", "/").await.unwrap().backend(), "a");
    assert!(client.connect(port, "a.example").await.is_err(), "without a header");
    drop(connection);
    eventually("the client's line", async || {
        let text = std::fs::read_to_string(&path).ok()?;
        text.contains(r#""client":"203.0.113.9:4242""#).then_some(())
    })
    .await;
    // Neither is what begins with one and is no TLS.
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    plain
        .write_all(b"PROXY TCP4 203.0.113.9 192.0.2.1 1 443\r\nGET / HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    plane.stop().await;
}
