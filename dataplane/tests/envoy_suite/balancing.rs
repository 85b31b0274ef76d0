//! How endpoints are chosen, seen from clients with addresses of their own.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;

use crate::{
    backend::Backend,
    client::get,
    plane::{Plane, eventually, free_port, http_listener, route, to},
};

/// Asks once from an address of the loopback network; says which backend answered.
async fn asked_from(source: Ipv4Addr, port: u16) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((source, 0))).unwrap();
    let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/").header("host", "h.example").body(Empty::<Bytes>::new());
    let response = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    body["backend"].as_str().unwrap().to_owned()
}

const CLIENTS: usize = 200;

/// Which backend each client comes to.
async fn places(port: u16) -> BTreeMap<Ipv4Addr, String> {
    let mut places = BTreeMap::new();
    for n in 1..=CLIENTS {
        let source = Ipv4Addr::new(127, 0, 7, u8::try_from(n).unwrap());
        places.insert(source, asked_from(source, port).await);
    }
    places
}

fn service(backends: &[&Backend], more: &str) -> String {
    let endpoints: Vec<String> = backends
        .iter()
        .map(|backend| format!("{{ address: 127.0.0.1, port: {} }}", backend.port))
        .collect();
    format!(
        "---\nkind: Service\nmetadata: {{ name: s }}\nspec: {{ endpoints: [{}], {more} }}\n",
        endpoints.join(", ")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_ring_hash_keeps_clients_on_their_endpoint_while_others_come_and_go() {
    let backends =
        [Backend::start("a").await, Backend::start("b").await, Backend::start("c").await];
    let [a, b, c] = &backends;
    let port = free_port();
    let ring = "loadBalancing: RingHash, ringHash: { minimumRingSize: 4096 }";
    let config = http_listener(port) + &service(&[a, b], ring) + &route("r", "h.example", &to("s"));
    let mut plane = Plane::with(&config).await;
    let before = places(port).await;
    assert_eq!(places(port).await, before, "the same again");
    for name in ["a", "b"] {
        let share = before.values().filter(|place| *place == name).count();
        assert!((60..=140).contains(&share), "{name} has {share} of {CLIENTS}");
    }

    // One more takes a third. The ring keeps its size, so the others lose places on it, and about
    // a ninth moves between them; dealt out anew, 67 of the 200 would stay.
    plane.apply(&service(&[a, b, c], ring)).await;
    let with_c = places(port).await;
    let stayed = before.iter().filter(|(source, at)| with_c[source] == **at).count();
    assert!(stayed >= 90, "{stayed} of {CLIENTS} stayed");
    assert!(with_c.values().any(|place| place == "c"));

    // One less gives back what it had.
    plane.apply(&service(&[a, b], ring)).await;
    eventually("what was before", async || (places(port).await == before).then_some(())).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_the_options_of_each_balancing() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = free_port();
    let config = |more: &str| {
        http_listener(port) + &service(&[&a, &b], more) + &route("r", "h.example", &to("s"))
    };
    let options = [
        "loadBalancing: LeastRequest, leastRequest: { choiceCount: 5 }, slowStart: { window: 1s }",
        "loadBalancing: Maglev, maglev: { tableSize: 251 }, hashBalanceFactorPercent: 150",
        "loadBalancing: RingHash, ringHash: { minimumRingSize: 1, maximumRingSize: 8, hashFunction: \
         MurmurHash2 }, hashBalanceFactorPercent: 100",
        "loadBalancing: RingHash",
    ];
    let mut plane = Plane::start().await;
    for more in options {
        plane.apply(&config(more)).await;
        assert_eq!(get(port, "h.example", "/").await.status, 200, "{more}");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_spreads_by_the_weights_of_places() {
    let backends =
        [Backend::start("a").await, Backend::start("b").await, Backend::start("c").await];
    let [a, b, c] = backends.each_ref().map(|backend| backend.port);
    let port = free_port();
    let endpoint = |port: u16, zone: &str| {
        format!("{{ address: 127.0.0.1, port: {port}, locality: {{ zone: {zone} }} }}")
    };
    let config = http_listener(port)
        + &format!(
            "---\nkind: Service\nmetadata: {{ name: s }}\nspec:\n  endpoints: [{}, {}, {}]\n  failover: \
             {{ localityWeights: [{{ zone: x, weight: 3 }}, {{ zone: y, weight: 1 }}] }}\n",
            endpoint(a, "x"),
            endpoint(b, "y"),
            endpoint(c, "y"),
        )
        + &route("r", "h.example", &to("s"));
    let plane = Plane::with(&config).await;
    let mut from_x = 0;
    for _ in 0..400 {
        from_x += usize::from(get(port, "h.example", "/").await.backend() == "a");
    }
    // By endpoints it would be 133; 300 at 0.75 of 400.
    assert!((260..=340).contains(&from_x), "{from_x} of 400");
    plane.stop().await;
}
