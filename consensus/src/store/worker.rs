//! The thread that owns sled, and what it does when sled fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::{Command, Opened, StoreError, rebuild, rows};
use crate::pb::storage::Image;
use crate::state::State;
use crate::telemetry;

/// Rebuilds in one run of the process; a disk that breaks sled each time is left alone then.
const REBUILDS_MAX: u32 = 3;

/// The state of the thread.
pub(super) struct Worker {
    pub(super) path: PathBuf,
    pub(super) cluster: String,
    /// `None` after sled failed too often: the store stays behind until the next start.
    pub(super) opened: Option<Opened>,
    pub(super) failures: u32,
}

impl Worker {
    /// Runs until it is stopped or every handle is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        while let Some(command) = queue.blocking_recv() {
            match command {
                Command::Apply { changes, image, state } => {
                    let Some(opened) = &self.opened else { continue };
                    let (tree, cluster) = (&opened.tree, &self.cluster);
                    let written = guarded(|| rows::write(tree, cluster, &changes, &image));
                    if let Err(error) = written {
                        self.repair("failed", &error, &image, &state);
                    }
                }
                Command::Replace { image, state } => self.rebuild(&image, &state),
                Command::Stop { done } => {
                    self.close();
                    // The caller may have given up waiting.
                    let _ = done.send(());
                    return;
                }
            }
        }
        self.close();
    }

    fn repair(&mut self, why: &'static str, error: &StoreError, image: &Image, state: &State) {
        tracing::warn!(path = %self.path.display(), %error, "the store failed and is rebuilt");
        metrics::counter!(telemetry::STORE_REBUILDS, "reason" => why).increment(1);
        self.failures += 1;
        self.rebuild(image, state);
    }

    fn rebuild(&mut self, image: &Image, state: &State) {
        self.opened = None;
        if self.failures > REBUILDS_MAX {
            return;
        }
        match rebuild(&self.path, &self.cluster, image, state) {
            Ok(opened) => self.opened = Some(opened),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error,
                    "the store cannot be rebuilt; it stays behind until the next start");
            }
        }
    }

    fn close(&mut self) {
        if let Some(opened) = self.opened.take() {
            // Only a convenience for the next start.
            let _ = guarded(|| Ok(opened.db.flush()?));
        }
    }
}

/// Runs `work` and turns a panic of sled into an error.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(StoreError::Panicked(text.unwrap_or_else(|| "without a message".to_owned())))
    })
}

/// Renames a store to `<name>.aside`, replacing the one that was moved there before.
pub(super) fn move_aside(path: &Path) -> Result<(), StoreError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".aside");
    let aside = PathBuf::from(aside);
    let missing_is_fine = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(StoreError::Aside),
    };
    let remove = |path: &Path| {
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
    };
    missing_is_fine(remove(&aside))?;
    missing_is_fine(std::fs::rename(path, &aside))
}
