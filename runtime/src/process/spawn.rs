//! Starting a process, from the thread that never ends.

use std::{
    ffi::OsString,
    fs::OpenOptions,
    io,
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{OnceLock, mpsc},
    thread,
};

use nix::{
    sys::{prctl, signal::Signal},
    unistd::{getppid, setsid},
};
use tokio::sync::oneshot;

/// Starts that may wait for the thread; each takes milliseconds.
const QUEUE: usize = 64;

/// Whether a process dies with this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// The kernel kills it when this process ends, however; dropping its [`super::Process`] too.
    DiesWithParent,
    /// It goes on, in a session of its own, and is adopted by this program's next incarnation.
    Outlives,
}

/// Where a process's output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Line by line to `tracing`. Not for one that outlives this process: its pipe would break.
    Traced,
    /// To this process's own.
    Inherited,
    /// To the end of a file, made with mode 0600.
    Appended(PathBuf),
    /// Nowhere.
    Discarded,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// What logs call it.
    pub name: String,
    /// The executable; one without a slash is looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables added to the environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether it dies with this process.
    pub tie: Tie,
    /// Where its standard output and error go.
    pub output: Output,
}

/// A process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The operating system refused.
    #[error("cannot start {name} ({})", program.display())]
    Refused {
        /// What logs call it.
        name: String,
        /// The executable.
        program: PathBuf,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
    /// Its output file cannot be opened.
    #[error("cannot open {} for the output of {name}", path.display())]
    Output {
        /// What logs call the process.
        name: String,
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
    /// The process was started, but cannot be watched.
    #[error("cannot watch {name}")]
    Watch {
        /// What logs call it.
        name: String,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
}

struct Job {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// The thread that forks every child of this program; it ends with the program only.
fn forker() -> io::Result<&'static mpsc::SyncSender<Job>> {
    static FORKER: OnceLock<mpsc::SyncSender<Job>> = OnceLock::new();
    if let Some(forker) = FORKER.get() {
        return Ok(forker);
    }
    let (sender, jobs) = mpsc::sync_channel::<Job>(QUEUE);
    thread::Builder::new().name("forker".to_owned()).spawn(move || {
        for Job { mut command, reply } in jobs {
            if let Err(Ok(mut orphan)) = reply.send(command.spawn()) {
                // Nobody waits for it any more, so nobody would ever stop it.
                let _ = orphan.kill();
                let _ = orphan.wait();
            }
        }
    })?;
    // Of two threads that got here at once one sender stays, and the other's thread ends unused.
    Ok(FORKER.get_or_init(|| sender))
}

pub(super) async fn spawn(spec: &ProcessSpec) -> Result<Child, SpawnError> {
    let command = command(spec)?;
    let refused = |source| SpawnError::Refused {
        name: spec.name.clone(),
        program: spec.program.clone(),
        source,
    };
    let (reply, answer) = oneshot::channel();
    let busy = |_| refused(io::Error::other("too many processes are being started"));
    forker().map_err(refused)?.try_send(Job { command, reply }).map_err(busy)?;
    answer
        .await
        .map_err(|_| refused(io::Error::other("the forking thread is gone")))?
        .map_err(refused)
}

fn command(spec: &ProcessSpec) -> Result<Command, SpawnError> {
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.arguments)
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null());
    let (out, err) = match &spec.output {
        Output::Traced => (Stdio::piped(), Stdio::piped()),
        Output::Inherited => (Stdio::inherit(), Stdio::inherit()),
        Output::Discarded => (Stdio::null(), Stdio::null()),
        Output::Appended(path) => {
            let failed =
                |source| SpawnError::Output { name: spec.name.clone(), path: path.clone(), source };
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)
                .map_err(failed)?;
            (Stdio::from(file.try_clone().map_err(failed)?), Stdio::from(file))
        }
    };
    command.stdout(out).stderr(err);
    let (tie, parent) = (spec.tie, std::process::id());
    let between_fork_and_exec = move || match tie {
        Tie::Outlives => setsid().map(drop).map_err(io::Error::from),
        Tie::DiesWithParent => {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the call above took effect.
            if getppid().as_raw() as u32 == parent {
                Ok(())
            } else {
                Err(io::Error::from(nix::errno::Errno::ESRCH))
            }
        }
    };
    // SAFETY: the closure runs between fork and exec and makes only async-signal-safe system calls
    // (setsid, prctl, getppid); it neither allocates nor takes locks.
    unsafe { command.pre_exec(between_fork_and_exec) };
    Ok(command)
}
