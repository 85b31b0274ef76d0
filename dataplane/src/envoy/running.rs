//! One Envoy: started from nothing, started to take over, or adopted; watched, drained, stopped.

use std::{
    fs, io,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use ractor::ActorRef;
use runtime::{
    durable,
    process::{AdoptError, Exit, Keep, Output, Process, ProcessSpec, SpawnError, Tie},
};
use serde::{Deserialize, Serialize};

use super::{
    actor::EnvoyMessage,
    admin::Admin,
    arguments::{EnvoyArguments, SLOTS},
    binary::Binary,
    orphan::{self, OrphanError},
    shared_memory,
    stats::{self, Reading},
    watch,
};
use crate::tasks::Task;

/// How long Envoy may take to end once it is drained.
const TERMINATE_WITHIN: Duration = Duration::from_secs(3);
/// How long a keeper may take to begin, and how often that is looked at.
const APPEARS_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How often a draining Envoy is asked whether requests are left.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);

/// Why an Envoy was not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// One of before is still there.
    #[error(transparent)]
    Orphan(#[from] OrphanError),
    /// A file cannot be used.
    #[error("the files of Envoy")]
    File(#[from] io::Error),
    /// It does not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// One that runs cannot be adopted.
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    /// Its keeper ended at once.
    #[error("the keeper of Envoy {exit}")]
    Ended {
        /// How.
        exit: String,
    },
    /// It does not take what it is to start from.
    #[error("Envoy {version} refuses its bootstrap: {words}")]
    Bootstrap {
        /// Its version.
        version: String,
        /// Its words.
        words: String,
    },
}

/// Tells one start of Envoy from all others, and what it was started with; beside its lock on disk,
/// for the data plane that adopts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) instance: String,
    pub(super) epoch: u32,
    pub(super) version: String,
    pub(super) hot_restart: String,
    pub(super) fingerprint: String,
}

impl Start {
    pub(super) fn slot(&self) -> u32 {
        self.epoch % SLOTS
    }
}

/// An Envoy that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) start: Start,
    pub(super) ready: bool,
    /// Envoy, or its keeper.
    process: Process,
    admin: Admin,
    _tasks: [Task; 2],
}

impl Running {
    /// Starts an Envoy: with epoch 0 from nothing, after all of before were ended; with another one
    /// to take over from the one that runs.
    pub(super) async fn start(
        binary: &Binary,
        arguments: &EnvoyArguments,
        epoch: u32,
        actor: &ActorRef<EnvoyMessage>,
    ) -> Result<Self, StartError> {
        let bootstrap = arguments.bootstrap_file();
        if epoch == 0 {
            for slot in 0..SLOTS {
                orphan::end(&arguments.slot(slot, "pid"), &bootstrap).await?;
            }
            orphan::end(&arguments.pid_file(), &bootstrap).await?;
            remove(&arguments.admin_socket())?;
        }
        let start = Start {
            instance: hex::encode(rand::random::<[u8; 8]>()),
            epoch,
            version: binary.version.clone(),
            hot_restart: binary.hot_restart.clone(),
            fingerprint: arguments.fingerprint(binary)?,
        };
        let admin_socket = arguments.admin_socket();
        arguments.bootstrap(&start.instance, &admin_socket).write(&bootstrap)?;
        if epoch != 0 {
            validate(binary, &bootstrap).await?;
        }
        save(&arguments.slot(start.slot(), "json"), &start)?;
        remove(&arguments.slot(start.slot(), "pid"))?;
        let process = Process::spawn(&spec(binary, arguments, &start)?).await?;
        if arguments.life.keeping.is_none() {
            orphan::note(&arguments.slot(start.slot(), "pid"), process.pid())?;
        }
        tracing::info!(version = binary.version, path = %binary.path.display(), epoch,
            "envoy started");
        let running = Self::watched(process, start, arguments, actor);
        running.appears(arguments).await?;
        if epoch == 0 {
            running.note(arguments)?;
        }
        Ok(running)
    }

