//! The replicated state in sled, so that a start need not replay the log from a snapshot.
//!
//! sled is never the source of durability: it follows the applied entries, may lag, and may be
//! lost, damaged or deleted at any time. Then it is moved aside and written anew from the state
//! that snapshot and log give. One thread owns it; one tree holds everything, because a batch is
//! atomic per tree only.

pub(crate) mod rows;
mod worker;

use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, oneshot};

use crate::pb::storage::Image;
use crate::state::State;
use crate::state::apply::Changes;

/// Applied groups that may wait for the thread; beyond it, apply waits.
const QUEUE_LENGTH: usize = 256;

/// Why a store cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("sled: {0}")]
    Sled(#[from] sled::Error),
    #[error("sled panicked: {0}")]
    Panicked(String),
    #[error("row {0} is damaged")]
    Row(String),
    #[error("it is of version {0}")]
    Version(u32),
    #[error("it is of cluster {0}")]
    Foreign(String),
    #[error("it was not written to its end")]
    Unfinished,
    #[error(transparent)]
    Image(#[from] crate::state::image::InvalidImage),
    #[error("move it aside: {0}")]
    Aside(std::io::Error),
}

/// What the thread is asked for.
pub(super) enum Command {
    /// The rows of a group of entries, and the state after it.
    Apply {
        changes: Vec<Changes>,
        image: Image,
        state: State,
    },
    /// Everything anew, after a snapshot was installed.
    Replace {
        image: Image,
        state: State,
    },
    Stop {
        done: oneshot::Sender<()>,
    },
}

/// Handle of the thread that writes the store.
#[derive(Clone)]
pub(crate) struct Store {
    queue: mpsc::Sender<Command>,
}

impl Store {
    /// Starts the thread on a store that holds `state`.
    pub(crate) fn start(path: PathBuf, cluster: String, opened: Opened) -> std::io::Result<Self> {
        let (queue, receiver) = mpsc::channel(QUEUE_LENGTH);
        let worker = worker::Worker { path, cluster, opened: Some(opened), failures: 0 };
        std::thread::Builder::new().name("store".into()).spawn(move || worker.run(receiver))?;
        Ok(Self { queue })
    }

    /// Follows a group of applied entries; waits while the thread is far behind.
    pub(crate) async fn apply(&self, changes: Vec<Changes>, image: Image, state: State) {
        // A stopped thread leaves the store behind, which the next start repairs.
        let _ = self.queue.send(Command::Apply { changes, image, state }).await;
    }

    /// Replaces everything.
    pub(crate) async fn replace(&self, image: Image, state: State) {
        let _ = self.queue.send(Command::Replace { image, state }).await;
    }

    /// Flushes and ends the thread.
    pub(crate) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.queue.send(Command::Stop { done }).await.is_ok() {
            let _ = stopped.await;
        }
    }
}

/// An open sled with its one tree.
pub(crate) struct Opened {
    db: sled::Db,
    tree: sled::Tree,
}

/// Opens the store at `path` and reads all of it; blocking.
///
/// # Errors
/// When it is missing, damaged, of another version or cluster, or sled panics.
pub(crate) fn load(path: &Path, cluster: &str) -> Result<(Opened, Image, State), StoreError> {
    worker::guarded(|| {
        let opened = Opened::open(path)?;
        let (image, state) = rows::read(&opened.tree, cluster)?;
        Ok((opened, image, state))
    })
}

/// Moves what is at `path` aside and writes the state to a new store; blocking.
///
/// # Errors
/// When sled cannot be opened or written even in an empty folder.
pub(crate) fn rebuild(
    path: &Path,
    cluster: &str,
    image: &Image,
    state: &State,
) -> Result<Opened, StoreError> {
    worker::move_aside(path)?;
    worker::guarded(|| {
        let opened = Opened::open(path)?;
        rows::write_all(&opened.tree, cluster, image, state)?;
        Ok(opened)
    })
}

impl Opened {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let db = sled::Config::new().path(path).flush_every_ms(None).open()?;
        let tree = db.open_tree("state")?;
        Ok(Self { db, tree })
    }
}
