//! Owns one Envoy process. Child of the data plane's root, after `xds`.
//!
//! It fails when Envoy ends, and is restarted within the root's budget; the new Envoy is told the
//! accepted configuration by `xds`. Where no Envoy of a supported version is to be had it stays
//! up, reports why, and L7 is not carried. Its own death ends Envoy.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use model::{AckState, Engine, EngineReport, Revision};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use runtime::process::{Exit, Output, Process, ProcessSpec, Tie};
use tokio::sync::mpsc;

use super::{
    admin::Admin,
    binary::{self, Binary, BinaryError},
    bootstrap::Bootstrap,
    orphan,
    stats::{self, Reading},
};
use crate::tasks::Task;

/// How often counters are read; the interval at which Prometheus usually asks.
const STATS_INTERVAL: Duration = Duration::from_secs(15);
/// How often a starting Envoy is asked whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(100);
/// How often a draining Envoy is asked whether requests are left.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);
/// How long Envoy may take to end once it is drained.
const TERMINATE_WITHIN: Duration = Duration::from_secs(3);
/// The share of the host's memory that Envoy's heap may take, as a divisor: three quarters.
const HEAP_SHARE: (u64, u64) = (3, 4);
/// Assumed where the host does not tell its memory.
const HEAP_FALLBACK: u64 = 1 << 30;

/// What the actor is told.
#[derive(Debug)]
pub enum EnvoyMessage {
    /// The process ended.
    Ended(Exit),
    /// It takes traffic.
    BecameReady,
}

/// What an Envoy is started with.
#[derive(Clone, Debug)]
pub struct EnvoyArguments {
    /// The executable, by flag; looked for when absent.
    pub binary: Option<PathBuf>,
    /// Where the sockets, the bootstrap file and the pid file stand; exists, for the owner only.
    pub run_dir: PathBuf,
    /// The configuration server's socket.
    pub xds_socket: PathBuf,
    /// The node's name in Envoy's eyes.
    pub node: String,
    /// The cluster's.
    pub cluster: String,
    /// Worker threads; the number of cores when absent.
    pub concurrency: Option<u32>,
    /// How long open requests may take at a shutdown.
    pub drain: Duration,
    /// Where unavailability goes; acknowledgements come from `xds`.
    pub reports: mpsc::Sender<EngineReport>,
}

impl EnvoyArguments {
    /// Returns where Envoy makes the socket of its admin interface.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        admin_socket(&self.run_dir)
    }

    fn bootstrap_file(&self) -> PathBuf {
        self.run_dir.join("envoy-bootstrap.json")
    }

    fn pid_file(&self) -> PathBuf {
        self.run_dir.join("envoy.pid")
    }
}

/// Returns where the Envoy of a run directory makes the socket of its admin interface.
#[must_use]
pub fn admin_socket(run_dir: &Path) -> PathBuf {
    run_dir.join("envoy-admin.sock")
}

/// The actor.
#[derive(Debug)]
pub struct EnvoyActor;

/// Its process, unless there is no Envoy to run.
#[derive(Debug)]
pub struct EnvoyState {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    admin: Admin,
    drain: Duration,
    _tasks: [Task; 2],
}

impl Actor for EnvoyActor {
    type Msg = EnvoyMessage;
    type State = EnvoyState;
    type Arguments = EnvoyArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<EnvoyMessage>,
        arguments: EnvoyArguments,
    ) -> Result<EnvoyState, ActorProcessingErr> {
        stats::describe();
        metrics::gauge!("marchproxy_envoy_ready").set(0.0);
        let explicit = arguments.binary.clone();
        let found = tokio::task::spawn_blocking(move || binary::find(explicit.as_deref())).await?;
        let running = match found {
            Ok(binary) => Some(start(&binary, &arguments, myself).await?),
            Err(error) => {
                unavailable(&arguments, &error).await;
                None
            }
        };
        Ok(EnvoyState { running })
    }

    async fn handle(
        &self,
        _myself: ActorRef<EnvoyMessage>,
        message: EnvoyMessage,
        _state: &mut EnvoyState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            EnvoyMessage::Ended(exit) => {
                metrics::gauge!("marchproxy_envoy_ready").set(0.0);
                Err(format!("envoy {exit}").into())
            }
            EnvoyMessage::BecameReady => {
                metrics::gauge!("marchproxy_envoy_ready").set(1.0);
                tracing::info!("envoy takes traffic");
                Ok(())
            }
        }
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<EnvoyMessage>,
        state: &mut EnvoyState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(running) = &state.running {
            drain(running).await;
            let exit = running.process.stop(TERMINATE_WITHIN).await;
            tracing::info!(%exit, "envoy stopped");
        }
        Ok(())
    }
}

