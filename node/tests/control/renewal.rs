//! Certificates that run out under writes, sessions and calls: what stands goes on, and what is new
//! shows renewed ones.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::{Duration, SystemTime},
};

use consensus::Consistency;
use dataplane::{DataPlane, admin::Pages};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::{AckState, Revision, cluster::NodeId};
use node::{control::Control, tokens::Role};
use runtime::{
    identity::NodeIdentity,
    telemetry::Metrics,
    tls::{client_alpn, client_pinned},
};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cluster::{Cluster, DEADLINE, eventually, service},
    push::Plane,
};

/// Renewal has its last third: eight seconds, on two busy cores.
const LIFETIME: Duration = Duration::from_secs(24);
/// Between two writes.
const WRITE_EVERY: Duration = Duration::from_millis(20);

/// A connection to a node's API that is never opened again.
struct Calls {
    sender: http1::SendRequest<Full<bytes::Bytes>>,
    token: String,
    /// What the node showed.
    shown: CertificateDer<'static>,
    _driver: AbortOnDropHandle<hyper::Result<()>>,
}

impl Calls {
    async fn open(control: &Control, token: &str) -> Self {
        let address = control.node().1.api;
        let tls = client_pinned(&control.identity().pin()).unwrap();
        let tls = tokio_rustls::TlsConnector::from(client_alpn(&tls, &[b"http/1.1"]));
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let stream = tls.connect(ServerName::from(address.ip()), tcp).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = AbortOnDropHandle::new(tokio::spawn(connection));
        Self { sender, token: token.to_owned(), shown, _driver: driver }
    }

    async fn apply(&mut self, name: &str, port: u16) -> Revision {
        let body = service(name, port).to_value().to_string();
        let request = http::Request::post("/v1/apply")
            .header("host", "node")
            .header("authorization", format!("Bearer {}", self.token))
            .body(Full::from(body))
            .unwrap();
        self.sender.ready().await.expect("the connection stands");
        let response = self.sender.send_request(request).await.expect("an answer");
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        Revision(answer["revision"].as_u64().unwrap())
    }
}

/// A real data plane beside a node, without Envoy and XDP.
async fn dataplane(cluster: &Cluster, id: u8, metrics: &Metrics) -> DataPlane {
    let (push, data) = (cluster.control(id).node().1.push, cluster.data(id).join("dataplane"));
    let place = |name: &str| data.join(name);
    let mut config = dataplane::Config::new(
        vec![push],
        cluster.control(id).settings().dataplane_identity_dir(),
        place("state"),
        place("run"),
    );
    config.envoy = Some("/no/such/envoy".into());
    config.drain = Duration::from_millis(10);
    DataPlane::start(config, metrics.clone()).await.unwrap()
}

/// Waits until the data plane runs a revision.
async fn runs(plane: &DataPlane, revision: Revision) {
    let mut desired = plane.desired();
    let reached = desired.wait_for(|desired| desired.revision >= revision);
    tokio::time::timeout(DEADLINE, reached).await.expect("in time").unwrap();
}

/// Waits until a node that was started has a leader, and all that was written.
async fn reads_all(cluster: &Cluster, id: u8) {
    let control = cluster.control(id);
    eventually(async || control.snapshot(Consistency::Linearizable).await.ok()).await;
}

/// Sessions of the data plane so far.
fn sessions(metrics: &Metrics) -> Option<u64> {
    let text = metrics.render();
    text.lines().find_map(|line| line.strip_prefix("marchproxy_push_sessions_total ")?.parse().ok())
}

/// The two ends of every Raft connection that stands.
fn raft_connections(cluster: &Cluster) -> BTreeSet<(SocketAddrV4, SocketAddrV4)> {
    const ESTABLISHED: &str = "01";
    let end = |text: &str| {
        let (address, port) = text.split_once(':')?;
        let address = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
        Some(SocketAddrV4::new(Ipv4Addr::from(address), u16::from_str_radix(port, 16).ok()?))
    };
    let members: Vec<_> = (1..=3).map(|id| cluster.control(id).node().1.raft).collect();
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let pairs = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote) = (end(words.next()?)?, end(words.next()?)?);
        let stands = words.next()? == ESTABLISHED && members.contains(&remote.into());
        stands.then_some((local, remote))
    });
    pairs.collect()
}

