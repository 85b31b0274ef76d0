//! A running process: its pid (held by a pidfd, so that it cannot be another's), its end, its stop.

use std::{
    fmt, io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    path::Path,
    process::{Child, ExitStatus},
    sync::Arc,
    time::Duration,
};

use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{io::unix::AsyncFd, process, sync::watch};

use super::{LockError, PidLock, ProcessSpec, SpawnError, Tie, output, spawn};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// In a way that only its own parent could learn: it was adopted.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
            Self::Unknown => f.write_str("ended"),
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

/// Why a process was not adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The lock cannot be read.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The holder cannot be watched.
    #[error("cannot watch process {pid}")]
    Watch {
        /// The holder.
        pid: Pid,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
}

/// A process that runs, or ran. Dropping it kills one that is tied to this process, and leaves
/// another alone.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    pidfd: Arc<OwnedFd>,
    tie: Tie,
    exit: watch::Receiver<Option<Exit>>,
}

impl Process {
    /// Starts a process. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// It cannot be started or watched.
    pub async fn spawn(spec: &ProcessSpec) -> Result<Self, SpawnError> {
        let mut child = spawn::spawn(spec).await?;
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid is a positive i32"));
        let watch = |source| SpawnError::Watch { name: spec.name.clone(), source };
        let pidfd = match open_pidfd(pid) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(watch(error));
            }
        };
        if let Some(stream) = child.stdout.take() {
            let stream = process::ChildStdout::from_std(stream).map_err(watch)?;
            drop(output::trace(spec.name.clone(), "stdout", stream));
        }
        if let Some(stream) = child.stderr.take() {
            let stream = process::ChildStderr::from_std(stream).map_err(watch)?;
            drop(output::trace(spec.name.clone(), "stderr", stream));
        }
        let exit = watch_end(&pidfd, Some(child)).map_err(watch)?;
        tracing::info!(process = %spec.name, pid = pid.as_raw(), "process started");
        Ok(Self { name: spec.name.clone(), pid, pidfd, tie: spec.tie, exit })
    }

    /// Adopts the process that holds the lock file, if one does.
    ///
    /// # Errors
    /// The lock cannot be read, or its holder has not written its pid yet (try again).
    pub fn adopt(name: &str, lock: &Path) -> Result<Option<Self>, AdoptError> {
        let Some(pid) = PidLock::holder(lock)? else { return Ok(None) };
        let watch = |source| AdoptError::Watch { pid, source };
        let pidfd = match open_pidfd(pid) {
            Ok(pidfd) => pidfd,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(error) => return Err(watch(error)),
        };
        // Between reading the pid and opening it the holder may have ended and its pid been given
        // to another; if the same pid still holds the lock, the pidfd is the holder's.
        if PidLock::holder(lock)? != Some(pid) {
            return Ok(None);
        }
        let exit = watch_end(&pidfd, None).map_err(watch)?;
        tracing::info!(process = name, pid = pid.as_raw(), "process adopted");
        Ok(Some(Self { name: name.to_owned(), pid, pidfd, tie: Tie::Outlives, exit }))
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// What logs call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its end, once known; the receiver also tells of it.
    #[must_use]
    pub fn exit(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.clone()
    }

    /// Waits for its end. Safe to cancel.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(Exit::Unknown),
            // The watching task is gone with the runtime.
            Err(_) => Exit::Unknown,
        }
    }

    /// Sends a signal; a process that has ended gets none.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.exit.borrow().is_some() {
            return Ok(());
        }
        match send_signal(&self.pidfd, signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Asks it to end (`SIGTERM`), kills it (`SIGKILL`) when it has not after `grace`, and waits.
    pub async fn stop(&self, grace: Duration) -> Exit {
        self.stop_by(Signal::SIGTERM, grace).await
    }

    /// Like [`stop`](Self::stop), with another first signal.
    pub async fn stop_by(&self, first: Signal, grace: Duration) -> Exit {
        if let Err(error) = self.signal(first) {
            tracing::warn!(process = %self.name, %error, "cannot signal the process");
        }
        if let Ok(exit) = tokio::time::timeout(grace, self.wait()).await {
            return exit;
        }
        tracing::warn!(process = %self.name, ?grace, "the process does not end; killing it");
        if let Err(error) = self.signal(Signal::SIGKILL) {
            tracing::error!(process = %self.name, %error, "cannot kill the process");
            return Exit::Unknown;
        }
        self.wait().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.tie == Tie::DiesWithParent {
            // It has ended already, or ends here; there is nobody left to tell of a failure.
            let _ = self.signal(Signal::SIGKILL);
        }
    }
}

/// Watches for the end in a task of its own, which also reaps a child of this process.
fn watch_end(
    pidfd: &Arc<OwnedFd>,
    child: Option<Child>,
) -> io::Result<watch::Receiver<Option<Exit>>> {
    // SAFETY: an `OwnedFd` names the same open descriptor until it is dropped, and the `AsyncFd` that
    // owns it deregisters first.
    let readable = unsafe { AsyncFd::register(pidfd.try_clone()?) }?;
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        // A pidfd is readable when its process has ended (pidfd_open(2)).
        let ended = readable.readable().await.is_ok();
        let exit = match child {
            Some(mut child) if ended => child.wait().map_or(Exit::Unknown, Exit::from),
            _ => Exit::Unknown,
        };
        sender.send_replace(Some(exit));
    });
    Ok(receiver)
}

pub(super) fn open_pidfd(pid: Pid) -> io::Result<Arc<OwnedFd>> {
    // SAFETY: pidfd_open(2) takes a pid and flags by value and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    match i32::try_from(result) {
        // SAFETY: a result that is not negative is a new descriptor that nobody else owns.
        Ok(fd) if fd >= 0 => Ok(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for the end of a process.
pub(super) async fn ended(pidfd: &OwnedFd) {
    let Ok(copy) = pidfd.try_clone() else { return };
    // SAFETY: an `OwnedFd` names the same open descriptor until it is dropped, and the `AsyncFd` that
    // owns it deregisters first.
    if let Ok(readable) = unsafe { AsyncFd::register(copy) } {
        // Whether it can be read or not be waited for, it counts as ended.
        let _ = readable.readable().await.map(drop);
    }
}

fn send_signal(pidfd: &OwnedFd, signal: Signal) -> io::Result<()> {
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: pidfd_send_signal(2) accepts a null `info`, and the descriptor is open while borrowed.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal as i32, no_info, 0)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests;
