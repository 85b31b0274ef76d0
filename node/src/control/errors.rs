//! Why the handle of a control process says no, one enum for each operation.

use model::{ConfigErrors, ObjectKey, Revision, cluster::NodeId};

/// Why a write was not, or not surely, made.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The configuration that would result is not valid; nothing was written.
    #[error("the configuration is not valid")]
    Invalid(#[from] ConfigErrors),
    /// A packet filter would cut off the cluster or the caller; nothing was written. Force does.
    #[error("a packet filter would cut off the cluster or the caller")]
    LockOut(ConfigErrors),
    /// Envoy refuses it, as a try has shown; nothing was written. Force does.
    #[error("Envoy refuses a part of the configuration")]
    EngineRefuses(ConfigErrors),
    /// The configuration is at another revision than expected; nothing was written. Read again.
    #[error("the configuration is at revision {found}, expected {expected}")]
    Conflict {
        /// What the caller expected, or what was read just before.
        expected: Revision,
        /// What is there.
        found: Revision,
    },
    /// An object to be deleted is not there; nothing was written.
    #[error("there is no {key}")]
    NotFound {
        /// Which object.
        key: ObjectKey,
    },
    /// The revision is no longer, or not yet, kept.
    #[error("revision {revision} is not available: {reason}")]
    NotKept {
        /// The revision asked for.
        revision: Revision,
        /// Which ones are kept.
        reason: String,
    },
    /// There is no rollout to be stopped, resumed or taken back; nothing was written.
    #[error("no rollout is under way")]
    NoRollout,
    /// A bound is passed; nothing was written. Never retry.
    #[error("{what} is {size}, the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// Nothing was written. Retry later.
    #[error("not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// The write may or may not have happened. Read, then decide.
    #[error("the outcome of the write is unknown: {reason}")]
    OutcomeUnknown {
        /// What happened.
        reason: String,
    },
}

/// Why a read was not answered. Retry later or elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Consensus could not answer with the freshness asked for.
    #[error(transparent)]
    Read(#[from] consensus::ReadError),
    /// The store holds an object that this program cannot read.
    #[error("the stored object {key} is unreadable by this version: {reason}")]
    Unreadable {
        /// The key in the store.
        key: String,
        /// Why.
        reason: String,
    },
    /// The revision is no longer, or not yet, kept.
    #[error("revision {revision} is not available: {reason}")]
    NotKept {
        /// The revision asked for.
        revision: Revision,
        /// Which ones are kept.
        reason: String,
    },
}

/// Why a node was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is no such node.
    #[error("there is no node {node}")]
    Unknown {
        /// Which node.
        node: NodeId,
    },
    /// Removing it would leave no majority.
    #[error("{reason}")]
    Unsafe {
        /// Why.
        reason: String,
    },
    /// Not now. Retry later.
    #[error("not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}
