//! The data plane's root: puts the actors together, supervises them, and ends in good order.
//!
//! ```text
//! root ─┬ xdp         kernel program and maps          restarted under the default budget
//!       ├ flows       events of single packets         default
//!       ├ xds         Envoy's configuration server     default
//!       ├ envoy       the Envoy process                retried for ever, at growing waits
//!       ├ subscriber  session with a control node      default
//!       ├ announce    addresses of the link            default
//!       ├ recorder    last known good and refusals     default
//!       └ admin       metrics and status               default
//! ```
//! What must survive an actor stands here, in channels and locks that each incarnation is given:
//! the desired state, the reports, the accepted resources, the store. An exhausted budget ends the
//! process with its reason; whoever started it starts it again, and traffic that is in the kernel
//! goes on meanwhile.

mod children;
mod status;

use std::{
    sync::{Arc, Mutex as Lock, OnceLock},
    time::{Duration, Instant},
};

use model::{AckState, Engine};
use runtime::{
    chain::chain,
    durable::{self, DurableError},
    identity::{IdentityError, NodeIdentity, PeerIdentity, Role},
    process::{LockError, PidLock},
    push::PlaneInfo,
    supervision::{Current, SupervisorHandle},
    telemetry::Metrics,
    tls::{SavedIdentity, TlsError},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Mutex, watch},
    task::JoinHandle,
};

use crate::{
    certificates::Certificates,
    config::Config,
    desired::{Changed, Desired, DesiredReceiver},
    envoy::Life,
    hand_over::HandOver,
    lkg::{RecorderStatus, RefusalStore, Store, StoreError},
    modules::Modules,
    preflight::{Preflight, PreflightArguments},
    quotas::Quotas,
    subscriber::{PushStatus, ReportBook, Reports},
    tasks::Task,
    xdp::{
        L4Placement,
        actor::SharedEngine,
        flows::{FlowHub, FlowNames},
        pins::PinsError,
        traffic::Series,
    },
    xds::Ledger,
};

pub use status::Status;

/// Why a data plane did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No control node is named.
    #[error("no control node to follow: name at least one push address")]
    NoControl,
    /// The run directory cannot be made.
    #[error(transparent)]
    RunDirectory(#[from] DurableError),
    /// Another data plane runs with this run directory, or the lock cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The identity cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The identity cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no identity.
    #[error("{} holds no identity: join a cluster first", directory.display())]
    NoIdentity {
        /// Where it was looked for.
        directory: std::path::PathBuf,
    },
    /// The identity is of another role.
    #[error("the identity is {found}, not a data plane's")]
    OtherRole {
        /// Whom it names.
        found: PeerIdentity,
    },
    /// The directory of the last known good configuration cannot be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The XDP pins have no usable name.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// An actor did not start.
    #[error("the data plane does not start: {reason}")]
    Start {
        /// Which, and why.
        reason: String,
    },
    /// An actor failed more often than it may.
    #[error("the data plane gives up: {reason}")]
    GivenUp {
        /// Which, and why.
        reason: String,
    },
    /// Signals cannot be received.
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
}

/// A start has better uses for the CPU than the canary.
const AFTER_THE_START: Duration = Duration::from_secs(5);

/// A running data plane.
#[derive(Debug)]
pub struct DataPlane {
    supervisor: SupervisorHandle,
    ended: JoinHandle<()>,
    status: Arc<Status>,
    hand_over: HandOver,
    _reports: ReportBook,
    _warming: Task,
    /// Held to the end, so that a second data plane does not start while this one drains.
    _lock: PidLock,
}

/// Runs a data plane until SIGTERM or SIGINT, then drains and stops it; or until SIGHUP, or being
/// asked, then leaves what it runs to the next one.
///
/// # Errors
/// It does not start, or it gives up.
pub async fn run(config: Config, metrics: Metrics) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(RunError::Signals)?;
    let mut plane = DataPlane::start(config, metrics).await?;
    let hand_over = plane.hand_over.clone();
    let reason = tokio::select! {
        reason = plane.given_up() => return Err(RunError::GivenUp { reason }),
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        _ = hang_up.recv() => return leave(plane, "SIGHUP").await,
        () = hand_over.asked() => return leave(plane, "it was asked to").await,
    };
    tracing::info!(reason, "draining");
    plane.stop(reason).await;
    tracing::info!("stopped");
    Ok(())
}

