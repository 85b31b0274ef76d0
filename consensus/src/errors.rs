//! The errors of the public operations, one enum per operation, each telling the caller what to do.

use std::path::PathBuf;
use std::time::Duration;

use crate::ids::{NodeId, Revision};
use crate::transaction::RequestId;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory belongs to another node or cluster.
    #[error(
        "{path} belongs to node {found_node} of cluster {found_cluster}, but this is node \
         {node} of cluster {cluster}: start with the right --data-dir, or move that one away"
    )]
    ForeignDirectory {
        /// The file that says so.
        path: PathBuf,
        /// The cluster in the file.
        found_cluster: String,
        /// The node in the file.
        found_node: NodeId,
        /// The cluster that was asked for.
        cluster: String,
        /// The node that was asked for.
        node: NodeId,
    },
    /// The data directory's parts do not fit together or a file is damaged.
    #[error("{path} is damaged: {reason}; {remedy}")]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// A file was written by a newer version of this program.
    #[error(
        "{path} has format version {found}, this program reads up to {known}: run the newer program"
    )]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// Another process uses the data directory.
    #[error("{path} is in use by another process")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{action} {path}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The Raft port could not be opened.
    #[error("listen for Raft on {address}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why it failed.
        source: std::io::Error,
    },
    /// openraft refused the configuration or the storage.
    #[error("start raft: {reason}")]
    Raft {
        /// openraft's words.
        reason: String,
    },
}

/// Why a cluster was not formed.
#[derive(Debug, thiserror::Error)]
pub enum InitializeError {
    /// The node already holds a log or a vote: it must rejoin its cluster.
    #[error("this node is already part of a cluster")]
    AlreadyInitialized,
    /// The member list does not hold this node.
    #[error("the members do not include this node ({node})")]
    NotAMember {
        /// This node.
        node: NodeId,
    },
    /// Raft stopped.
    #[error("raft stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Why a transaction was not, or not surely, committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// A precondition did not hold; nothing was written. Read again, then decide.
    #[error("{key} is at revision {found:?}, expected {expected:?}")]
    Conflict {
        /// The key, or the prefix of a prefix condition.
        key: String,
        /// What the transaction expected.
        expected: Option<Revision>,
        /// What was there.
        found: Option<Revision>,
    },
    /// A prefix condition names a revision older than the kept history. Read again.
    #[error("cannot compare {prefix} with revision {revision}: history starts at {floor}")]
    CompareCompacted {
        /// The prefix.
        prefix: String,
        /// The revision of the condition.
        revision: Revision,
        /// The oldest revision that can be compared with.
        floor: Revision,
    },
    /// No leader was reached in time and the transaction was never sent. Retry later.
    #[error("no leader for {waited:?}: a majority of the voters must be up and reach each other")]
    NoLeader {
        /// How long was waited.
        waited: Duration,
    },
    /// The transaction may or may not be committed. Retry under the same request id to know.
    #[error("the outcome of request {request} is unknown: {reason}")]
    OutcomeUnknown {
        /// The id to retry under.
        request: RequestId,
        /// What happened.
        reason: String,
    },
    /// A bound of `limits` is passed; nothing was written. Never retry.
    #[error("{what} is {size}, the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// The transaction contradicts itself. Never retry.
    #[error("invalid transaction: {reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
    /// This node stopped. Ask another one.
    #[error("this node stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Why a read was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The leader could not be confirmed in time. Retry later, or read stale.
    #[error(
        "no leader was confirmed within {waited:?}: more than half of the voters must run and \
         reach each other"
    )]
    NoLeader {
        /// How long was waited.
        waited: Duration,
    },
    /// This node did not catch up in time. Retry later or on another node.
    #[error(
        "this node is at revision {applied}, revision {wanted} did not arrive within {waited:?}"
    )]
    Behind {
        /// What is applied here.
        applied: Revision,
        /// What was asked for.
        wanted: Revision,
        /// How long was waited.
        waited: Duration,
    },
    /// This node stopped. Ask another one.
    #[error("this node stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// A revision that is no longer, or not yet, kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Compacted {
    /// It is older than the kept history. Read a full view and go on from there.
    #[error("the kept history starts after revision {floor}")]
    Below {
        /// The oldest revision from which changes are known without a gap.
        floor: Revision,
    },
    /// It is newer than what is applied here.
    #[error("the newest revision is {applied}")]
    Future {
        /// What is applied here.
        applied: Revision,
    },
}

/// Why a watch ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The watcher fell behind the kept history. Read a full view and watch from its revision.
    #[error("watch is at {last}, the kept history starts after {floor}")]
    Lagged {
        /// The last revision that was handed out.
        last: Revision,
        /// Where the history starts.
        floor: Revision,
    },
    /// The node stopped.
    #[error("this node stopped")]
    Stopped,
}

/// Why a membership change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Another change is under way. Retry when it is done.
    #[error("another membership change is under way")]
    InProgress,
    /// The node is not a member.
    #[error("node {node} is not a member")]
    Unknown {
        /// The node.
        node: NodeId,
    },
    /// The node is known under other addresses: remove it and add it under a new id.
    #[error("node {node} is already a member with other addresses")]
    AddressesDiffer {
        /// The node.
        node: NodeId,
    },
    /// The learner has not yet caught up with the log. Retry later.
    #[error("node {node} is {behind} entries behind, at most {limit} are allowed for a promotion")]
    NotCaughtUp {
        /// The node.
        node: NodeId,
        /// Entries that it misses.
        behind: u64,
        /// The bound.
        limit: u64,
    },
    /// The change would take the last voter, or leave no reachable majority.
    #[error("removing node {node} would leave {healthy} reachable voters of {voters}: no majority")]
    QuorumAtRisk {
        /// The node.
        node: NodeId,
        /// Voters after the change that answered lately.
        healthy: usize,
        /// Voters after the change.
        voters: usize,
    },
    /// The limit on voters is reached.
    #[error("the cluster has {voters} voters, which is the limit")]
    TooManyVoters {
        /// Voters.
        voters: usize,
    },
    /// No leader was reached. Retry later.
    #[error("no leader was reached within {waited:?}")]
    NoLeader {
        /// How long was waited.
        waited: Duration,
    },
    /// The change may or may not have been made. Look at the members, then retry.
    #[error("the outcome of the membership change is unknown: {reason}")]
    OutcomeUnknown {
        /// What happened.
        reason: String,
    },
    /// This node stopped.
    #[error("this node stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// An error after which the node can do nothing right: the process must exit and start again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part} failed: {reason}")]
pub struct Fatal {
    /// The part that failed: `wal`, `raft`, `snapshot`.
    pub part: &'static str,
    /// What happened.
    pub reason: String,
}
