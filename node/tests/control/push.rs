//! The push, seen by a data plane's client: snapshot, delta, resume, and acks in the ledger.

use std::time::Duration;

use bytes::Bytes;
use consensus::{Op, Transaction};
use model::{AckState, Engine, EngineReport, ModuleId, Revision, Snapshot, cluster::NodeId};
use node::control::{ApplyOptions, Control};
use runtime::{
    identity::{KeyPair, NodeIdentity, PeerIdentity, Role},
    push::{
        FrameReader, FrameWriter, FromPlane, PlaneInfo, Resume, ToPlane, client_endpoint, connect,
    },
    tls::LiveIdentity,
};

use crate::cluster::{Cluster, DEADLINE, eventually, service};

/// A data plane of node 1 that says what it is told to.
pub(crate) struct Plane {
    reader: FrameReader<quinn::RecvStream, ToPlane>,
    writer: FrameWriter<quinn::SendStream, FromPlane>,
    connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

async fn identity(control: &Control) -> NodeIdentity {
    let own = control.identity();
    let peer =
        PeerIdentity { cluster: own.cluster().clone(), node: own.node(), role: Role::DataPlane };
    let key = KeyPair::generate().unwrap();
    let pem = control.renew(&peer, &key.csr().unwrap().0).await.unwrap();
    NodeIdentity::new(own.ca_pem(), &pem, key).unwrap()
}

impl Plane {
    pub(crate) async fn connect(control: &Control, resume: Option<Revision>) -> Self {
        Self::connect_with(control, resume, Vec::new()).await
    }

    /// Connects with modules that it has.
    async fn connect_with(
        control: &Control,
        resume: Option<Revision>,
        modules: Vec<ModuleId>,
    ) -> Self {
        let identity = identity(control).await;
        let live = LiveIdentity::new(&identity).unwrap();
        let endpoint = client_endpoint(&live, "0.0.0.0:0".parse().unwrap()).unwrap();
        let address = control.node().1.push;
        let connection = connect(&endpoint, identity.cluster(), address).await.unwrap();
        let (send, receive) = connection.open_bi().await.unwrap();
        let mut writer = FrameWriter::new(send);
        let plane = PlaneInfo { version: "test".to_owned(), host: "test".to_owned(), pid: 1 };
        let cluster = identity.cluster().clone();
        let resume = resume.map(|revision| Resume { cluster, revision });
        writer.write(&FromPlane::Hello { plane, resume, modules }).await.unwrap();
        Self { reader: FrameReader::new(receive), writer, connection, _endpoint: endpoint }
    }

    /// The next message; pings are answered.
    pub(crate) async fn any(&mut self) -> ToPlane {
        let message = tokio::time::timeout(DEADLINE, self.reader.read()).await.expect("in time");
        let message = message.unwrap().expect("the stream is open");
        if message == ToPlane::Ping {
            self.writer.write(&FromPlane::Pong).await.unwrap();
        }
        message
    }

    /// The next message that carries configuration.
    pub(crate) async fn next(&mut self) -> ToPlane {
        let next = async {
            loop {
                match self.reader.read().await.unwrap().expect("the stream is open") {
                    ToPlane::Ping => self.writer.write(&FromPlane::Pong).await.unwrap(),
                    ToPlane::Health(_) | ToPlane::Welcome { .. } => {}
                    other => return other,
                }
            }
        };
        tokio::time::timeout(DEADLINE, next).await.expect("in time")
    }

    pub(crate) async fn report(&mut self, revision: Revision, ack: AckState) {
        self.report_of(Engine::Envoy, revision, ack).await;
    }

    async fn report_of(&mut self, engine: Engine, revision: Revision, ack: AckState) {
        let report = EngineReport::new(engine, revision, ack);
        self.writer.write(&FromPlane::Reports { reports: vec![report] }).await.unwrap();
    }

