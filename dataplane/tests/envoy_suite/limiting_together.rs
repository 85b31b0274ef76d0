//! How many requests pass of a limit that all nodes count together. The owner stands here, at the other
//! end of a stream.

use std::{net::Ipv4Addr, time::Duration};

use dataplane::quotas::{Quotas, exchange};
use model::{
    cluster::NodeId,
    quotas::{Answers, Asks, Owner},
};
use runtime::push::{FrameReader, FrameWriter};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex, split},
    net::TcpStream,
    task::JoinSet,
};

use serde_json::json;

use crate::{
    auth::{HOSTS, Stage},
    backend::Backend,
    client::{Answer as Response, send},
    plane::{Plane, eventually, free_port, http_listener, route, service, to},
    token::Issuer,
};

fn config(port: u16, backend: &Backend) -> String {
    let two = format!(
        "    - matches: [{{ path: {{ prefix: /a }} }}, {{ path: {{ prefix: /b }} }}]\n{}",
        to("a").replace("- ", "  ")
    );
    http_listener(port).replace("HTTP, ", "HTTP, http: { trustedHops: 1 }, ")
        + &service("a", &[backend.port])
        + &route("exact", "a.example", &two)
        + &route("wild", "*.w.example", &to("a"))
        + &route("free", "free.example", &to("a"))
}

fn limit(name: &str, fields: &str) -> String {
    format!(
        "---\nkind: RateLimit\nmetadata: {{ name: {name} }}\nspec: {{ scope: Cluster, {fields} }}\n"
    )
}

const EXACT: &str = "targetRefs: [{ kind: HTTPRoute, name: exact }]";

/// Counts for a node as an owner does, and nothing comes back with time.
async fn own(quotas: &Quotas, tasks: &mut JoinSet<()>) {
    let (own, other) = duplex(1 << 20);
    let linked = quotas.clone();
    tasks.spawn(async move {
        let (read, write) = split(own);
        let _ = exchange(FrameReader::new(read), FrameWriter::new(write), &linked, NodeId(1)).await;
    });
    tasks.spawn(async move {
        let (read, write) = split(other);
        let mut reader = FrameReader::<_, Asks>::new(read);
        let mut writer = FrameWriter::<_, Answers>::new(write);
        let mut owner = Owner::new(1);
        while let Ok(Some(Asks { batch, node, asks })) = reader.read().await {
            let answer = |ask| owner.answer(node, ask, Duration::ZERO);
            let answers = asks.iter().map(answer).collect();
            if writer.write(&Answers { batch, nodes: 4, answers }).await.is_err() {
                break;
            }
        }
    });
    eventually("an owner", async || quotas.is_linked().then_some(())).await;
}

