//! One data plane's L7 half: the configuration server and Envoy, supervised as in production.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use dataplane::{
    Changed, Desired, Modules,
    acme::Challenges,
    envoy::{
        Admin, EnvoyActor, EnvoyArguments, EnvoyMessage, Life, Restart, RestartError, admin_socket,
        find,
    },
    l7::Settings,
    quotas::Quotas,
    xdp::L4Placement,
    xds::{CrashLimits, Transferred, XdsActor, XdsArguments},
};
use model::{AckState, EndpointId, EngineReport, ModuleId, ObjectKey, Refusal, Revision, Snapshot};
use ractor::{ActorCell, rpc::CallResult};
use runtime::supervision::{ChildSpec, Current, SupervisorHandle};
use tokio::sync::{mpsc, watch};

/// Nothing here takes longer unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// How long Envoy has to live with a configuration before it stands in for one that it crashes with.
pub(crate) const PROVEN_AFTER: Duration = Duration::from_millis(500);

pub(crate) struct Plane {
    pub(crate) directory: tempfile::TempDir,
    supervisor: SupervisorHandle,
    xds: Arc<Mutex<Option<ActorCell>>>,
    desired: watch::Sender<Arc<Desired>>,
    pub(crate) placement: watch::Sender<Arc<L4Placement>>,
    report: watch::Receiver<Option<EngineReport>>,
    pub(crate) config: Snapshot,
    modules: Modules,
    pub(crate) transferred: Arc<Transferred>,
    pub(crate) life: Life,
    pub(crate) challenges: watch::Sender<Arc<Challenges>>,
    pub(crate) quotas: Quotas,
    envoy: Current<EnvoyMessage>,
}

impl Plane {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts with other settings of Envoy.
    pub(crate) async fn start_with(settings: impl FnOnce(&mut EnvoyArguments)) -> Self {
        if let Err(error) = find(None) {
            panic!("{error}");
        }
        let directory = tempfile::tempdir().unwrap();
        let (desired, desired_receiver) = watch::channel(Arc::new(Desired::default()));
        let (placement, placements) = watch::channel(Arc::new(L4Placement::default()));
        let (reports, mut reported) = mpsc::channel(16);
        let (latest, report) = watch::channel(None);
        tokio::spawn(async move {
            while let Some(report) = reported.recv().await {
                latest.send_replace(Some(report));
            }
        });
        let socket = directory.path().join("xds.sock");
        let transferred = Arc::new(Transferred::default());
        let life = Life::default();
        let challenges = watch::Sender::default();
        // However busy the machine is; Envoy waits for 250 ms.
        let quotas = Quotas::with_patience(Duration::from_millis(200));
        let xds = XdsArguments {
            desired: desired_receiver,
            placement: placements,
            reports: reports.clone(),
            socket: socket.clone(),
            envoy_admin: admin_socket(directory.path()),
            challenges: challenges.subscribe(),
            quotas: quotas.clone(),
            settings: Settings {
                any_address: Ipv4Addr::LOCALHOST.into(),
                certificates: directory.path().join("certificates"),
                modules: directory.path().join("modules"),
                ..Settings::default() //
            },
            ledger: Arc::new(Mutex::default()),
            standing: watch::Sender::default(),
            transferred: transferred.clone(),
            leading: life.leading.subscribe(),
            crashes: life.crashes.subscribe(),
            crash_limits: CrashLimits { proven_after: PROVEN_AFTER, ..CrashLimits::default() },
        };
        let mut envoy = EnvoyArguments {
            binary: None,
            run_dir: directory.path().to_owned(),
            xds_socket: socket,
            node: "node-1".into(),
            cluster: "test".into(),
            concurrency: Some(1),
            memory: None,
            drain: Duration::from_secs(1),
            reports,
            life: life.clone(),
        };
        settings(&mut envoy);
        let current = Current::new();
        let running = current.clone();
        let xds_actor = Arc::new(Mutex::new(None));
        let observed = xds_actor.clone();
        let children = vec![
            ChildSpec::observed_actor(
                "xds",
                move || (XdsActor, xds.clone()),
                move |actor| *observed.lock().unwrap() = Some(actor.get_cell()),
            ),
            ChildSpec::observed_actor(
                "envoy",
                move || (EnvoyActor, envoy.clone()),
                move |actor| running.set(actor),
            ),
        ];
        let (supervisor, _) = SupervisorHandle::start(children).await.unwrap();
        let config = Snapshot::default();
        let modules = Modules::new(&directory.path().join("modules"));
        Self {
            xds: xds_actor,
            directory,
            supervisor,
            desired,
            placement,
            report,
            config,
            modules,
            transferred,
            life,
            challenges,
            quotas,
            envoy: current,
        }
    }

