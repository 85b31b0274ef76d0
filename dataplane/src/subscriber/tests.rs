//! The subscriber against a control node made of the real endpoint and frames.

mod certificates;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use model::{AckState, Engine, EngineReport, ModuleFile, ModuleId, ObjectKey};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use runtime::{
    identity::{Authority, ClusterId, KeyPair, NodeIdentity, PeerIdentity, Role, Validity},
    push::{
        FrameReader, FrameWriter, FromPlane, HealthUpdate, ModulePart, Resume, ToPlane,
        server_endpoint, snapshot_messages,
    },
    supervision::{Backoff, ChildSpec, Current, SupervisorHandle},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::{certificates::Certificates, desired::DesiredReceiver};

const DEADLINE: Duration = Duration::from_secs(20);
const FORGOTTEN_AFTER: Duration = Duration::from_millis(300);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

fn node(ca: &Authority, node: u64, role: Role) -> NodeIdentity {
    node_for(ca, node, role, Validity::NODE_LIFETIME)
}

fn node_for(ca: &Authority, node: u64, role: Role, lifetime: Duration) -> NodeIdentity {
    let peer = PeerIdentity { cluster: ca.cluster().clone(), node: NodeId(node), role };
    let key = KeyPair::generate().unwrap();
    let validity = Validity { from: SystemTime::now(), lifetime };
    let pem = ca.issue(&key.csr().unwrap().0, &peer, validity).unwrap();
    NodeIdentity::new(ca.certificate_pem(), &pem, key).unwrap()
}

fn service(name: &str, port: u16) -> Value {
    json!({
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"endpoints": [{"address": "192.0.2.1", "port": port}]},
    })
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(model::Kind::Service, "default", name)
}

fn delta(from: u64, to: u64, puts: Vec<Value>, deletes: Vec<ObjectKey>) -> ToPlane {
    ToPlane::Delta { from: Revision(from), to: Revision(to), puts, deletes }
}

/// A control node whose every word the test decides.
struct Control {
    endpoint: Endpoint,
    cluster: ClusterId,
    node: NodeId,
}

struct Served {
    connection: Connection,
    reader: FrameReader<RecvStream, FromPlane>,
    writer: FrameWriter<SendStream, ToPlane>,
    resume: Option<Resume>,
    /// The modules that the data plane had.
    modules: Vec<ModuleId>,
}

impl Control {
    fn start(ca: &Authority, number: u64) -> Self {
        let identity = node(ca, number, Role::Control);
        let endpoint = server_endpoint(&identity, "127.0.0.1:0".parse().unwrap()).unwrap();
        Self { endpoint, cluster: ca.cluster().clone(), node: NodeId(number) }
    }

    fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    /// Takes the next session up to its welcome and the reports that answer it.
    async fn serve(&self) -> (Served, Vec<EngineReport>) {
        let accepted = async { self.endpoint.accept().await.unwrap().await.unwrap() };
        self.greet(soon(accepted).await).await
    }

    async fn greet(&self, connection: Connection) -> (Served, Vec<EngineReport>) {
        soon(async {
            let (send, receive) = connection.accept_bi().await.unwrap();
            let mut reader = FrameReader::new(receive);
            let Some(FromPlane::Hello { resume, modules, .. }) = reader.read().await.unwrap()
            else {
                panic!("no hello")
            };
            let writer = FrameWriter::new(send);
            let mut served = Served { connection, reader, writer, resume, modules };
            served.say(ToPlane::Welcome { cluster: self.cluster.clone(), node: self.node }).await;
            let reports = served.reports().await;
            (served, reports)
        })
        .await
    }
}

impl Served {
    async fn say(&mut self, message: ToPlane) {
        soon(self.writer.write(&message)).await.unwrap();
    }

    /// Waits until all that was said is done.
    async fn done(&mut self) {
        self.say(ToPlane::Ping).await;
        assert_eq!(soon(self.reader.read()).await.unwrap(), Some(FromPlane::Pong));
    }

    async fn snapshot(&mut self, revision: u64, objects: Vec<Value>) {
        let objects = objects.into_iter().map(|object| (object, 100)).collect();
        for message in snapshot_messages(Revision(revision), objects) {
            self.say(message).await;
        }
    }

    async fn reports(&mut self) -> Vec<EngineReport> {
        match soon(self.reader.read()).await.unwrap() {
            Some(FromPlane::Reports { reports }) => reports,
            other => panic!("{other:?}"),
        }
    }
}

struct Plane {
    supervisor: SupervisorHandle,
    subscriber: Current<SubscriberMessage>,
    desired: DesiredReceiver,
    status: watch::Receiver<PushStatus>,
    book: ReportBook,
    certificates: Certificates,
    granted: Arc<watch::Sender<Option<Granted>>>,
    challenges: watch::Sender<Arc<Challenges>>,
    identity_dir: tempfile::TempDir,
}

