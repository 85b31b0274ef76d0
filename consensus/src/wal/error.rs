//! Why the log could not be opened.

use std::path::PathBuf;

use crate::errors::StartError;

/// What to do about damage that no torn write can explain.
const REMEDY: &str = "the disk lost acknowledged data: do not delete this file alone; remove this \
     node from the cluster (or restore the disk), empty its data directory and let it join anew \
     under a new id";

/// A log that must not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WalError {
    /// Bytes that were acknowledged are not what was written.
    #[error("{path} is damaged at byte {offset}: {reason}")]
    Damaged { path: PathBuf, offset: u64, reason: String },
    /// A newer program wrote it.
    #[error("{path} has version {found}")]
    Version { path: PathBuf, found: u32 },
    /// The file system refused.
    #[error("{action} {path}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
}

impl From<WalError> for StartError {
    fn from(error: WalError) -> Self {
        match error {
            WalError::Damaged { path, offset, reason } => StartError::Damaged {
                path,
                reason: format!("at byte {offset}: {reason}"),
                remedy: REMEDY,
            },
            WalError::Version { path, found } => StartError::UnknownVersion {
                path,
                found,
                known: crate::pb::storage::SEGMENT_VERSION,
            },
            WalError::Io { action, path, source } => StartError::Io { action, path, source },
        }
    }
}
