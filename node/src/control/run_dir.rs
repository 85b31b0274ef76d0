//! The run directory: one node's at a time.
//!
//! Two nodes of one host that share it would take each other's data plane for their own, and one
//! that ends would end the other's traffic. So the control process locks it, and leaves a mark that
//! outlives it as the data plane does.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use runtime::{
    durable::{self, DurableError},
    process::{LockError, PidLock},
};

use super::dataplane;

const LOCK: &str = "control.lock";
/// Holds the data directory of the node whose run directory this is.
const OWNER: &str = "owner";

/// Why a run directory is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunDirError {
    /// The directory cannot be made or written.
    #[error("the run directory cannot be used: run as root, or give another with --run-dir")]
    Write(#[from] DurableError),
    /// Its lock cannot be looked at.
    #[error("the run directory cannot be used: run as root, or give another with --run-dir")]
    Lock(#[source] LockError),
    /// Another node's control process uses it.
    #[error(
        "{} is the run directory of another node: give this one its own with --run-dir",
        path.display()
    )]
    Held {
        /// The directory.
        path: PathBuf,
        /// Who holds it.
        #[source]
        source: LockError,
    },
    /// Another node's data plane runs in it.
    #[error(
        "the data plane of the node in {} runs in {}: give this one its own with --run-dir",
        owner.display(), path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The other node's data directory.
        owner: PathBuf,
    },
    /// A path cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
}

/// A run directory that is this process's own until it is dropped.
#[derive(Debug)]
pub(super) struct RunDir {
    _lock: PidLock,
}

impl RunDir {
    /// Makes the directory if need be, and takes it for the node in `data_dir`, which exists.
    pub(super) fn open(path: &Path, data_dir: &Path) -> Result<Self, RunDirError> {
        durable::private_directory(path)?;
        let lock = PidLock::acquire(&path.join(LOCK)).map_err(|source| match source {
            LockError::Held { .. } => RunDirError::Held { path: path.to_owned(), source },
            LockError::File { .. } => RunDirError::Lock(source),
        })?;
        let mark = path.join(OWNER);
        // Relative and linked paths to one directory are one node.
        let own = fs::canonicalize(data_dir).map_err(read(data_dir))?;
        let marked = match fs::read(&mark) {
            Ok(bytes) => Some(PathBuf::from(OsString::from_vec(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(read(&mark)(error)),
        };
        match marked.filter(|owner| *owner != own) {
            Some(owner) if dataplane::runs(path).map_err(RunDirError::Lock)? => {
                return Err(RunDirError::Foreign { path: path.to_owned(), owner });
            }
            _ => durable::replace(&mark, own.as_os_str().as_bytes(), 0o600)?,
        }
        Ok(Self { _lock: lock })
    }
}

fn read(path: &Path) -> impl FnOnce(io::Error) -> RunDirError {
    let path = path.to_owned();
    |source| RunDirError::Read { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_node_is_refused_while_the_first_or_its_data_plane_runs() {
        let dir = tempfile::tempdir().unwrap();
        let (run, one, two) =
            (dir.path().join("run"), dir.path().join("one"), dir.path().join("two"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        let first = RunDir::open(&run, &one).unwrap();
        let error = RunDir::open(&run, &two).unwrap_err();
        assert!(matches!(error, RunDirError::Held { .. }), "{error}");
        assert!(error.to_string().contains("--run-dir"), "{error}");
        drop(first);

        let plane = PidLock::acquire(&run.join(dataplane::LOCK)).unwrap();
        let error = RunDir::open(&run, &two).unwrap_err();
        assert!(matches!(&error, RunDirError::Foreign { owner, .. } if owner.ends_with("one")));
        // The node itself takes its data plane up again, by whatever path it is named.
        drop(RunDir::open(&run, &two.join("../one")).unwrap());

        drop(plane);
        RunDir::open(&run, &two).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_or_locked_is_told_from_a_held_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = RunDir::open(&file, dir.path()).unwrap_err();
        assert!(matches!(error, RunDirError::Write(_)), "{error}");
        // A lock that cannot be opened is not held by anybody.
        let run = dir.path().join("run");
        fs::create_dir_all(run.join(LOCK)).unwrap();
        let error = RunDir::open(&run, dir.path()).unwrap_err();
        assert!(matches!(error, RunDirError::Lock(_)), "{error}");
    }
}