fn data_planes_identity(cluster: &Cluster, id: u8) -> NodeIdentity {
    let directory = cluster.control(id).settings().dataplane_identity_dir();
    NodeIdentity::load(&directory).unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_stands_outlives_its_certificates_and_what_is_new_shows_renewed_ones() {
    let mut cluster = Cluster::new(40).with_lifetime(LIFETIME);
    cluster.up(1).await;
    for id in 2..=3 {
        let line = cluster.line(1).await;
        cluster.join(id, line).await;
    }
    cluster.voters(3).await;
    let metrics = Metrics::install("test", "test").unwrap();
    let plane = dataplane(&cluster, 1, &metrics).await;
    let token = cluster.control(1).create_token("test", "test", Role::Admin).await.unwrap();

    // What every handshake up to here may have shown.
    let first: Vec<Arc<NodeIdentity>> = (1..=3).map(|id| cluster.control(id).identity()).collect();
    let expires = first.iter().map(|identity| identity.expires()).max().unwrap();
    let expires = expires.max(data_planes_identity(&cluster, 1).expires());
    let mut calls = Vec::new();
    for id in 1..=3 {
        calls.push(Calls::open(cluster.control(id), &token).await);
    }
    for (calls, name) in calls.iter_mut().zip(["a", "b", "c"]) {
        runs(&plane, calls.apply(name, 1).await).await;
    }
    let raft = raft_connections(&cluster);
    assert!(raft.len() >= 2, "{raft:?}");

    // A write that fails ends the test.
    let mut port = 1;
    let mut written = Revision::ZERO;
    while SystemTime::now() < expires + Duration::from_secs(1) {
        port += 1;
        for (calls, name) in calls.iter_mut().zip(["a", "b", "c"]) {
            written = calls.apply(name, port).await;
            tokio::time::sleep(WRITE_EVERY).await;
        }
    }
    assert!(port > 10, "{port} writes on each node are no test");
    runs(&plane, written).await;
    assert_eq!(sessions(&metrics), Some(1), "the push session was made again");
    let after = raft_connections(&cluster);
    assert!(raft.is_subset(&after), "Raft connections were made again: {raft:?}, {after:?}");

    // The API.
    for (id, first) in (1..=3).zip(&first) {
        let mut calls = Calls::open(cluster.control(id), &token).await;
        assert_ne!(calls.shown, *first.certified_key().certificate());
        calls.apply("fresh", u16::from(id)).await;
    }
    // Raft, both ways between a member that lived through all of it and one that starts.
    let again = (2..=3).find(|id| cluster.follows(*id)).expect("one of two follows");
    cluster.stop(again).await;
    cluster.restart(again).await;
    reads_all(&cluster, again).await;
    let mut calls = Calls::open(cluster.control(again), &token).await;
    let written = calls.apply("through-the-restarted", 1).await;
    // The exchange of ledgers, from the first to the restarted and back.
    let (again_id, _) = cluster.control(again).node();
    let mut told = Plane::connect(cluster.control(again), None).await;
    told.report(written, AckState::Applied).await;
    let hears = async |at: u8, of: NodeId| {
        eventually(async || cluster.control(at).ledger().report(of).filter(|r| r.connected)).await;
    };
    hears(1, again_id).await;
    hears(again, cluster.control(1).node().0).await;
    told.close().await;
    // The data plane, whose control process starts again.
    cluster.stop(1).await;
    cluster.restart(1).await;
    eventually(async || sessions(&metrics).filter(|count| *count >= 2)).await;
    reads_all(&cluster, 1).await;
    let mut calls = Calls::open(cluster.control(1), &token).await;
    runs(&plane, calls.apply("after-the-restart", 1).await).await;
    assert_eq!(plane.status().status()["push"]["node"], 1);
    plane.stop("test over").await;
    cluster.shutdown().await;
}