    /// Starts with a first configuration and waits until it is applied.
    pub(crate) async fn with(yaml: &str) -> Self {
        let mut plane = Self::start().await;
        plane.apply(yaml).await;
        plane
    }

    /// Publishes objects as one revision; does not wait.
    pub(crate) fn publish(&mut self, yaml: &str) -> Revision {
        for object in model::parse::parse_documents(yaml).unwrap() {
            self.config.put(Arc::new(object));
        }
        self.next()
    }

    /// Publishes objects and waits until Envoy has applied them.
    pub(crate) async fn apply(&mut self, yaml: &str) -> Revision {
        let revision = self.publish(yaml);
        self.applied(revision).await;
        revision
    }

    /// Publishes the removal of objects.
    pub(crate) fn remove(&mut self, keys: &[&str]) -> Revision {
        for key in keys {
            assert!(self.config.remove(&key.parse::<ObjectKey>().unwrap()), "{key}");
        }
        self.next()
    }

    /// Publishes what `config` holds.
    pub(crate) fn next(&mut self) -> Revision {
        let revision = Revision(self.config.revision().0 + 1);
        self.config.set_revision(revision);
        self.desired.send_replace(Arc::new(self.wanted(Changed::Delta)));
        revision
    }

    /// Keeps a module.
    pub(crate) fn keep(&self, code: &[u8]) -> ModuleId {
        let id = runtime::filter_code::sha256(code);
        self.modules.keep(id, code).unwrap();
        id
    }

    /// Publishes which modules are there, without a new revision.
    pub(crate) fn modules_came(&self) {
        self.desired.send_replace(Arc::new(self.wanted(Changed::Modules)));
    }

    fn wanted(&self, changed: Changed) -> Desired {
        let modules = Arc::new(self.modules.prepare(&self.config).unwrap());
        Desired { modules, ..Desired::of(self.config.clone(), changed) }
    }

    /// Publishes which endpoints fail, without a new revision.
    pub(crate) fn unhealthy(&mut self, unhealthy: impl IntoIterator<Item = EndpointId>) {
        let unhealthy = Arc::new(unhealthy.into_iter().collect());
        let desired = Desired::of(self.config.clone(), Changed::Health);
        self.desired.send_replace(Arc::new(Desired { unhealthy, ..desired }));
    }

    /// Waits for an answer to a revision.
    pub(crate) async fn answer(&self, revision: Revision) -> EngineReport {
        let mut report = self.report.clone();
        let answered = report.wait_for(|report| {
            report.as_ref().is_some_and(|report| {
                report.revision >= revision && !matches!(report.ack, AckState::Unavailable { .. })
            })
        });
        let answered = tokio::time::timeout(DEADLINE, answered).await;
        let answered = answered.unwrap_or_else(|_| {
            panic!("no answer to revision {revision}; the last: {:?}", self.report.borrow())
        });
        answered.unwrap().clone().unwrap()
    }

    pub(crate) async fn applied(&self, revision: Revision) {
        let report = self.answer(revision).await;
        assert_eq!(report.ack, AckState::Applied, "{report:?}");
    }

