//! What a caller proposes and what it gets back: many writes that happen together or not at all.

use std::fmt;

use bytes::Bytes;

use crate::ids::Revision;

/// Names one transaction across all its retries, so that it applies at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u128);

impl RequestId {
    /// Draws a fresh id at random.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A compare-and-set over many keys: one log entry, one revision, one watch batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The id under which retries of this transaction apply once.
    pub request: RequestId,
    /// Who asked for it, kept in the history.
    pub actor: String,
    /// Why, kept in the history.
    pub message: String,
    /// What must hold; otherwise nothing is written.
    pub compare: Vec<Compare>,
    /// What is written, in order; a key may occur once.
    pub ops: Vec<Op>,
}

impl Transaction {
    /// Makes an unconditional transaction under a fresh request id.
    pub fn new(actor: impl Into<String>, message: impl Into<String>, ops: Vec<Op>) -> Self {
        Self {
            request: RequestId::random(),
            actor: actor.into(),
            message: message.into(),
            compare: Vec::new(),
            ops,
        }
    }
}

/// A precondition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key was last written at this revision; `None` means that it must not exist.
    KeyRevision {
        /// The key.
        key: String,
        /// The revision of its last write.
        revision: Option<Revision>,
    },
    /// No key that starts with the prefix was written or deleted after this revision.
    PrefixAtMost {
        /// The start of the keys.
        prefix: String,
        /// The newest revision that may have touched them.
        revision: Revision,
    },
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates or replaces a key.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a key; a missing key is no error.
    Delete {
        /// The key.
        key: String,
    },
}

impl Op {
    /// The key that is written.
    pub fn key(&self) -> &str {
        match self {
            Op::Put { key, .. } | Op::Delete { key } => key,
        }
    }
}

/// The receipt of a transaction that is durable on a quorum and applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The revision that it made.
    pub revision: Revision,
    /// The leader's clock when it proposed the entry, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}