async fn unavailable(arguments: &EnvoyArguments, error: &BinaryError) {
    let reason = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    tracing::error!(reason, "L7 is not carried");
    let ack = AckState::Unavailable { reason };
    let report =
        EngineReport { engine: Engine::Envoy, revision: Revision::ZERO, ack, notes: Vec::new() };
    // A closed channel means that the data plane stops.
    let _ = arguments.reports.send(report).await;
}

async fn start(
    binary: &Binary,
    arguments: &EnvoyArguments,
    myself: ActorRef<EnvoyMessage>,
) -> Result<Running, ActorProcessingErr> {
    let bootstrap = arguments.bootstrap_file();
    let admin_socket = arguments.admin_socket();
    orphan::end(&arguments.pid_file(), &bootstrap).await?;
    match fs::remove_file(&admin_socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    Bootstrap {
        node: &arguments.node,
        cluster: &arguments.cluster,
        instance: &instance(),
        xds_socket: &arguments.xds_socket,
        admin_socket: &admin_socket,
        heap_bytes_max: heap_bytes_max(),
    }
    .write(&bootstrap)?;
    let process = Process::spawn(&ProcessSpec {
        name: "envoy".to_owned(),
        program: binary.path.clone(),
        arguments: command_line(arguments),
        environment: Vec::new(),
        tie: Tie::DiesWithParent,
        output: Output::Traced,
    })
    .await?;
    orphan::note(&arguments.pid_file(), process.pid())?;
    tracing::info!(version = binary.version, path = %binary.path.display(), "envoy started");
    let admin = Admin::new(&admin_socket);
    let mut exit = process.exit();
    let actor = myself.clone();
    let ended = Task::spawn(async move {
        let exit = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        // The actor may have been stopped meanwhile.
        let _ = actor.cast(EnvoyMessage::Ended(exit.unwrap_or(Exit::Unknown)));
    });
    let watched = Task::spawn(watch(admin.clone(), myself));
    Ok(Running { process, admin, drain: arguments.drain, _tasks: [ended, watched] })
}

fn command_line(arguments: &EnvoyArguments) -> Vec<OsString> {
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let concurrency = arguments.concurrency.unwrap_or_else(cores).max(1);
    let mut line: Vec<OsString> = vec!["--config-path".into(), arguments.bootstrap_file().into()];
    // Hot restart needs memory shared by name; two Envoys of one host would meet there.
    let rest = ["--disable-hot-restart", "--log-level", "warning", "--log-format"];
    line.extend(rest.map(OsString::from));
    line.push("[%l][%n] %v".into());
    line.extend(["--concurrency".into(), concurrency.to_string().into()]);
    line.extend(["--drain-time-s".into(), arguments.drain.as_secs().max(1).to_string().into()]);
    line
}

/// Tells one start from another: this process, and a count within it.
fn instance() -> String {
    static STARTS: AtomicU64 = AtomicU64::new(0);
    format!("{}.{}", std::process::id(), STARTS.fetch_add(1, Ordering::Relaxed))
}

/// Three quarters of the host's memory.
fn heap_bytes_max() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok())
        .map(|kilobytes: u64| kilobytes * 1024);
    total.map_or(HEAP_FALLBACK, |total| total / HEAP_SHARE.1 * HEAP_SHARE.0)
}

/// Tells when Envoy is ready, then reads its counters for as long as it runs.
async fn watch(admin: Admin, actor: ActorRef<EnvoyMessage>) {
    let mut ready = tokio::time::interval(READY_INTERVAL);
    while admin.get("/ready").await.is_err() {
        ready.tick().await;
    }
    if actor.cast(EnvoyMessage::BecameReady).is_err() {
        return;
    }
    let mut ticks = tokio::time::interval(STATS_INTERVAL);
    let mut before = Reading::default();
    loop {
        ticks.tick().await;
        match admin.get(stats::TARGET).await {
            Ok(text) => {
                let reading = Reading::parse(&String::from_utf8_lossy(&text));
                if reading.updates_rejected > before.updates_rejected {
                    tracing::warn!(total = reading.updates_rejected, "envoy refused updates");
                }
                reading.publish(before);
                before = reading;
            }
            Err(error) => tracing::debug!(%error, "reading envoy's counters"),
        }
    }
}

/// Lets open requests finish: listeners close, then connections as they become idle.
async fn drain(running: &Running) {
    if let Err(error) = running.admin.post("/drain_listeners?graceful&skip_exit").await {
        tracing::warn!(%error, "envoy is not drained");
        return;
    }
    let start = Instant::now();
    while start.elapsed() < running.drain {
        let open = match running.admin.get(stats::TARGET).await {
            Ok(text) => Reading::parse(&String::from_utf8_lossy(&text)).requests_active,
            Err(_) => return,
        };
        if open == 0 {
            return;
        }
        tokio::time::sleep(DRAIN_INTERVAL).await;
    }
    tracing::warn!(within = ?running.drain, "requests were still open");
}