impl Plane {
    async fn start(ca: &Authority, control: Vec<SocketAddr>, held: Desired) -> Self {
        Self::start_as(&node(ca, 9, Role::DataPlane), control, held).await
    }

    async fn start_as(identity: &NodeIdentity, control: Vec<SocketAddr>, held: Desired) -> Self {
        let identity_dir = tempfile::tempdir().unwrap();
        identity.save(identity_dir.path()).unwrap();
        let (desired, receiver) = watch::channel(Arc::new(held));
        let (push_status, status) = watch::channel(PushStatus::default());
        let book = ReportBook::open();
        let certificates = Certificates::new(&identity_dir.path().join("certificates"));
        let granted: Arc<watch::Sender<_>> = Arc::default();
        let challenges = watch::Sender::default();
        let arguments = SubscriberArguments {
            identity: SavedIdentity::new(identity_dir.path().to_owned(), identity).unwrap(),
            control,
            plane: PlaneInfo { version: "test".into(), host: "test".into(), pid: 1 },
            desired: Arc::new(desired),
            certificates: certificates.clone(),
            modules: Modules::new(&identity_dir.path().join("modules")),
            forget_after: FORGOTTEN_AFTER,
            challenges: challenges.clone(),
            quotas: Quotas::default(),
            reports: book.newest.clone(),
            granted: granted.clone(),
            loan: Arc::default(),
            uses: watch::Sender::default().subscribe(),
            counting: watch::Sender::default(),
            traffic: watch::Sender::default().subscribe(),
            addresses: watch::Sender::default().subscribe(),
            status: Arc::new(push_status),
        };
        let subscriber = Current::new();
        let place = subscriber.clone();
        let quick = Backoff { first: Duration::from_millis(1), most: Duration::from_millis(1) };
        let spec = ChildSpec::observed_actor(
            "subscriber",
            move || (SubscriberActor, arguments.clone()),
            move |actor| place.set(actor),
        )
        .backoff(quick);
        let (supervisor, _join) = SupervisorHandle::start(vec![spec]).await.unwrap();
        let desired = receiver;
        Self {
            supervisor,
            subscriber,
            desired,
            status,
            book,
            certificates,
            granted,
            challenges,
            identity_dir,
        }
    }

    async fn at(&mut self, revision: u64) -> Arc<Desired> {
        let wanted = self.desired.wait_for(|desired| desired.revision == Revision(revision));
        Arc::clone(&*soon(wanted).await.unwrap())
    }
}

fn ports(desired: &Desired) -> BTreeMap<String, u16> {
    let of = |service: &model::Service| service.endpoints[0].port;
    desired.config.services().map(|(key, service)| (key.name.clone(), of(service))).collect()
}

fn expect_ports(desired: &Desired, expected: &[(&str, u16)]) {
    let expected = expected.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect();
    assert_eq!(ports(desired), expected);
}

#[tokio::test]
async fn a_snapshot_deltas_and_health_reach_the_engines_and_reports_go_back() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let control = Control::start(&ca, 1);
    let mut plane = Plane::start(&ca, vec![control.address()], Desired::default()).await;
    let (mut served, reports) = control.serve().await;
    assert_eq!((served.resume.as_ref(), reports), (None, vec![]));
    served.snapshot(4, vec![service("a", 1), service("b", 1)]).await;
    expect_ports(&*plane.at(4).await, &[("a", 1), ("b", 1)]);
    served.say(delta(4, 6, vec![service("c", 1), service("b", 2)], vec![key("a")])).await;
    expect_ports(&*plane.at(6).await, &[("b", 2), ("c", 1)]);

    let endpoint = model::EndpointId { service: key("b"), address: "192.0.2.1:2".parse().unwrap() };
    let update = HealthUpdate { unhealthy: vec![endpoint.clone()], panicking: vec![] };
    served.say(ToPlane::Health(update)).await;
    let sick = plane.desired.wait_for(|desired| desired.unhealthy.contains(&endpoint));
    assert_eq!(soon(sick).await.unwrap().changed, crate::Changed::Health);

    let report = EngineReport::new(Engine::Envoy, Revision(6), AckState::Applied);
    plane.book.sender.send(report.clone()).await.unwrap();
    assert_eq!(served.reports().await, std::slice::from_ref(&report));
    served.say(ToPlane::Ping).await;
    assert_eq!(soon(served.reader.read()).await.unwrap(), Some(FromPlane::Pong));

    // Control goes away: the last configuration and health stay; a new session resumes and gets
    // all reports again.
    served.connection.close(0u32.into(), b"test");
    let (again, reports) = control.serve().await;
    assert_eq!(again.resume.unwrap().revision, Revision(6));
    assert_eq!(reports, [report]);
    assert!(plane.desired.borrow().unhealthy.contains(&endpoint));
    plane.supervisor.stop("test over").await;
}