/// Asks until it is refused; returns how often it passed, and the refusal.
async fn spend(port: u16, host: &str, path: &str, headers: &[(&str, &str)]) -> (usize, Response) {
    for passed in 0..100 {
        let answer = send(port, "GET", host, path, headers).await;
        if answer.status != 200 {
            return (passed, answer);
        }
    }
    panic!("{host}{path} is not limited");
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_asks_for_what_all_nodes_count_together() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let all = limit("all", &format!("{EXACT}, requests: 7, interval: 1h"));
    let mut plane = Plane::with(&(config(port, &backend) + &all)).await;
    let mut owner = JoinSet::new();
    own(&plane.quotas, &mut owner).await;
    // Whatever match of the route and spelling of the host.
    assert_eq!(send(port, "GET", "a.example", "/a", &[]).await.backend(), "a");
    assert_eq!(send(port, "GET", "A.Example", "/b", &[]).await.backend(), "a");
    let (passed, refusal) = spend(port, "a.example", "/b", &[]).await;
    assert_eq!((passed, refusal.status.as_u16()), (5, 429));
    assert_eq!(refusal.header("retry-after"), "515", "an hour through seven");
    assert_eq!(refusal.header("x-ratelimit-limit"), "7");
    assert_eq!(refusal.header("x-ratelimit-remaining"), "0");
    let seen = backend.seen();
    assert_eq!(spend(port, "A.Example", "/a", &[]).await.0, 0);
    let grpc = send(port, "GET", "a.example", "/a", &[("content-type", "application/grpc")]).await;
    assert_eq!((grpc.status.as_u16(), grpc.header("grpc-status")), (200, "8"));
    assert_eq!(backend.seen(), seen, "the service sees nothing that is refused");
    assert_eq!(send(port, "GET", "free.example", "/", &[]).await.backend(), "a");

    // Another limit is counted anew, and so is another target of the same.
    let both = "targetRefs: [{ kind: HTTPRoute, name: exact }, { kind: HTTPRoute, name: wild }]";
    plane.apply(&limit("all", &format!("{both}, requests: 3, interval: 1h"))).await;
    for (host, path) in [("a.example", "/a"), ("x.w.example", "/"), ("y.w.example", "/")] {
        let left = if host == "y.w.example" { 0 } else { 3 };
        assert_eq!(spend(port, host, path, &[]).await.0, left, "{host}");
    }
    let revision = plane.remove(&["RateLimit/default/all"]);
    plane.applied(revision).await;
    assert_eq!(send(port, "GET", "a.example", "/a", &[]).await.backend(), "a");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_asks_by_client_and_by_value_and_all_limits_have_to_let_pass() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let users =
        limit("users", &format!("{EXACT}, requests: 4, interval: 1h, per: {{ header: X-User }}"));
    let web = "targetRefs: [{ kind: Listener, name: web }]";
    let clients = limit("clients", &format!("{web}, requests: 6, interval: 1h, per: Client"));
    let plane = Plane::with(&(config(port, &backend) + &users + &clients)).await;
    let mut owner = JoinSet::new();
    own(&plane.quotas, &mut owner).await;
    let from = |address: &'static str| ("x-forwarded-for", address);
    let (passed, refusal) =
        spend(port, "a.example", "/a", &[from("192.0.2.1"), ("x-user", "one")]).await;
    assert_eq!((passed, refusal.header("x-ratelimit-limit")), (4, "4"), "{refusal:?}");
    // Two are left of the client, whatever the user; those without a user are counted together.
    assert_eq!(spend(port, "a.example", "/b", &[from("192.0.2.1")]).await.0, 2);
    assert_eq!(spend(port, "a.example", "/b", &[from("192.0.2.2")]).await.0, 2);
    assert_eq!(spend(port, "a.example", "/b", &[from("192.0.2.2"), ("x-user", "two")]).await.0, 4);
    assert_eq!(spend(port, "free.example", "/", &[from("192.0.2.2")]).await.0, 0);
    // A value may be any bytes, which Envoy's types have no room for.
    let odd =
        b"GET /a HTTP/1.1\r\nhost: a.example\r\nx-forwarded-for: 192.0.2.7\r\nx-user: \xff\r\n\r\n";
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(raw(port, odd).await);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
    assert_eq!(spend(port, "free.example", "/", &[from("2001:db8::1")]).await.0, 6);
    assert_eq!(spend(port, "free.example", "/", &[from("2001:db8::2")]).await.0, 0, "one network");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_lets_a_share_pass_without_an_owner() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let all = limit("all", &format!("{EXACT}, requests: 20, interval: 1h"));
    let plane = Plane::with(&(config(port, &backend) + &all)).await;
    let (passed, refusal) = spend(port, "a.example", "/a", &[]).await;
    assert_eq!((passed, refusal.status.as_u16()), (2, 429), "one of ten, as far as it knows");
    let mut owner = JoinSet::new();
    own(&plane.quotas, &mut owner).await;
    eventually("what the owner has", async || {
        let answer = send(port, "GET", "a.example", "/a", &[]).await;
        (answer.status == 200).then_some(())
    })
    .await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_counts_what_has_a_token_and_nobody_else_uses_it_up() {
    let issuer = Issuer::new();
    let jwks = json!({ "inline": issuer.jwks() });
    let provider = json!({ "name": "idp", "issuer": "https://idp.example", "jwks": jwks });
    let limits = limit(
        "both",
        "targetRefs: [{ kind: HTTPRoute, name: exact }, { kind: HTTPRoute, name: wild }], \
         requests: 4, interval: 1h",
    );
    let spec = json!({ "jwt": { "providers": [provider] } });
    let stage = Stage::with(&spec, &limits).await;
    let mut owner = JoinSet::new();
    own(&stage.plane.quotas, &mut owner).await;
    let claims = json!({ "iss": "https://idp.example", "exp": 4_102_444_800_u64 });
    let token = format!("Bearer {}", issuer.token(&claims));
    let token = [("authorization", token.as_str())];
    for _ in 0..5 {
        stage.guarded(&[], 401).await;
        // Nor does a preflight, which carries no token.
        for host in HOSTS {
            let marks = [("origin", "https://a.example"), ("access-control-request-method", "GET")];
            send(stage.port, "OPTIONS", host, "/private/x", &marks).await;
        }
    }
    // The hosts with capitals are those before them.
    stage.guarded(&token, 200).await;
    stage.guarded(&token, 200).await;
    stage.guarded(&token, 429).await;
    stage.plane.stop().await;
}

/// Sends what no client of ours would; returns the status.
async fn raw(port: u16, request: &[u8]) -> u16 {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
}
