//! One canary: a configuration server and an Envoy, supervised as the node's are.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use model::{AckState, EngineReport, ModuleFile, Refusal, Revision, Snapshot};
use runtime::{
    durable,
    supervision::{ChildSpec, RestartBudget, SupervisorHandle},
};
use tokio::sync::{mpsc, watch};

use super::{PreflightArguments, PreflightError};
use crate::{
    desired::{Changed, Desired},
    envoy::{self, EnvoyActor, EnvoyArguments, Life},
    l7::Settings,
    quotas::Quotas,
    tasks::Task,
    xds::{CrashLimits, Crashes, Transferred, XdsActor, XdsArguments},
};

/// Reports on their way; only the newest counts.
const REPORTS_QUEUED_MAX: usize = 16;
/// It has no requests to wait for.
const DRAIN: Duration = Duration::from_secs(1);
/// A canary that crashes more often is ended; the next question starts another one.
const BUDGET: RestartBudget = RestartBudget { max_restarts: 5, window: Duration::from_secs(60) };

/// A canary that runs.
#[derive(Debug)]
pub(super) struct Canary {
    supervisor: SupervisorHandle,
    desired: watch::Sender<Arc<Desired>>,
    report: watch::Receiver<Option<EngineReport>>,
    crashes: watch::Receiver<Crashes>,
    /// Counts the questions; its revisions are nobody else's.
    asked: Revision,
    _reports: Task,
}

impl Canary {
    pub(super) async fn start(arguments: &PreflightArguments) -> Result<Self, PreflightError> {
        let none = |reason: String| PreflightError::NoCanary { reason };
        durable::private_directory(&arguments.run_dir).map_err(|error| none(error.to_string()))?;
        let binary = arguments.binary.clone();
        let found = tokio::task::spawn_blocking(move || envoy::find(binary.as_deref())).await;
        let found = found.map_err(|error| none(error.to_string()))?;
        found.map_err(|error| none(error.to_string()))?;
        let life = Life::canary();
        let (desired, desired_receiver) = watch::channel(Arc::default());
        let (reports, mut reported) = mpsc::channel(REPORTS_QUEUED_MAX);
        let (newest, report) = watch::channel(None);
        let forwarding = Task::spawn(async move {
            while let Some(report) = reported.recv().await {
                newest.send_replace(Some(report));
            }
        });
        let socket = arguments.run_dir.join("xds.sock");
        let xds = XdsArguments {
            desired: desired_receiver,
            // What XDP has not decided on yet may be Envoy's to carry.
            placement: arguments.placement.clone(),
            reports: reports.clone(),
            socket: socket.clone(),
            envoy_admin: envoy::admin_socket(&arguments.run_dir),
            challenges: watch::Sender::default().subscribe(),
            // Nobody asks.
            quotas: Quotas::default(),
            settings: Settings { opens_ports: false, ..arguments.settings.clone() },
            ledger: Arc::new(Mutex::default()),
            standing: watch::Sender::default(),
            transferred: Arc::new(Transferred { untold: true, ..Transferred::default() }),
            leading: life.leading.subscribe(),
            crashes: life.crashes.subscribe(),
            crash_limits: CrashLimits::default(),
        };
        let crashes = life.crashes.subscribe();
        let envoy = EnvoyArguments {
            binary: arguments.binary.clone(),
            run_dir: arguments.run_dir.clone(),
            xds_socket: socket,
            node: arguments.node.clone(),
            cluster: arguments.cluster.clone(),
            concurrency: Some(1),
            memory: None,
            drain: DRAIN,
            reports,
            life,
        };
        let children = vec![
            ChildSpec::actor("preflight xds", move || (XdsActor, xds.clone())).budget(BUDGET),
            ChildSpec::actor("preflight envoy", move || (EnvoyActor, envoy.clone())).budget(BUDGET),
        ];
        let started = SupervisorHandle::start(children).await;
        let (supervisor, _) = started.map_err(|error| none(error.to_string()))?;
        tracing::info!("an envoy runs on which configurations are tried");
        let asked = Revision::ZERO;
        Ok(Self { supervisor, desired, report, crashes, asked, _reports: forwarding })
    }

    /// Tells whether it is worth asking.
    pub(super) fn runs(&self) -> bool {
        self.supervisor.failure().is_none()
    }

    /// Has Envoy take a configuration; returns what it refuses of it. Safe to cancel.
    pub(super) async fn ask(
        &mut self,
        config: &Snapshot,
        modules: &Arc<BTreeSet<ModuleFile>>,
    ) -> Result<Vec<Refusal>, PreflightError> {
        self.asked = Revision(self.asked.0 + 1);
        let asked = self.asked;
        let mut config = config.clone();
        config.set_revision(asked);
        self.crashes.mark_unchanged();
        let desired = Desired::of(config, Changed::Delta);
        self.desired.send_replace(Arc::new(Desired { modules: modules.clone(), ..desired }));
        let answered = self.report.wait_for(|report| {
            report.as_ref().is_some_and(|report| {
                let answers = matches!(report.ack, AckState::Applied | AckState::Refused { .. });
                report.revision == asked && answers
            })
        });
        let gone = || PreflightError::NoCanary { reason: "it has ended".to_owned() };
        tokio::select! {
            report = answered => match report.map_err(|_| gone())?.as_ref().map(|it| &it.ack) {
                Some(AckState::Refused { refusals }) => Ok(refusals.clone()),
                _ => Ok(Vec::new()),
            },
            crashed = self.crashes.changed() => {
                crashed.map_err(|_| gone())?;
                let exit = self.crashes.borrow_and_update().exit.clone();
                Ok(vec![crash(&exit)])
            }
        }
    }

    pub(super) async fn stop(self) {
        self.supervisor.stop("the data plane stops").await;
    }
}

fn crash(exit: &str) -> Refusal {
    Refusal {
        object: None,
        field: String::new(),
        resource: "process".to_owned(),
        message: format!("Envoy {exit} when it was told this configuration"),
    }
}
