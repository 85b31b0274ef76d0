//! An Envoy that a dead data plane left behind would keep its ports (`SO_REUSEPORT`) and take half
//! of the new one's connections. The kernel ends it with its parent or keeper, and one with a keeper
//! is adopted; this is the check that nothing else is left.

use std::{
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use runtime::durable;

/// How long a killed process may take to be gone; the kernel needs milliseconds.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Why an Envoy of before could not be ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrphanError {
    /// The file that names it cannot be used.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
    /// The kernel does not let us end it.
    #[error("an Envoy of before (pid {pid}) cannot be killed")]
    Kill {
        /// The process.
        pid: Pid,
        /// The operating system's words.
        #[source]
        source: Errno,
    },
    /// It is still there.
    #[error("an Envoy of before (pid {pid}) does not go away")]
    Stays {
        /// The process.
        pid: Pid,
    },
}

/// Writes down which process runs, whole or not at all.
pub(super) fn note(path: &Path, pid: Pid) -> Result<(), OrphanError> {
    durable::replace_volatile(path, pid.to_string().as_bytes(), 0o644)
        .map_err(|source| OrphanError::File { path: path.to_owned(), source })
}

/// Ends the process that was written down, if it is an Envoy that runs from `bootstrap`.
pub(super) async fn end(path: &Path, bootstrap: &Path) -> Result<(), OrphanError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(OrphanError::File { path: path.to_owned(), source }),
    };
    let Some(pid) = text.trim().parse().ok().filter(|pid| *pid > 1).map(Pid::from_raw) else {
        return Ok(());
    };
    let start = Instant::now();
    while runs_from(pid, bootstrap) {
        if start.elapsed() > GONE_WITHIN {
            return Err(OrphanError::Stays { pid });
        }
        match kill(pid, Signal::SIGKILL) {
            Ok(()) => tracing::warn!(pid = pid.as_raw(), "killed an envoy of before"),
            Err(Errno::ESRCH) => return Ok(()),
            Err(source) => return Err(OrphanError::Kill { pid, source }),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Tells whether a live process has the bootstrap file among its arguments: pids are used again.
fn runs_from(pid: Pid, bootstrap: &Path) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
        line.split(|byte| *byte == 0).any(|part| part == bootstrap.as_os_str().as_bytes())
    })
}
