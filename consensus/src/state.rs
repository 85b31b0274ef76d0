//! The replicated state: what every member computes from the same log.
//!
//! Pure data on persistent maps. It changes in [`apply`] only, costs O(1) to clone, and holds no
//! clock, no randomness and no map with an order of its own.

pub(crate) mod apply;
pub(crate) mod image;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use imbl::{OrdMap, Vector};

use crate::errors::Compacted;
use crate::history::Batch;
use crate::ids::Revision;
use crate::transaction::RequestId;
use crate::view::{Versioned, View};

/// What a request that was applied has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) revision: Revision,
    pub(crate) time_ms: u64,
}

/// All keys, the remembered requests, and the kept history.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct State {
    /// The last entry that was applied.
    pub(crate) revision: Revision,
    /// Log time: the greatest time that a leader stamped so far.
    pub(crate) time_ms: u64,
    pub(crate) objects: OrdMap<Arc<str>, Versioned>,
    pub(crate) sessions: OrdMap<RequestId, Session>,
    /// The same requests, oldest first.
    pub(crate) session_order: OrdMap<Revision, RequestId>,
    pub(crate) history: Vector<Batch>,
    pub(crate) history_bytes: u64,
    /// Every change after this revision is in `history`.
    pub(crate) floor: Revision,
}

/// What readers and watchers see: replaced as a whole, cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    pub(crate) view: View,
    pub(crate) history: Vector<Batch>,
    /// From this revision on every change is in `history`.
    pub(crate) floor: Revision,
}

impl State {
    /// Takes the picture that readers see.
    pub(crate) fn publish(&self) -> Published {
        let view =
            View { revision: self.revision, time_ms: self.time_ms, objects: self.objects.clone() };
        Published { view, history: self.history.clone(), floor: self.floor }
    }
}

impl Published {
    /// Lists the batches after `after`, oldest first.
    pub(crate) fn batches(&self, after: Revision, limit: usize) -> Result<Vec<Batch>, Compacted> {
        if after < self.floor {
            return Err(Compacted::Below { floor: self.floor });
        }
        Ok(self.history.iter().skip(self.position(after)).take(limit).cloned().collect())
    }

    /// The place in the history of the first batch after `revision`.
    pub(crate) fn position(&self, revision: Revision) -> usize {
        match self.history.binary_search_by_key(&revision, |batch| batch.revision) {
            Ok(at) => at + 1,
            Err(at) => at,
        }
    }

    /// Undoes every batch after `revision`.
    pub(crate) fn read_at(&self, revision: Revision) -> Result<View, Compacted> {
        if revision < self.floor {
            return Err(Compacted::Below { floor: self.floor });
        }
        if revision > self.view.revision {
            return Err(Compacted::Future { applied: self.view.revision });
        }
        let keep = self.position(revision);
        let mut objects = self.view.objects.clone();
        for batch in self.history.iter().skip(keep).rev() {
            for event in batch.events.iter().rev() {
                match &event.previous {
                    Some(previous) => objects.insert(event.key.as_str().into(), previous.clone()),
                    None => objects.remove(event.key.as_str()),
                };
            }
        }
        let time_ms = match keep.checked_sub(1) {
            Some(last) => self.history[last].time_ms,
            None => 0,
        };
        Ok(View { revision, time_ms, objects })
    }
}