    pub(crate) async fn close(self) {
        self.connection.close(0_u32.into(), b"test");
        self._endpoint.wait_idle().await;
    }
}

async fn apply(control: &Control, name: &str, port: u16) -> Revision {
    let options = ApplyOptions { actor: "test".to_owned(), ..ApplyOptions::default() };
    control.apply(vec![service(name, port)], options).await.unwrap().revision
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plane_gets_a_snapshot_then_deltas_and_resumes_where_it_was() {
    let mut cluster = Cluster::new(20);
    cluster.up(1).await;
    let control = cluster.control(1).clone();
    let first = apply(&control, "a", 80).await;

    let mut plane = Plane::connect(&control, None).await;
    assert_eq!(plane.next().await, ToPlane::SnapshotStart { revision: first, objects_total: 1 });
    assert!(matches!(plane.next().await, ToPlane::SnapshotChunk { objects } if objects.len() == 1));
    assert_eq!(plane.next().await, ToPlane::SnapshotEnd { revision: first });

    let second = apply(&control, "b", 81).await;
    let value = service("b", 81).to_value();
    let delta = ToPlane::Delta { from: first, to: second, puts: vec![value], deletes: Vec::new() };
    assert_eq!(plane.next().await, delta);
    plane.close().await;

    // What it missed comes as deltas, also over revisions that change no object.
    control.create_token("test", "in-between", node::tokens::Role::Read).await.unwrap();
    let third = apply(&control, "c", 82).await;
    let mut plane = Plane::connect(&control, Some(second)).await;
    assert!(
        matches!(plane.next().await, ToPlane::Delta { from, to, .. } if (from, to) == (second, third))
    );
    plane.close().await;

    // A plane is never led back: a node that lacks its revision sends it away.
    let mut plane = Plane::connect(&control, Some(Revision(third.0 + 1_000))).await;
    assert!(
        matches!(plane.next().await, ToPlane::Goodbye { reason } if reason.contains("already"))
    );
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_revision_ends_with_the_answer_and_tells_refusals_on_every_node() {
    let mut cluster = Cluster::new(21);
    cluster.up(1).await;
    let line = cluster.line(1).await;
    cluster.join(2, line).await;
    let (control, other) = (cluster.control(1).clone(), cluster.control(2).clone());
    // These nodes run without a data plane; this one says that node 1 has one.
    let record = |expected: &'static [u8]| {
        let put =
            Op::Put { key: "cluster/nodes/1".to_owned(), value: Bytes::from_static(expected) };
        Transaction::new("test", "", vec![put])
    };
    eventually(async || {
        let view = control.consensus().read(consensus::Consistency::Stale).await.ok()?;
        view.get("cluster/nodes/1").map(drop)
    })
    .await;
    let with_plane = record(br#"{"dataplane":true,"version":"test"}"#);
    control.consensus().propose(with_plane).await.unwrap();
    eventually(async || (!other.ledger().outcome(Revision(1)).complete).then_some(())).await;

    let revision = apply(&control, "a", 80).await;
    let silent = other.ledger().wait_for(revision, Duration::from_millis(100)).await;
    assert_eq!((silent.complete, silent.missing), (false, vec![NodeId(1)]));

    let mut plane = Plane::connect(&control, None).await;
    // XDP answers at once that nothing asks for it; Envoy is only starting.
    let unavailable = AckState::Unavailable { reason: "not asked for".to_owned() };
    plane.report_of(Engine::Xdp, Revision(revision.0 + 1), unavailable).await;
    eventually(async || {
        let report = other.ledger().report(NodeId(1))?;
        (!report.engines.is_empty()).then_some(())
    })
    .await;
    assert_eq!(other.ledger().outcome(revision).missing, [NodeId(1)]);
    let refusal = model::Refusal {
        object: None,
        field: String::new(),
        resource: "Cluster a".to_owned(),
        message: "no such thing".to_owned(),
    };
    plane.report(revision, AckState::Refused { refusals: vec![refusal] }).await;
    plane.report(Revision(revision.0 + 1), AckState::Applied).await;
    for control in [&control, &other] {
        let outcome = control.ledger().wait_for(revision, DEADLINE).await;
        assert!(outcome.complete && outcome.refused(), "{outcome:?}");
    }
    plane.close().await;
    eventually(async || {
        let report = other.ledger().report(NodeId(1))?;
        (!report.connected).then_some(())
    })
    .await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_has_not_said_whether_it_has_a_data_plane_is_waited_for() {
    let mut cluster = Cluster::new(23);
    cluster.up(1).await;
    let line = cluster.line(1).await;
    cluster.join(2, line).await;
    let (control, joined) = (cluster.control(1).clone(), cluster.control(2).node().0);
    let missing = async |expected: &[NodeId]| {
        eventually(async || {
            (control.ledger().outcome(Revision(1)).missing == expected).then_some(())
        })
        .await;
    };
    let key = format!("cluster/nodes/{joined}");
    let record = eventually(async || {
        let view = control.consensus().read(consensus::Consistency::Stale).await.ok()?;
        view.get(&key).map(|stored| stored.value.clone())
    })
    .await;
    // Both say that they have none.
    missing(&[]).await;
    // As in the moments between its admission and its record.
    let write = |op| Transaction::new("test", "", vec![op]);
    control.consensus().propose(write(Op::Delete { key: key.clone() })).await.unwrap();
    missing(&[joined]).await;
    control.consensus().propose(write(Op::Put { key, value: record })).await.unwrap();
    missing(&[]).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_objects_arrive_whole_and_one_change_is_one_small_delta() {
    let mut cluster = Cluster::new(22);
    cluster.up(1).await;
    let control = cluster.control(1).clone();
    let options = ApplyOptions { actor: "test".to_owned(), ..ApplyOptions::default() };
    let objects = (0..10_000).map(|n| service(&format!("s{n}"), 80)).collect();
    let made = control.apply(objects, options).await.unwrap();
    let mut plane = Plane::connect(&control, None).await;
    let mut got = Snapshot::default();
    loop {
        match plane.next().await {
            ToPlane::SnapshotStart { objects_total, .. } => assert_eq!(objects_total, 10_000),
            ToPlane::SnapshotChunk { objects } => {
                for value in &objects {
                    let object = model::parse::object_from_value(value).unwrap();
                    got.put(std::sync::Arc::new(object));
                }
            }
            ToPlane::SnapshotEnd { revision } => {
                assert_eq!(revision, made.revision);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got.len(), 10_000);
    apply(&control, "s77", 81).await;
    let ToPlane::Delta { puts, deletes, .. } = plane.next().await else { panic!("a delta") };
    assert_eq!((puts.len(), deletes.len()), (1, 0));
    plane.close().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plane_has_missed_is_one_delta_or_where_that_is_too_large_a_snapshot() {
    let mut cluster = Cluster::new(28);
    cluster.up(1).await;
    let control = cluster.control(1).clone();
    let first = apply(&control, "a", 80).await;
    apply(&control, "b", 81).await;
    let last = apply(&control, "a", 82).await;
    let mut plane = Plane::connect(&control, Some(first)).await;
    let ToPlane::Delta { from, to, puts, .. } = plane.next().await else { panic!("a delta") };
    assert_eq!((from, to), (first, last));
    assert_eq!(puts, [service("a", 82).to_value(), service("b", 81).to_value()]);
    plane.close().await;

    // Lists of some 900 KB each: more than half of what a frame holds.
    let mut newest = last;
    for number in 0..10u32 {
        let prefixes: Vec<String> = (0..60_000u32)
            .map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + number * 60_000 + n).to_string())
            .collect();
        let text = format!(
            "kind: PrefixList\nmetadata: {{ name: large }}\nspec: {{ prefixes: [{}] }}",
            prefixes.join(", ")
        );
        let objects = model::parse::parse_documents(&text).unwrap();
        let options = ApplyOptions { actor: "test".to_owned(), ..ApplyOptions::default() };
        newest = control.apply(objects, options).await.unwrap().revision;
    }
    let mut plane = Plane::connect(&control, Some(last)).await;
    assert_eq!(plane.next().await, ToPlane::SnapshotStart { revision: newest, objects_total: 3 });
    plane.close().await;
    cluster.shutdown().await;
}

/// Keeps a module of so many parts past what looks at its content.
async fn keep(control: &Control, id: ModuleId, parts: u32) {
    let put = |key: String, value: Bytes| Op::Put { key, value };
    let part = |n| put(format!("module-parts/{id}/{n:04}"), Bytes::from(vec![b'x'; 200_000]));
    let record = format!(
        r#"{{"bytes":{},"parts":{parts},"leastMemoryMib":1,"createdBy":"test"}}"#,
        200_000 * parts
    );
    let ops = (0..parts).map(part).chain([put(format!("modules/{id}"), record.into())]).collect();
    control.consensus().propose(Transaction::new("test", "", ops)).await.unwrap();
}

async fn run_module(control: &Control, id: ModuleId) -> Revision {
    let yaml = format!(
        "kind: Listener\nmetadata: {{ name: web }}\nspec: {{ protocol: HTTP, port: 80 }}\n---\nkind: \
         FilterModule\nmetadata: {{ name: it }}\nspec: {{ targetRefs: [{{ kind: Listener, name: web }}], \
         sha256: {id} }}\n"
    );
    let options = ApplyOptions { actor: "test".to_owned(), ..ApplyOptions::default() };
    let objects = model::parse::parse_documents(&yaml).unwrap();
    control.apply(objects, options).await.unwrap().revision
}

/// Reads a module that comes whole.
async fn takes(plane: &mut Plane, id: ModuleId, parts: u32) {
    for n in 0..parts {
        match plane.next().await {
            ToPlane::ModulePart(part) => {
                assert_eq!((part.module, part.part, part.parts), (id, n, parts));
            }
            other => panic!("part {n} was due: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_comes_before_the_configuration_that_names_it() {
    let mut cluster = Cluster::new(29);
    cluster.up(1).await;
    let control = cluster.control(1).clone();
    let [first, second, unnamed] = [1, 2, 3].map(|n| ModuleId([n; 32]));
    keep(&control, unnamed, 2).await;
    keep(&control, first, 3).await;
    let named = run_module(&control, first).await;
    // What it runs goes first, then its configuration, then the rest.
    let mut plane = Plane::connect(&control, None).await;
    let stored = ToPlane::Modules { stored: vec![first, unnamed] };
    assert_eq!(plane.next().await, stored);
    takes(&mut plane, first, 3).await;
    let start = ToPlane::SnapshotStart { revision: named, objects_total: 2 };
    assert_eq!(plane.next().await, start);
    assert!(matches!(plane.next().await, ToPlane::SnapshotChunk { .. }));
    assert_eq!(plane.next().await, ToPlane::SnapshotEnd { revision: named });
    takes(&mut plane, unnamed, 2).await;

    // One that is uploaded comes at once; what names it, in its turn.
    keep(&control, second, 2).await;
    assert_eq!(plane.next().await, ToPlane::Modules { stored: vec![first, second, unnamed] });
    takes(&mut plane, second, 2).await;
    let renamed = run_module(&control, second).await;
    assert!(matches!(plane.next().await, ToPlane::Delta { to, .. } if to == renamed));
    plane.close().await;

    // What it has is not sent again.
    let mut plane = Plane::connect_with(&control, None, vec![first, second, unnamed]).await;
    assert_eq!(plane.next().await, ToPlane::Modules { stored: vec![first, second, unnamed] });
    let start = ToPlane::SnapshotStart { revision: renamed, objects_total: 2 };
    assert_eq!(plane.next().await, start);
    plane.close().await;
    cluster.shutdown().await;
}
