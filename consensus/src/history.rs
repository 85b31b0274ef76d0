//! Kept revisions: who changed what, when and why, and what stood there before.

use std::sync::Arc;

use crate::ids::Revision;
use crate::transaction::RequestId;
use crate::view::Versioned;

/// The change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The key.
    pub key: String,
    /// What stood there before, `None` when the key was created.
    pub previous: Option<Versioned>,
    /// What stands there after, `None` when the key was deleted.
    pub current: Option<Versioned>,
}

/// All changes of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The revision.
    pub revision: Revision,
    /// Log time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The request that made it.
    pub request: RequestId,
    /// Who asked for it.
    pub actor: String,
    /// Why.
    pub message: String,
    /// The changes in the order of the transaction; a deletion of a missing key makes none.
    pub events: Arc<Vec<Event>>,
}

impl Batch {
    /// Bytes of keys and values, as counted against the history's bound.
    pub(crate) fn weight(&self) -> u64 {
        let event = |e: &Event| {
            let value = |v: &Option<Versioned>| v.as_ref().map_or(0, |v| v.value.len() + 32);
            e.key.len() + value(&e.previous) + value(&e.current) + 32
        };
        let events: usize = self.events.iter().map(event).sum();
        (events + self.actor.len() + self.message.len() + 64) as u64
    }
}