async fn leave(plane: DataPlane, reason: &str) -> Result<(), RunError> {
    tracing::info!(reason, "handing over");
    plane.leave(reason).await;
    tracing::info!("handed over");
    Ok(())
}

impl DataPlane {
    /// Starts all actors. The engines begin with the last known good configuration, before any
    /// control node has answered.
    ///
    /// # Errors
    /// See [`RunError`]; nothing is left running then.
    pub async fn start(config: Config, metrics: Metrics) -> Result<Self, RunError> {
        if config.control.is_empty() {
            return Err(RunError::NoControl);
        }
        durable::private_directory(&config.run_dir)?;
        let lock = PidLock::acquire(&config.lock_file())?;
        let identity = identity(&config)?;
        let (store, restored) = Store::open(&config.state_dir, identity.cluster().clone())?;
        let (refusals, standing) =
            RefusalStore::open(&config.state_dir, identity.cluster().clone());
        let certificates = Certificates::new(&config.certificates_dir());
        let modules = Modules::new(&config.modules_dir());
        let mut desired = match restored {
            Some(config) => Desired::of(config, Changed::Restored),
            None => Desired::default(),
        };
        if let Err(error) = certificates.stand_in(&desired.config) {
            tracing::error!(error = %chain(&error), "a certificate has nothing in its place");
        }
        match modules.prepare(&desired.config) {
            Ok(ready) => desired.modules = Arc::new(ready),
            Err(error) => tracing::error!(error = %chain(&error), "modules cannot be read"),
        }
        crate::metrics::describe();
        tracing::info!(peer = %identity.peer(), revision = %desired.revision,
            objects = desired.config.len(), refusals = standing.0.len(), "data plane starts");

        let (desired, desired_receiver) = watch::channel(Arc::new(desired));
        let (push, push_receiver) = watch::channel(PushStatus::default());
        let (recorder, recorder_receiver) = watch::channel(RecorderStatus::default());
        let placement = if config.interfaces.is_empty() {
            L4Placement::default()
        } else {
            L4Placement::undecided()
        };
        let (placement, placement_receiver) = watch::channel(Arc::new(placement));
        let (names, _) = watch::channel(FlowNames::default());
        let challenges = watch::Sender::default();
        let (loan, _) = watch::channel(None);
        let (uses, _) = watch::channel(Arc::default());
        let (series, series_receiver) = watch::channel(Series::default());
        let flows = FlowHub::new(identity.node());
        let engine = SharedEngine::default();
        let ledger = Ledger::restore(Instant::now(), &standing);
        let (standing, _) = watch::channel(Arc::new(standing));
        let reports = ReportBook::open();
        let (granted, _) = watch::channel(None);
        let (addresses, addresses_receiver) = watch::channel(Arc::default());
        let life = Life::new(config.keeping());
        let envoy = Current::new();
        let plane = PlaneInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: host_name(),
            pid: std::process::id(),
        };
        let status = Arc::new(Status {
            plane: plane.clone(),
            peer: identity.peer().clone(),
            metrics,
            desired: desired_receiver.clone(),
            push: push_receiver,
            recorder: recorder_receiver,
            reports: reports.newest.clone(),
            placement: placement_receiver.clone(),
            addresses: addresses_receiver,
            series: series_receiver,
            flows: flows.clone(),
            engine: Arc::clone(&engine),
            explaining: Mutex::default(),
            envoy: envoy.clone(),
            life: life.clone(),
            preflight: Preflight::new(PreflightArguments {
                desired: desired_receiver.clone(),
                placement: placement_receiver.clone(),
                run_dir: config.run_dir.join("preflight"),
                binary: config.envoy.clone(),
                node: format!("node-{}", identity.node()),
                cluster: identity.cluster().to_string(),
                settings: children::l7_settings(&config),
                certificates: certificates.clone(),
                modules: modules.clone(),
            }),
            supervisor: OnceLock::new(),
        });
        let parts = children::Parts {
            identity: SavedIdentity::new(config.identity_dir.clone(), &identity)?,
            config,
            certificates,
            modules,
            plane,
            desired: Arc::new(desired),
            desired_receiver,
            push: Arc::new(push),
            store: Arc::new(Mutex::new(store)),
            refusals: Arc::new(Mutex::new(refusals)),
            ledger: Arc::new(Lock::new(ledger)),
            standing,
            recorder,
            placement,
            placement_receiver,
            names,
            challenges,
            quotas: Quotas::default(),
            loan: Arc::new(loan),
            uses,
            series,
            flows,
            engine,
            reports: reports.sender.clone(),
            newest: reports.newest.clone(),
            granted: Arc::new(granted),
            addresses: Arc::new(addresses),
            life,
            envoy,
            status: Arc::clone(&status),
        };
        let hand_over = status.life.hand_over.clone();
        let (supervisor, ended) = SupervisorHandle::start(children::specs(parts)?)
            .await
            .map_err(|error| RunError::Start { reason: start_reason(error) })?;
        // Set once, here; the page shows no actors for the moment before.
        let _ = status.supervisor.set(supervisor.clone());
        let warming = warm(status.preflight.clone(), reports.newest.clone());
        Ok(Self {
            supervisor,
            ended,
            status,
            hand_over,
            _reports: reports,
            _warming: Task::spawn(warming),
            _lock: lock,
        })
    }

    /// How it stands, live.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// What the engines should run, live.
    #[must_use]
    pub fn desired(&self) -> DesiredReceiver {
        self.status.desired.clone()
    }

    /// The root supervisor.
    #[must_use]
    pub fn supervisor(&self) -> &SupervisorHandle {
        &self.supervisor
    }

    /// Waits until the data plane ends by itself, and tells why. Safe to cancel.
    pub async fn given_up(&mut self) -> String {
        // The handle never panics: ractor catches what happens inside.
        let _ = (&mut self.ended).await;
        self.supervisor.failure().unwrap_or_else(|| "the root supervisor ended".to_owned())
    }

    /// Stops all actors and leaves what they run, Envoy and announced addresses, to the next data
    /// plane. Where nobody keeps Envoy, it is drained and ended all the same.
    pub async fn leave(self, reason: &str) {
        self.hand_over.begin();
        self.stop(reason).await;
    }

    /// Drains and stops all actors, the last started first.
    pub async fn stop(self, reason: &str) {
        self.supervisor.stop(reason).await;
        self.status.preflight.stop().await;
    }
}

/// Starts the canary once the node's Envoy has taken its configuration.
async fn warm(preflight: Preflight, mut reports: watch::Receiver<Reports>) {
    let serves = |reports: &Reports| {
        let envoy = reports.get(&Engine::Envoy).map(|report| &report.ack);
        matches!(envoy, Some(AckState::Applied | AckState::Refused { .. }))
    };
    if reports.wait_for(serves).await.is_err() {
        return;
    }
    tokio::time::sleep(AFTER_THE_START).await;
    if let Err(error) = preflight.warm().await {
        tracing::info!(%error, "no envoy to try configurations on yet");
    }
}

fn identity(config: &Config) -> Result<NodeIdentity, RunError> {
    let Some(identity) = NodeIdentity::load(&config.identity_dir)? else {
        return Err(RunError::NoIdentity { directory: config.identity_dir.clone() });
    };
    if identity.role() != Role::DataPlane {
        return Err(RunError::OtherRole { found: identity.peer().clone() });
    }
    Ok(identity)
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

fn start_reason(error: ractor::SpawnErr) -> String {
    match error {
        ractor::SpawnErr::StartupFailed(inner) => inner.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