#[tokio::test]
async fn modules_come_in_parts_and_are_kept_while_the_store_or_the_configuration_has_them() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let control = Control::start(&ca, 1);
    let mut plane = Plane::start(&ca, vec![control.address()], Desired::default()).await;
    let (mut served, _) = control.serve().await;
    assert_eq!(served.modules, []);
    let code = wat::parse_str(
        r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
           (func (export "malloc") (param i32) (result i32) (i32.const 0)))"#,
    )
    .unwrap();
    let id = runtime::filter_code::sha256(&code);
    let object = json!({"kind": "FilterModule", "metadata": {"name": "a"},
        "spec": {"targetRefs": [{"kind": "Listener", "name": "web"}], "sha256": id.to_string()}});
    let part = |id: ModuleId, part: u32, bytes: &[u8]| {
        let data = STANDARD.encode(bytes);
        ToPlane::ModulePart(ModulePart { module: id, part, parts: 2, data })
    };
    let file = ModuleFile { sha256: id, memory_limit_mib: 32 };
    let (first, second) = code.split_at(10);

    // Of one that was damaged on its way nothing is left.
    served.say(part(id, 0, first)).await;
    served.say(part(id, 1, first)).await;
    served.snapshot(4, vec![object]).await;
    assert!(plane.at(4).await.modules.is_empty());
    served.say(part(id, 0, first)).await;
    served.say(delta(4, 5, vec![service("a", 1)], vec![])).await;
    assert!(plane.at(5).await.modules.is_empty(), "a part is not enough");
    served.say(part(id, 1, second)).await;
    let came = plane.desired.wait_for(|desired| desired.modules.contains(&file));
    assert_eq!(soon(came).await.unwrap().changed, crate::Changed::Modules);

    // The configuration names it.
    served.say(ToPlane::Modules { stored: vec![] }).await;
    served.done().await;
    drop(served);
    let (mut served, _) = control.serve().await;
    assert_eq!(served.modules, [id]);
    let key = ObjectKey::new(model::Kind::FilterModule, "default", "a");
    served.say(delta(5, 6, vec![], vec![key])).await;
    served.say(ToPlane::Modules { stored: vec![id] }).await;
    served.done().await;
    drop(served);
    let (mut served, _) = control.serve().await;
    assert_eq!(served.modules, [id]);
    served.say(ToPlane::Modules { stored: vec![] }).await;
    served.done().await;
    drop(served);
    let (mut served, _) = control.serve().await;
    assert_eq!(served.modules, []);

    // Parts out of order end the session, and what had come of the module is forgotten.
    served.say(part(id, 1, second)).await;
    let (mut served, _) = control.serve().await;
    served.say(part(id, 0, first)).await;
    served.say(part(id, 1, second)).await;
    served.done().await;
    drop(served);
    assert_eq!(control.serve().await.0.modules, [id]);
    plane.supervisor.stop("test over").await;
}

#[tokio::test]
async fn a_gap_is_answered_by_asking_for_everything() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let control = Control::start(&ca, 1);
    let mut plane = Plane::start(&ca, vec![control.address()], Desired::default()).await;
    let (mut served, _) = control.serve().await;
    served.snapshot(4, vec![service("a", 1)]).await;
    plane.at(4).await;
    served.say(delta(5, 6, vec![service("b", 1)], vec![])).await;
    let (mut served, _) = control.serve().await;
    assert_eq!(served.resume, None);
    expect_ports(&plane.desired.borrow().clone(), &[("a", 1)]);
    served.snapshot(6, vec![service("b", 1)]).await;
    expect_ports(&*plane.at(6).await, &[("b", 1)]);
    plane.supervisor.stop("test over").await;
}

#[tokio::test]
async fn an_object_that_is_not_valid_here_changes_nothing_and_is_told() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let control = Control::start(&ca, 1);
    let mut plane = Plane::start(&ca, vec![control.address()], Desired::default()).await;
    let (mut served, _) = control.serve().await;
    served.snapshot(4, vec![service("a", 1)]).await;
    plane.at(4).await;
    let bad = json!({"kind": "Service", "metadata": {"name": "x"}, "spec": {"nonsense": 1}});
    served.say(delta(4, 5, vec![service("b", 1), bad], vec![])).await;
    let (again, _) = control.serve().await;
    assert_eq!(again.resume.unwrap().revision, Revision(4));
    expect_ports(&plane.desired.borrow().clone(), &[("a", 1)]);
    let words = plane.status.borrow().last_error.clone().unwrap();
    assert!(words.contains("nonsense"), "{words}");
    plane.supervisor.stop("test over").await;
}

