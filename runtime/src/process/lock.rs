//! A file that names the one process that holds it: `flock` for exclusion, its content for the pid.
//!
//! The kernel drops the lock when the process ends in whatever way, so a stale file means nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    unistd::Pid,
};

/// Why a lock was not taken or read.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is held by {}; only one such process may run", path.display(), holder(*pid))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder, where it has written its pid already.
        pid: Option<i32>,
    },
    /// The file cannot be opened, locked or written.
    #[error("cannot use the lock file {}", path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
}

fn holder(pid: Option<i32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// The lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct PidLock {
    /// Keeps the lock; closed by exec in children.
    _file: Flock<File>,
}

impl PidLock {
    /// Takes the lock for this process and writes its pid into the file.
    ///
    /// # Errors
    /// Another process holds it, or the file cannot be used.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::File { path: path.to_owned(), source };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(LockError::Held { path: path.to_owned(), pid: written_pid(path) });
            }
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self { _file: file })
    }

    /// The process that holds the lock; `None` when nobody does.
    ///
    /// # Errors
    /// The file cannot be read, or its holder has not written its pid yet (try again).
    pub fn holder(path: &Path) -> Result<Option<Pid>, LockError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LockError::File { path: path.to_owned(), source }),
        };
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(None),
            Err((_, Errno::EWOULDBLOCK)) => match written_pid(path) {
                Some(pid) => Ok(Some(Pid::from_raw(pid))),
                None => Err(LockError::Held { path: path.to_owned(), pid: None }),
            },
            Err((_, errno)) => Err(LockError::File { path: path.to_owned(), source: errno.into() }),
        }
    }
}

/// Returns the pid that stands in a lock file; whether it still holds the lock is another question.
pub(super) fn written_pid(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok().filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_it_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        assert_eq!(PidLock::holder(&path).unwrap(), None);
        let lock = PidLock::acquire(&path).unwrap();
        let own = std::process::id() as i32;
        assert_eq!(PidLock::holder(&path).unwrap(), Some(Pid::from_raw(own)));
        let error = PidLock::acquire(&path).unwrap_err();
        assert!(matches!(error, LockError::Held { pid: Some(pid), .. } if pid == own), "{error}");
        drop(lock);
        assert_eq!(PidLock::holder(&path).unwrap(), None);
        PidLock::acquire(&path).unwrap();
    }

    #[test]
    fn a_stale_file_of_any_content_does_not_matter() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        fs::write(&path, "4194304 and a long old text\n").unwrap();
        assert_eq!(PidLock::holder(&path).unwrap(), None);
        let _lock = PidLock::acquire(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }
}
