//! A whole data plane without Envoy and without XDP interfaces: it says so, and lives.

use std::{net::SocketAddr, path::Path, time::Duration};

use model::{AckState, Engine, Revision};
use runtime::{
    identity::{Authority, ClusterId, KeyPair, NodeId, Validity},
    push::{FrameReader, FrameWriter, FromPlane, ToPlane, server_endpoint, snapshot_messages},
    supervision::ChildState,
};
use serde_json::{Value, json};

use super::*;
use crate::admin::Pages;

const DEADLINE: Duration = Duration::from_secs(30);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

fn node(ca: &Authority, node: u64, role: Role) -> NodeIdentity {
    let peer = PeerIdentity { cluster: ca.cluster().clone(), node: NodeId(node), role };
    let key = KeyPair::generate().unwrap();
    let pem = ca.issue(&key.csr().unwrap().0, &peer, Validity::node()).unwrap();
    NodeIdentity::new(ca.certificate_pem(), &pem, key).unwrap()
}

fn config(directory: &Path, control: SocketAddr) -> Config {
    let place = |name: &str| directory.join(name);
    let mut config = Config::new(vec![control], place("identity"), place("state"), place("run"));
    config.envoy = Some("/no/such/envoy".into());
    config.drain = Duration::from_millis(10);
    config
}

fn metrics() -> Metrics {
    Metrics::install("dataplane", "test").unwrap()
}

fn service() -> Value {
    json!({
        "kind": "Service",
        "metadata": {"name": "a"},
        "spec": {"endpoints": [{"address": "192.0.2.1", "port": 80}]},
    })
}

/// An address where nothing answers.
fn nobody() -> SocketAddr {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn it_follows_saves_and_starts_cold_from_what_it_saved() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    node(&ca, 1, Role::DataPlane).save(&directory.path().join("identity")).unwrap();
    let control =
        server_endpoint(&node(&ca, 1, Role::Control), "127.0.0.1:0".parse().unwrap()).unwrap();
    let config = config(directory.path(), control.local_addr().unwrap());
    let metrics = metrics();
    let plane = DataPlane::start(config.clone(), metrics.clone()).await.unwrap();

    // A second one is refused while the first runs.
    let second = DataPlane::start(config.clone(), metrics.clone()).await;
    assert!(matches!(second, Err(RunError::Lock(LockError::Held { .. }))));

    let connection = soon(async { control.accept().await.unwrap().await.unwrap() }).await;
    let (send, receive) = soon(connection.accept_bi()).await.unwrap();
    let mut reader = FrameReader::<_, FromPlane>::new(receive);
    let mut writer = FrameWriter::<_, ToPlane>::new(send);
    assert!(matches!(soon(reader.read()).await.unwrap(), Some(FromPlane::Hello { .. })));
    let cluster = ca.cluster().clone();
    writer.write(&ToPlane::Welcome { cluster, node: NodeId(1) }).await.unwrap();
    for message in snapshot_messages(Revision(7), vec![(service(), 100)]) {
        writer.write(&message).await.unwrap();
    }
    // Both engines say that they are not there, and why.
    let mut unavailable = std::collections::BTreeSet::new();
    while unavailable.len() < 2 {
        let message = soon(reader.read()).await.unwrap().unwrap();
        let FromPlane::Reports { reports } = message else { continue };
        for report in reports {
            if let AckState::Unavailable { reason } = report.ack {
                assert!(!reason.is_empty());
                unavailable.insert(report.engine);
            }
            if report.engine == Engine::Xdp {
                // Nothing asks for XDP here, so its absence is no failure.
                unavailable.insert(report.engine);
            }
        }
    }
    let mut saved = plane.status.recorder.clone();
    soon(saved.wait_for(|status| status.revision == Revision(7))).await.unwrap();
    let page = plane.status().status();
    assert_eq!(page["revision"], 7);
    assert_eq!(page["push"]["node"], 1);
    let names: Vec<_> =
        page["actors"].as_array().unwrap().iter().map(|actor| actor["name"].clone()).collect();
    assert_eq!(
        names,
        ["xdp", "flows", "xds", "envoy", "subscriber", "announce", "recorder", "admin"]
    );
    assert!(plane.status().metrics().contains("marchproxy_push_revision 7"));
    soon(plane.stop("test")).await;
    drop(connection);

    // No control node answers any more, and the engines are told at once.
    let mut alone = config;
    alone.control = vec![nobody()];
    let plane = DataPlane::start(alone, metrics).await.unwrap();
    let desired = plane.desired();
    let desired = Arc::clone(&desired.borrow());
    assert_eq!((desired.revision, desired.changed), (Revision(7), Changed::Restored));
    assert_eq!(desired.config.len(), 1);
    soon(plane.stop("test")).await;
}

#[tokio::test]
async fn every_killed_actor_is_repaired() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    node(&ca, 1, Role::DataPlane).save(&directory.path().join("identity")).unwrap();
    let plane = DataPlane::start(config(directory.path(), nobody()), metrics()).await.unwrap();
    let mut status = plane.supervisor().status();
    let children = plane.supervisor().cell().get_children();
    assert_eq!(children.len(), status.borrow().len());
    for child in children {
        child.kill();
    }
    let repaired = status.wait_for(|all| {
        all.iter().all(|child| child.restarts == 1 && child.state == ChildState::Running)
    });
    soon(repaired).await.unwrap();
    soon(plane.stop("test")).await;
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_named() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let metrics = metrics();
    let start = async |config: Config| DataPlane::start(config, metrics.clone()).await.unwrap_err();
    let good = config(directory.path(), nobody());
    let error = start(Config { control: vec![], ..good.clone() }).await;
    assert!(matches!(error, RunError::NoControl), "{error}");
    let error = start(good.clone()).await;
    assert!(matches!(error, RunError::NoIdentity { .. }), "{error}");
    node(&ca, 1, Role::Control).save(&good.identity_dir).unwrap();
    let error = start(good.clone()).await;
    assert!(matches!(error, RunError::OtherRole { .. }), "{error}");
    node(&ca, 1, Role::DataPlane).save(&good.identity_dir).unwrap();
    // A socket's path has at most 107 bytes.
    let error = start(Config { run_dir: directory.path().join("x".repeat(120)), ..good }).await;
    assert!(matches!(error, RunError::Start { .. }), "{error}");
}