    /// Waits until it is written down which process it is: a keeper does that once it has begun.
    async fn appears(&self, arguments: &EnvoyArguments) -> Result<(), StartError> {
        let pid = arguments.slot(self.start.slot(), "pid");
        let mut exit = self.process.exit();
        let written = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            while !pid.exists() {
                looks.tick().await;
            }
        };
        tokio::select! {
            () = written => Ok(()),
            exit = exit.wait_for(Option::is_some) => {
                let exit = exit.ok().and_then(|exit| *exit).unwrap_or(Exit::Unknown);
                Err(StartError::Ended { exit: exit.to_string() })
            }
            () = tokio::time::sleep(APPEARS_WITHIN) => {
                Err(StartError::Ended { exit: "does not begin".to_owned() })
            }
        }
    }

    /// Finds the Envoys that a data plane of before left to this one, the oldest first.
    pub(super) fn adopt(
        arguments: &EnvoyArguments,
        actor: &ActorRef<EnvoyMessage>,
    ) -> Result<Vec<Self>, StartError> {
        let mut found = Vec::new();
        if arguments.life.keeping.is_none() {
            return Ok(found);
        }
        for slot in 0..SLOTS {
            let Some(process) = Process::adopt("envoy", &arguments.slot(slot, "lock"))? else {
                continue;
            };
            let start = fs::read(arguments.slot(slot, "json"))?;
            let start: Start = serde_json::from_slice(&start).map_err(io::Error::from)?;
            found.push(Self::watched(process, start, arguments, actor));
        }
        found.sort_by_key(|running| running.start.epoch);
        Ok(found)
    }

    fn watched(
        process: Process,
        start: Start,
        arguments: &EnvoyArguments,
        actor: &ActorRef<EnvoyMessage>,
    ) -> Self {
        let admin = Admin::new(&arguments.admin_socket());
        let kept = arguments.life.keeping.is_some();
        let (mut exit, told) = (process.exit(), actor.clone());
        let instance = start.instance.clone();
        let ended = Task::spawn(async move {
            let exit = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
            let exit = exit.map_or(Exit::Unknown, |exit| if kept { of_kept(exit) } else { exit });
            // The actor may have been stopped meanwhile.
            let _ = told.cast(EnvoyMessage::Ended { instance, exit });
        });
        let ready = watch::until_ready(admin.clone(), start.instance.clone(), actor.clone());
        Self { start, ready: false, process, admin, _tasks: [ended, Task::spawn(ready)] }
    }

    /// Tells whether its admin interface, and not another's, answers.
    pub(super) async fn has_admin(&self) -> bool {
        watch::instance(&self.admin).await.is_some_and(|instance| instance == self.start.instance)
    }

    /// Notes that this is the one that takes traffic.
    pub(super) fn note(&self, arguments: &EnvoyArguments) -> io::Result<()> {
        let pid = fs::read(arguments.slot(self.start.slot(), "pid"))?;
        durable::replace_volatile(&arguments.pid_file(), &pid, 0o644)
    }

    /// Ends it without further ado.
    pub(super) async fn end(&self) -> Exit {
        self.process.stop(TERMINATE_WITHIN * 2).await
    }

    /// Lets open requests finish, then ends it: listeners close, then connections as they become
    /// idle.
    pub(super) async fn drain(&self, within: Duration) -> Exit {
        match self.admin.post("/drain_listeners?graceful&skip_exit").await {
            Ok(_) => self.drained(within).await,
            Err(error) => tracing::warn!(%error, "envoy is not drained"),
        }
        self.end().await
    }

    async fn drained(&self, within: Duration) {
        let start = Instant::now();
        while start.elapsed() < within {
            let open = match self.admin.get(stats::OPEN).await {
                Ok(text) => Reading::parse(&String::from_utf8_lossy(&text)).requests_active,
                Err(_) => return,
            };
            if open == 0 {
                return;
            }
            tokio::time::sleep(DRAIN_INTERVAL).await;
        }
        tracing::warn!(?within, "requests were still open");
    }
}

fn spec(
    binary: &Binary,
    arguments: &EnvoyArguments,
    start: &Start,
) -> Result<ProcessSpec, StartError> {
    let line = arguments.command_line(start.epoch, arguments.base_id()?);
    let Some(keeping) = &arguments.life.keeping else {
        return Ok(ProcessSpec {
            name: "envoy".to_owned(),
            program: binary.path.clone(),
            arguments: line,
            environment: Vec::new(),
            tie: Tie::DiesWithParent,
            output: Output::Traced,
        });
    };
    let keep = Keep {
        owner: keeping.owner.clone(),
        lock: arguments.slot(start.slot(), "lock"),
        pid_file: arguments.slot(start.slot(), "pid"),
        output: arguments.output(),
        linger: keeping.linger,
        grace: TERMINATE_WITHIN,
        program: binary.path.clone(),
        arguments: line,
    };
    Ok(keeping.keeper.spec("envoy", &keep))
}

/// What an end of the keeper says of Envoy's.
fn of_kept(exit: Exit) -> Exit {
    match exit {
        Exit::Code(code) if code > 128 => Exit::Signal(code - 128),
        other => other,
    }
}

/// Has a new Envoy look at its bootstrap, before it makes the one that runs close its admin
/// interface.
async fn validate(binary: &Binary, bootstrap: &Path) -> Result<(), StartError> {
    let output = tokio::process::Command::new(&binary.path)
        .args(["--mode", "validate", "--disable-hot-restart", "--log-level", "error"])
        .arg("--config-path")
        .arg(bootstrap)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().chars().take(1_000).collect();
    Err(StartError::Bootstrap { version: binary.version.clone(), words })
}

fn save(path: &Path, start: &Start) -> io::Result<()> {
    durable::replace_volatile(path, &serde_json::to_vec(start).map_err(io::Error::from)?, 0o600)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Clears what an Envoy that failed leaves in the way of the next; tells whether that worked.
pub(super) fn clear(arguments: &EnvoyArguments, failed: &Start) -> bool {
    let cleared =
        arguments.base_id().and_then(|base_id| shared_memory::unlock(base_id, &failed.hot_restart));
    match cleared {
        Ok(cleared) => cleared,
        Err(error) => {
            tracing::warn!(%error, "what the failed envoy left cannot be cleared");
            false
        }
    }
}
