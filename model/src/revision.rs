//! The number of a configuration state.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Numbers one applied transaction: the index of its Raft log entry.
///
/// Revisions grow, and have gaps (entries that change no object).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The state before the first transaction.
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