    pub(crate) async fn refused(&self, revision: Revision) -> Vec<Refusal> {
        match self.answer(revision).await.ack {
            AckState::Refused { refusals } => refusals,
            other => panic!("revision {revision} is {other:?}"),
        }
    }

    pub(crate) fn report(&self) -> watch::Receiver<Option<EngineReport>> {
        self.report.clone()
    }

    pub(crate) fn admin(&self) -> Admin {
        Admin::new(&self.directory.path().join("envoy-admin.sock"))
    }

    pub(crate) fn pid(&self) -> i32 {
        let path: PathBuf = self.directory.path().join("envoy.pid");
        std::fs::read_to_string(path).unwrap().parse().unwrap()
    }

    /// Reads a counter or gauge of Envoy's.
    pub(crate) async fn statistic(&self, name: &str) -> Option<u64> {
        let text = self.admin().get(&format!("/stats?filter=^{name}$")).await.ok()?;
        let text = String::from_utf8(text.to_vec()).ok()?;
        text.trim().rsplit_once(": ")?.1.parse().ok()
    }

    /// Resources and bytes sent so far.
    pub(crate) fn sent(&self) -> (u64, u64) {
        let load = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
        (load(&self.transferred.resources), load(&self.transferred.bytes))
    }

    /// What was sent so far.
    pub(crate) fn counts(&self) -> Counts {
        let load = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
        Counts {
            responses: load(&self.transferred.responses),
            resources: load(&self.transferred.resources),
            bytes: load(&self.transferred.bytes),
        }
    }

    /// Kills the configuration server; its supervisor starts another.
    pub(crate) async fn restart_xds(&mut self) {
        let mut report = self.report.clone();
        let killed = self.xds.lock().unwrap().take().expect("it was started");
        killed.kill();
        let lost = report.wait_for(|report| {
            report.as_ref().is_some_and(|report| matches!(report.ack, AckState::Unavailable { .. }))
        });
        // A killed actor may not get to say so.
        let _ = tokio::time::timeout(Duration::from_millis(500), lost).await;
        eventually("another server", async || self.xds.lock().unwrap().is_some().then_some(()))
            .await;
    }

    /// Replaces Envoy by another one that takes over.
    pub(crate) async fn restart_envoy(&self, restart: Restart) -> Result<(), RestartError> {
        let message = |reply| EnvoyMessage::Restart { restart, reply: Some(reply) };
        match self.envoy.get().unwrap().call(message, Some(DEADLINE)).await {
            Ok(CallResult::Success(answer)) => answer,
            other => panic!("no answer: {other:?}"),
        }
    }

    pub(crate) async fn stop(self) {
        self.supervisor.stop("the test is over").await;
    }
}

/// What was sent to Envoy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) responses: u64,
    pub(crate) resources: u64,
    pub(crate) bytes: u64,
}

/// Repeats `probe` until it gives something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let start = std::time::Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Finds a TCP port that is free for the moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub(crate) fn http_listener(port: u16) -> String {
    format!("kind: Listener\nmetadata: {{ name: web }}\nspec: {{ protocol: HTTP, port: {port} }}\n")
}

pub(crate) fn service(name: &str, ports: &[u16]) -> String {
    let endpoints: Vec<String> =
        ports.iter().map(|port| format!("{{ address: 127.0.0.1, port: {port} }}")).collect();
    format!(
        "---\nkind: Service\nmetadata: {{ name: {name} }}\nspec: {{ endpoints: [{}] }}\n",
        endpoints.join(", ")
    )
}

pub(crate) fn route(name: &str, host: &str, rules: &str) -> String {
    format!(
        "---\nkind: HTTPRoute\nmetadata: {{ name: {name} }}\nspec:\n  listeners: [{{ name: web }}]\n  \
         hosts: [\"{host}\"]\n  rules:\n{rules}\n"
    )
}

pub(crate) fn to(service: &str) -> String {
    format!("    - backends: [{{ service: {{ name: {service} }} }}]")
}
