//! The data directory: one process at a time, and only what this program put there.

use std::{fs, io, path::Path, path::PathBuf};

use runtime::{
    durable::{self, DurableError},
    process::{LockError, PidLock},
};

const LOCK: &str = "control.lock";

/// What this program puts into a data directory.
const KNOWN: [&str; 9] = [
    "identity",
    "settings.json",
    "settings.json.new",
    "wal",
    "snap",
    "store",
    "consensus",
    "dataplane",
    LOCK,
];

/// Why a data directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process uses it.
    #[error("{} is in use: stop that node first, or give another --data-dir", path.display())]
    Held {
        /// The directory.
        path: PathBuf,
        /// Who holds it.
        #[source]
        source: LockError,
    },
    /// The directory holds other things.
    #[error(
        "{} is not a data directory of marchproxy: it has {found:?} in it; give an empty \
         directory with --data-dir", path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the other things.
        found: String,
    },
    /// There is a log but no identity.
    #[error(
        "{} holds the log of a node but not its identity: restore {} from a backup, or give \
         another --data-dir and join anew", path.display(), path.join("identity").display()
    )]
    NoIdentity {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The directory.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// The directory cannot be made.
    #[error("the data directory cannot be used: run as root, or give another with --data-dir")]
    Make(#[from] DurableError),
}

/// A data directory that is this process's own until it is dropped.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    _lock: PidLock,
}

impl DataDir {
    /// Makes the directory if need be, and takes it.
    pub(super) fn open(path: &Path) -> Result<Self, DataDirError> {
        durable::private_directory(path)?;
        let read = |source| DataDirError::Read { path: path.to_owned(), source };
        for entry in fs::read_dir(path).map_err(read)? {
            let name = entry.map_err(read)?.file_name();
            let name = name.to_string_lossy();
            // Parts of consensus that were moved aside keep their name with something behind it.
            if !KNOWN.iter().any(|known| name.starts_with(known)) {
                let found = name.into_owned();
                return Err(DataDirError::Foreign { path: path.to_owned(), found });
            }
        }
        let lock = PidLock::acquire(&path.join(LOCK))
            .map_err(|source| DataDirError::Held { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Refuses a directory that was a node's and has lost its identity.
    pub(super) fn check_unused(&self) -> Result<(), DataDirError> {
        if self.path.join("wal").exists() || self.path.join("snap").exists() {
            return Err(DataDirError::NoIdentity { path: self.path.clone() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_a_foreign_directory_and_a_lost_identity_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let first = DataDir::open(&path).unwrap();
        first.check_unused().unwrap();
        let error = DataDir::open(&path).unwrap_err();
        assert!(matches!(error, DataDirError::Held { .. }), "{error}");
        fs::create_dir(path.join("wal")).unwrap();
        assert!(matches!(first.check_unused(), Err(DataDirError::NoIdentity { .. })));
        drop(first);
        DataDir::open(&path).unwrap();
        fs::write(path.join("photo.jpg"), b"").unwrap();
        let error = DataDir::open(&path).unwrap_err();
        assert!(error.to_string().contains("photo.jpg"), "{error}");
    }
}
