//! The journal's file: read at the start, appended to, and written anew when it has grown.
//!
//! Blocking; the recorder calls it off the runtime's threads. **Invariant:** at any moment, also in
//! the middle of a power loss, the file holds a configuration that was in force, or there is none.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use model::Snapshot;
use runtime::{
    durable::{self, DurableError},
    identity::ClusterId,
};

use super::journal::{Damage, encode_base, encode_delta, replay};

const FILE: &str = "last-known-good";

/// Appended bytes below which the file is not written anew, however small its base is.
const COMPACT_MIN: u64 = 1024 * 1024;

/// The configuration cannot be saved.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The whole file could not be written.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A change could not be appended.
    #[error("cannot append to {}", path.display())]
    Append {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
}

/// Reads what is saved in `directory` for `cluster`, beside a data plane that may be writing it:
/// nothing is made or changed. `None` where nothing usable is saved.
///
/// # Errors
/// The file is there and cannot be read.
pub fn peek(directory: &Path, cluster: &ClusterId) -> io::Result<Option<Snapshot>> {
    match fs::read(directory.join(FILE)) {
        Ok(bytes) => Ok(replay(&bytes, cluster).config),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The saved configuration.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    cluster: ClusterId,
    saved: Option<Saved>,
}

#[derive(Debug)]
struct Saved {
    config: Snapshot,
    file: File,
    base_bytes: u64,
    appended_bytes: u64,
}

impl Store {
    /// Opens the store in `directory` and reads what was saved for `cluster`.
    ///
    /// Damage is no error: what stands before it is used, and the rest comes from a control node.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(
        directory: &Path,
        cluster: ClusterId,
    ) -> Result<(Self, Option<Snapshot>), StoreError> {
        durable::private_directory(directory)?;
        let store = Self { path: directory.join(FILE), cluster, saved: None };
        let config = store.read();
        Ok((store, config))
    }

    /// Saves `config`: what changed since the last save, or everything after a damaged or failed
    /// save and when changes have outgrown the base. Returns whether anything was written.
    ///
    /// # Errors
    /// The disk refuses. What was saved before stays, and the next save writes everything.
    pub fn save(&mut self, config: &Snapshot) -> Result<bool, StoreError> {
        match &mut self.saved {
            Some(saved) if saved.config.revision() == config.revision() => Ok(false),
            Some(saved)
                if saved.config.revision() < config.revision()
                    && saved.appended_bytes <= saved.base_bytes.max(COMPACT_MIN) =>
            {
                let appended = saved.append(config);
                if appended.is_err() {
                    // The file may end in half a record, after which nothing would be read.
                    self.saved = None;
                }
                appended
                    .map_err(|source| StoreError::Append { path: self.path.clone(), source })?;
                Ok(true)
            }
            _ => self.rewrite(config).map(|()| true),
        }
    }

    fn rewrite(&mut self, config: &Snapshot) -> Result<(), StoreError> {
        self.saved = None;
        let bytes = encode_base(&self.cluster, config);
        durable::replace(&self.path, &bytes, 0o600)?;
        let file = OpenOptions::new()
            .append(true)
            .open(&self.path)
            .map_err(|source| StoreError::Append { path: self.path.clone(), source })?;
        let base_bytes = bytes.len() as u64;
        self.saved = Some(Saved { config: config.clone(), file, base_bytes, appended_bytes: 0 });
        Ok(())
    }

    fn read(&self) -> Option<Snapshot> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error,
                    "the last known good configuration cannot be read; a control node must send it");
                return None;
            }
        };
        let replayed = replay(&bytes, &self.cluster);
        let revision = super::journal::revision_of(replayed.config.as_ref()).0;
        match &replayed.damage {
            None => {}
            Some(Damage::Torn { .. }) => tracing::info!(path = %self.path.display(), revision,
                "the last write was cut short; using what stands before it"),
            Some(damage) => tracing::warn!(path = %self.path.display(), %damage, revision,
                "the last known good configuration is damaged; using what stands before"),
        }
        replayed.config
    }
}

impl Saved {
    fn append(&mut self, config: &Snapshot) -> io::Result<()> {
        let bytes = encode_delta(&self.config, config);
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.appended_bytes += bytes.len() as u64;
        self.config = config.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