#[tokio::test]
async fn the_next_control_node_is_tried_and_a_strange_one_is_refused_with_its_cluster() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let other = Authority::create(ClusterId::random()).unwrap();
    let stranger = Control::start(&other, 1);
    let control = Control::start(&ca, 2);
    let addresses = vec![stranger.address(), control.address()];
    let plane = Plane::start(&ca, addresses, Desired::default()).await;
    let (refused, (served, _)) =
        tokio::join!(async { stranger.endpoint.accept().await.unwrap().await }, control.serve());
    assert!(refused.is_err());
    let status = plane.status.borrow().clone();
    assert_eq!(status.node, Some(NodeId(2)));
    let words = status.last_error.unwrap();
    assert!(words.contains(other.cluster().as_str()), "{words}");
    drop(served);
    plane.supervisor.stop("test over").await;
}

#[tokio::test]
async fn the_words_with_which_a_control_node_closes_are_told() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let control = Control::start(&ca, 1);
    let mut plane = Plane::start(&ca, vec![control.address()], Desired::default()).await;
    let (served, _) = control.serve().await;
    served.connection.close(1u32.into(), b"not you");
    let told = |status: &PushStatus| {
        status.last_error.as_ref().is_some_and(|words| words.contains("not you"))
    };
    soon(plane.status.wait_for(told)).await.unwrap();
    plane.supervisor.stop("test over").await;
}

#[tokio::test]
async fn a_killed_subscriber_is_repaired_and_resumes_what_stands() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let control = Control::start(&ca, 1);
    let mut plane = Plane::start(&ca, vec![control.address()], Desired::default()).await;
    let (mut served, _) = control.serve().await;
    served.snapshot(4, vec![service("a", 1)]).await;
    plane.at(4).await;
    plane.subscriber.get().unwrap().kill();
    let (mut served, _) = control.serve().await;
    assert_eq!(served.resume.as_ref().unwrap().revision, Revision(4));
    served.say(delta(4, 5, vec![], vec![key("a")])).await;
    expect_ports(&*plane.at(5).await, &[]);
    assert_eq!(plane.supervisor.status().borrow()[0].restarts, 1);
    plane.supervisor.stop("test over").await;
}

#[tokio::test]
async fn many_reports_while_nobody_listens_are_one_when_somebody_does() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let control = Control::start(&ca, 1);
    let plane = Plane::start(&ca, vec![control.address()], Desired::default()).await;
    let sender: mpsc::Sender<EngineReport> = plane.book.sender.clone();
    for revision in 1..=500 {
        let report = EngineReport::new(Engine::Xdp, Revision(revision), AckState::Applied);
        soon(sender.send(report)).await.unwrap();
    }
    let mut newest = plane.book.newest.clone();
    let last = newest.wait_for(|all| all.get(&Engine::Xdp).is_some_and(|r| r.revision.0 == 500));
    soon(last).await.unwrap();
    let (_served, reports) = control.serve().await;
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].revision, Revision(500));
    plane.supervisor.stop("test over").await;
}

#[tokio::test]
async fn a_session_outlives_its_certificate_and_the_next_one_shows_the_renewed() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let control = Control::start(&ca, 1);
    // Valid for longer than the first session takes to stand.
    let first = node_for(&ca, 9, Role::DataPlane, Duration::from_secs(4));
    let mut plane = Plane::start_as(&first, vec![control.address()], Desired::default()).await;
    let (mut served, _) = control.serve().await;
    let over = async {
        while SystemTime::now() < first.expires() + Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon(over).await;
    served.snapshot(4, vec![service("a", 1)]).await;
    plane.at(4).await;

    // With what it has it is refused, and says why.
    served.connection.close(0u32.into(), b"test");
    let refused = soon(async { control.endpoint.accept().await.unwrap().await }).await;
    assert!(refused.is_err());
    let expired = |status: &PushStatus| {
        status.last_error.as_ref().is_some_and(|words| words.contains("expired"))
    };
    soon(plane.status.wait_for(expired)).await.unwrap();

    let renewed = node(&ca, 9, Role::DataPlane);
    renewed.save(plane.identity_dir.path()).unwrap();
    let (served, _) = loop {
        // Attempts from before the renewal may still be on their way.
        let incoming = soon(control.endpoint.accept()).await.unwrap();
        if let Ok(connection) = soon(async { incoming.await }).await {
            break control.greet(connection).await;
        }
    };
    assert_eq!(served.resume.as_ref().unwrap().revision, Revision(4));
    let shown = served.connection.peer_identity().unwrap();
    let shown = shown.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap();
    assert_eq!(shown[0], *renewed.certified_key().certificate());
    plane.supervisor.stop("test over").await;
}
