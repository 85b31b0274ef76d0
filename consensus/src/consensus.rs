//! The handle through which the rest of the program uses the replicated store.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::errors::{
    Compacted, Fatal, InitializeError, MembershipError, ProposeError, ReadError, StartError,
};
use crate::history::Batch;
use crate::ids::{NodeAddresses, NodeId, Revision};
use crate::options::Options;
use crate::status::RaftStatus;
use crate::transaction::{Committed, Transaction};
use crate::view::View;
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
#[derive(Clone)]
pub struct Consensus {}

impl Consensus {
    /// Opens the data directory, starts Raft and listens for peers.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let _ = options;
        todo!()
    }

    /// Forms a new cluster of these members; every founder calls it with the same list, or one
    /// node calls it for all.
    ///
    /// # Errors
    /// [`InitializeError::AlreadyInitialized`] on a node that has a log.
    pub async fn initialize(
        &self,
        members: BTreeMap<NodeId, NodeAddresses>,
    ) -> Result<(), InitializeError> {
        let _ = members;
        todo!()
    }

    /// Commits a transaction, forwarding it to the leader, and returns once it is applied on the
    /// node that asked.
    ///
    /// # Errors
    /// See [`ProposeError`]: only `OutcomeUnknown` may have been written.
    pub async fn propose(&self, transaction: Transaction) -> Result<Committed, ProposeError> {
        let _ = transaction;
        todo!()
    }

    /// Reads the whole state at one revision.
    ///
    /// # Errors
    /// See [`ReadError`]; a stale read cannot fail on a running node.
    pub async fn read(&self, consistency: Consistency) -> Result<View, ReadError> {
        let _ = consistency;
        todo!()
    }

    /// Reads the state as it was at a kept revision.
    ///
    /// # Errors
    /// [`Compacted`] when the history does not reach it.
    pub fn read_at(&self, revision: Revision) -> Result<View, Compacted> {
        let _ = revision;
        todo!()
    }

    /// Lists kept revisions after `after`, oldest first.
    ///
    /// # Errors
    /// [`Compacted`] when changes after `after` are no longer all known.
    pub fn history(&self, after: Revision, limit: usize) -> Result<Vec<Batch>, Compacted> {
        let _ = (after, limit);
        todo!()
    }

    /// The oldest revision that [`Self::watch`], [`Self::history`] and [`Self::read_at`] accept.
    pub fn history_floor(&self) -> Revision {
        todo!()
    }

    /// Watches all changes under `prefix` after `after`.
    ///
    /// # Errors
    /// [`Compacted`] when changes after `after` are no longer all known.
    pub fn watch(&self, prefix: &str, after: Revision) -> Result<Watcher, Compacted> {
        let _ = (prefix, after);
        todo!()
    }

    /// The state of Raft, republished on every change.
    pub fn status(&self) -> watch::Receiver<RaftStatus> {
        todo!()
    }

    /// Draws a node id that no node has had: the log index of a blank entry.
    ///
    /// # Errors
    /// As [`Self::propose`]; an unknown outcome wastes an id and nothing else.
    pub async fn allocate_node_id(&self) -> Result<NodeId, ProposeError> {
        todo!()
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
        let _ = (node, addresses);
        todo!()
    }

    /// Makes a learner that has caught up a voter.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn promote(&self, node: NodeId) -> Result<(), MembershipError> {
        let _ = node;
        todo!()
    }

    /// Takes a member out, voter or learner.
    ///
    /// # Errors
    /// [`MembershipError::QuorumAtRisk`] when the remaining voters have no reachable majority.
    pub async fn remove(&self, node: NodeId) -> Result<(), MembershipError> {
        let _ = node;
        todo!()
    }

    /// Stops Raft and closes the files; idempotent.
    pub async fn shutdown(&self) {
        todo!()
    }

    /// Becomes `Some` when the node can do nothing right any more: the process must exit.
    pub fn failed(&self) -> watch::Receiver<Option<Fatal>> {
        todo!()
    }
}
