//! The file of the refusals that stand, with what stands in for what they refuse: read at the
//! start, written as a whole when they change.
//!
//! Blocking; the recorder calls it off the runtime's threads. What cannot be used is moved aside
//! and done without: then the refused versions are offered once more, and refused once more.

mod format;
mod message;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use runtime::{
    durable::{self, DurableError},
    identity::ClusterId,
};

use crate::xds::Standing;

const FILE: &str = "refusals";

/// What a file that cannot be used is called; there is one at most.
const DAMAGED: &str = "refusals.damaged";

/// The saved refusals.
#[derive(Debug)]
pub struct RefusalStore {
    path: PathBuf,
    cluster: ClusterId,
    /// None when that is not known, after a save that failed.
    saved: Option<Standing>,
}

impl RefusalStore {
    /// Opens the store in `directory`, which exists, and reads what was saved for `cluster`.
    #[must_use]
    pub fn open(directory: &Path, cluster: ClusterId) -> (Self, Standing) {
        let path = directory.join(FILE);
        let standing = read(&path, &cluster).unwrap_or_default();
        (Self { path, cluster, saved: Some(standing.clone()) }, standing)
    }

    /// Saves what stands; writes nothing when that is saved.
    ///
    /// # Errors
    /// The disk refuses. What was saved before stays, and the next save tries again.
    pub fn save(&mut self, standing: &Standing) -> Result<(), DurableError> {
        if self.saved.as_ref() == Some(standing) {
            return Ok(());
        }
        self.saved = None;
        let encoded = format::encode(&self.cluster, standing);
        if encoded.left_out > 0 {
            tracing::warn!(path = %self.path.display(), left_out = encoded.left_out,
                "too much is refused to be saved; after a cold start some of it is left out");
        }
        durable::replace(&self.path, &encoded.bytes, 0o600)?;
        self.saved = Some(standing.clone());
        Ok(())
    }
}

fn read(path: &Path, cluster: &ClusterId) -> Option<Standing> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what Envoy refused cannot be read");
            move_aside(path);
            return None;
        }
    };
    match format::decode(&bytes, cluster) {
        Ok(standing) => Some(standing),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error,
                "what Envoy refused cannot be used; it is moved aside");
            move_aside(path);
            None
        }
    }
}

fn move_aside(path: &Path) {
    if let Err(error) = fs::rename(path, path.with_file_name(DAMAGED)) {
        tracing::warn!(path = %path.display(), %error, "it cannot be moved aside");
    }
}

#[cfg(test)]
mod tests;
