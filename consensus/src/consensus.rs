//! The handle through which the rest of the program uses the replicated store.

mod confirm;
mod membership;
mod propose;
mod read;
mod route;
mod start;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{InitializeError as RaftInitializeError, RaftError};
use tokio::sync::watch;

use crate::errors::{
    Compacted, Fatal, InitializeError, MembershipError, ProposeError, ReadError, StartError,
};
use crate::failure::Failure;
use crate::history::Batch;
use crate::ids::{NodeAddresses, NodeId, Revision};
use crate::options::Options;
use crate::raft::leader_calls::LeaderCalls;
use crate::raft::peers::Peers;
use crate::raft::{Node, Raft};
use crate::state::Published;
use crate::status::RaftStatus;
use crate::store::Store;
use crate::transaction::{Committed, Transaction};
use crate::view::View;
use crate::wal::Wal;
use crate::watch::Watcher;

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every write that was acknowledged before the read began, on any node.
    Linearizable,
    /// What is applied here, at once.
    Stale,
    /// Waits until this revision is applied here.
    AtLeast(Revision),
}

/// A running member of the cluster; clones share it.
///
/// It runs until [`Consensus::shutdown`]; dropping the handles does not stop it.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    raft: Raft,
    calls: LeaderCalls,
    peers: Peers,
    wal: Wal,
    store: Option<Store>,
    published: watch::Receiver<Published>,
    status: watch::Receiver<RaftStatus>,
    failure: Failure,
    stop: watch::Sender<bool>,
    tasks: tokio::sync::Mutex<Vec<tokio::task::JoinHandle<()>>>,
    /// Shared by the reads that ask the leader at the same time.
    confirmations: confirm::Confirmations<Result<Revision, ReadError>>,
    request_timeout: Duration,
    attempt_timeout: Duration,
    /// Released when the node has stopped, so that another process may use the directory.
    directory: std::sync::Mutex<Option<crate::directory::Directory>>,
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consensus").field("node", &self.inner.node).finish_non_exhaustive()
    }
}

impl Consensus {
    /// Opens the data directory, starts Raft and listens for peers.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        start::start(options).await
    }

    /// This node's id.
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// Forms a new cluster of these members; every founder calls it with the same list, or one
    /// node calls it for all.
    ///
    /// # Errors
    /// [`InitializeError::AlreadyInitialized`] on a node that has a log or a vote.
    pub async fn initialize(
        &self,
        members: BTreeMap<NodeId, NodeAddresses>,
    ) -> Result<(), InitializeError> {
        let node = self.inner.node;
        if !members.contains_key(&node) {
            return Err(InitializeError::NotAMember { node });
        }
        let members: BTreeMap<u64, Node> =
            members.into_iter().map(|(id, addresses)| (id.0, Node(addresses))).collect();
        self.inner.raft.initialize(members).await.map_err(|error| match error {
            RaftError::APIError(RaftInitializeError::NotAllowed(_)) => {
                InitializeError::AlreadyInitialized
            }
            RaftError::APIError(RaftInitializeError::NotInMembers(_)) => {
                InitializeError::NotAMember { node }
            }
            RaftError::Fatal(fatal) => InitializeError::Stopped { reason: fatal.to_string() },
        })
    }

    /// Commits a transaction, forwarding it to the leader when this node does not lead, and
    /// returns once it is applied here too, so that the caller can read its write.
    ///
    /// # Errors
    /// See [`ProposeError`]: only `OutcomeUnknown` may have been written.
    pub async fn propose(&self, transaction: Transaction) -> Result<Committed, ProposeError> {
        propose::propose(&self.inner, transaction).await
    }

    /// Reads the whole state at one revision.
    ///
    /// # Errors
    /// See [`ReadError`]; a stale read cannot fail.
    pub async fn read(&self, consistency: Consistency) -> Result<View, ReadError> {
        read::read(&self.inner, consistency).await
    }

    /// Reads the state as it was at a kept revision.
    ///
    /// # Errors
    /// [`Compacted`] when the history does not reach it.
    pub fn read_at(&self, revision: Revision) -> Result<View, Compacted> {
        let published = self.inner.published.borrow().clone();
        published.read_at(revision)
    }

    /// Lists kept revisions after `after`, oldest first.
    ///
    /// # Errors
    /// [`Compacted`] when changes after `after` are no longer all known.
    pub fn history(&self, after: Revision, limit: usize) -> Result<Vec<Batch>, Compacted> {
        let published = self.inner.published.borrow().clone();
        published.batches(after, limit)
    }

    /// The oldest revision that [`Self::watch`], [`Self::history`] and [`Self::read_at`] accept.
    pub fn history_floor(&self) -> Revision {
        self.inner.published.borrow().floor
    }

    /// Watches all changes under `prefix` after `after`, which may lie ahead of this node.
    ///
    /// # Errors
    /// [`Compacted::Below`] when changes after `after` are no longer all known.
    pub fn watch(&self, prefix: &str, after: Revision) -> Result<Watcher, Compacted> {
        let floor = self.history_floor();
        if after < floor {
            return Err(Compacted::Below { floor });
        }
        Ok(Watcher::new(prefix, after, self.inner.published.clone()))
    }

    /// The state of Raft, republished on every change.
    pub fn status(&self) -> watch::Receiver<RaftStatus> {
        self.inner.status.clone()
    }

    /// Draws a node id that no node has had: the log index of a blank entry.
    ///
    /// # Errors
    /// As [`Self::propose`]; a failed call may waste an id and nothing else.
    pub async fn allocate_node_id(&self) -> Result<NodeId, ProposeError> {
        propose::allocate_node_id(&self.inner).await
    }

    /// Adds a member without a vote; adding it again with the same addresses is no error.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn add_learner(
        &self,
        node: NodeId,
        addresses: NodeAddresses,
    ) -> Result<(), MembershipError> {
        membership::add_learner(&self.inner, node, &addresses).await
    }

    /// Makes a learner that has caught up a voter; promoting a voter is no error.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn promote(&self, node: NodeId) -> Result<(), MembershipError> {
        membership::promote(&self.inner, node).await
    }

    /// Takes a member out, voter or learner; removing a stranger is no error.
    ///
    /// # Errors
    /// [`MembershipError::QuorumAtRisk`] when the remaining voters have no reachable majority.
    pub async fn remove(&self, node: NodeId) -> Result<(), MembershipError> {
        membership::remove(&self.inner, node).await
    }

    /// Asks the leader, when it is this node, to hand over to `node` before it stops.
    ///
    /// Best effort: the usual election follows when nothing comes of it.
    pub async fn transfer_leadership(&self, node: NodeId) {
        // A stopped Raft has no leadership to transfer.
        let _ = self.inner.raft.trigger().transfer_leader(node.0).await;
    }

    /// Stops Raft and closes the files; idempotent.
    pub async fn shutdown(&self) {
        self.inner.stop.send_replace(true);
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop cleanly");
        }
        self.inner.wal.close().await;
        if let Some(store) = &self.inner.store {
            store.stop().await;
        }
        for task in self.inner.tasks.lock().await.drain(..) {
            // A task that panicked has nothing left to stop.
            let _ = task.await;
        }
        drop(self.inner.directory.lock().expect("no one panics with this lock").take());
    }

    /// Becomes `Some` when the node can do nothing right any more: the process must exit.
    pub fn failed(&self) -> watch::Receiver<Option<Fatal>> {
        self.inner.failure.subscribe()
    }
}
