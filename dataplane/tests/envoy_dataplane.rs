//! A whole data plane with a real Envoy, fed by a control node whose every word the test decides.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    time::{Duration, Instant},
};

use dataplane::{Changed, Config, DataPlane, envoy};
use model::{AckState, Engine, Revision};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use runtime::{
    identity::{Authority, ClusterId, KeyPair, NodeId, NodeIdentity, PeerIdentity, Role, Validity},
    push::{
        FrameReader, FrameWriter, FromPlane, ToPlane, connected_peer, server_endpoint,
        snapshot_messages,
    },
    telemetry::Metrics,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const DEADLINE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

fn node(ca: &Authority, role: Role) -> NodeIdentity {
    let peer = PeerIdentity { cluster: ca.cluster().clone(), node: NodeId(1), role };
    let key = KeyPair::generate().expect("a key");
    let request = key.csr().expect("a request");
    let pem = ca.issue(&request.0, &peer, Validity::node()).expect("a certificate");
    NodeIdentity::new(ca.certificate_pem(), &pem, key).expect("an identity")
}

fn config(directory: &Path, control: SocketAddr) -> Config {
    let place = |name: &str| directory.join(name);
    let mut config = Config::new(vec![control], place("identity"), place("state"), place("run"));
    config.listen_address = Some(Ipv4Addr::LOCALHOST.into());
    config.drain = Duration::from_millis(200);
    config
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port()
}

fn objects(port: u16, answer: &str) -> Vec<(Value, usize)> {
    let listener = json!({
        "kind": "Listener",
        "metadata": {"name": "web"},
        "spec": {"protocol": "HTTP", "port": port},
    });
    let route = json!({
        "kind": "HTTPRoute",
        "metadata": {"name": "hello"},
        "spec": {
            "listeners": [{"name": "web"}],
            "hosts": ["shop.example"],
            "rules": [{"directResponse": {"status": 200, "body": answer}}],
        },
    });
    vec![(listener, 200), (route, 200)]
}

/// One request on a connection of its own; `None` when nobody takes it.
async fn ask(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    let request = "GET / HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

async fn until_answered(port: u16, expected: &str) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let got = ask(port).await;
        if got.as_deref() == Some(expected) {
            return;
        }
        assert!(Instant::now() < deadline, "{expected:?} is not answered but {got:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn envoy_pid(directory: &Path) -> Option<i32> {
    let text = fs::read_to_string(directory.join("run/envoy.pid")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[tokio::test]
async fn envoy_serves_what_is_pushed_through_its_own_death_and_a_cold_start_without_control() {
    envoy::find(None).expect("an Envoy for the tests; `cargo xtask setup` fetches one");
    let ca = Authority::create(ClusterId::random()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    node(&ca, Role::DataPlane).save(&directory.join("identity")).unwrap();
    let control =
        server_endpoint(&node(&ca, Role::Control), "127.0.0.1:0".parse().unwrap()).unwrap();
    let metrics = Metrics::install("dataplane", "test").unwrap();
    let settings = config(directory, control.local_addr().unwrap());
    let plane = DataPlane::start(settings.clone(), metrics.clone()).await.unwrap();

    let connection =
        soon("a session", async { control.accept().await.unwrap().await.unwrap() }).await;
    assert_eq!(connected_peer(&connection).unwrap().role, Role::DataPlane);
    let (send, receive) = soon("a stream", connection.accept_bi()).await.unwrap();
    let mut reader = FrameReader::<_, FromPlane>::new(receive);
    let mut writer = FrameWriter::<_, ToPlane>::new(send);
    soon("a hello", reader.read()).await.unwrap();
    let cluster = ca.cluster().clone();
    writer.write(&ToPlane::Welcome { cluster, node: NodeId(1) }).await.unwrap();
    let port = free_port();
    for message in snapshot_messages(Revision(5), objects(port, "first")) {
        writer.write(&message).await.unwrap();
    }
    let applied = async {
        loop {
            if let Some(FromPlane::Reports { reports }) = reader.read().await.unwrap() {
                let envoy = reports.into_iter().find(|report| report.engine == Engine::Envoy);
                if envoy.is_some_and(|r| r.revision == Revision(5) && r.ack == AckState::Applied) {
                    return;
                }
            }
        }
    };
    soon("Envoy's acknowledgement", applied).await;
    until_answered(port, "first").await;

    // A change reaches Envoy, and is acknowledged in the same session.
    let puts = objects(port, "second").into_iter().map(|(object, _)| object).collect();
    let delta = ToPlane::Delta { from: Revision(5), to: Revision(6), puts, deletes: vec![] };
    writer.write(&delta).await.unwrap();
    until_answered(port, "second").await;

    // Envoy dies and comes back with the accepted configuration.
    let first = envoy_pid(directory).expect("Envoy's pid");
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    let mut actors = plane.supervisor().status();
    let restarted =
        actors.wait_for(|all| all.iter().any(|child| child.name == "envoy" && child.restarts == 1));
    soon("the restart", restarted).await.unwrap();
    until_answered(port, "second").await;
    assert_ne!(envoy_pid(directory), Some(first));

    // All control is gone, and the data plane starts cold from its disk.
    soon("the stop", plane.stop("test")).await;
    assert_eq!(ask(port).await, None, "a stopped data plane leaves no Envoy behind");
    drop((connection, control));
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let alone = Config { control: vec![nobody], ..settings };
    let plane = DataPlane::start(alone, metrics).await.unwrap();
    let desired = plane.desired().borrow().clone();
    assert_eq!((desired.revision, desired.changed), (Revision(6), Changed::Restored));
    until_answered(port, "second").await;
    soon("the stop", plane.stop("test")).await;
}
