//! What a worker has done, for others to read.

use std::collections::BTreeMap;

use super::{priority::Priority, scheduler::Cause, sojourn::Sojourns};

/// What became of the packets of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneTally {
    /// Packets that were sent.
    pub sent: u64,
    /// Their bytes, as the limiter counts.
    pub sent_bytes: u64,
    /// Packets that were marked.
    pub marked: u64,
    /// Packets that were dropped, by [`Cause`].
    pub dropped: [u64; Cause::ALL.len()],
    /// Packets that wait.
    pub waiting: u64,
    /// Their bytes, as the limiter counts.
    pub waiting_bytes: u64,
}

impl LaneTally {
    /// Adds what another worker has done; what waits with both is together.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        self.marked += other.marked;
        self.waiting += other.waiting;
        self.waiting_bytes += other.waiting_bytes;
        for (count, more) in self.dropped.iter_mut().zip(other.dropped) {
            *count += more;
        }
    }
}

/// What a worker has done since it began.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By lane.
    pub lanes: BTreeMap<u32, LaneTally>,
    /// How long packets waited, by class, in the window that is over and in the one that runs.
    pub sojourns: [[Sojourns; 4]; 2],
    /// The priority that it has.
    pub priority: Priority,
    /// Packets that found no room on their way to the worker.
    pub lost: u64,
    /// Packets that the way out did not take.
    pub unsent: u64,
}

impl Tally {
    /// Begins a new window of sojourns.
    pub fn turn(&mut self) {
        let [before, running] = &mut self.sojourns;
        *before = std::mem::take(running);
    }

    /// Returns how long packets of each class waited in both windows.
    #[must_use]
    pub fn recent(&self) -> [Sojourns; 4] {
        let [before, running] = &self.sojourns;
        let mut all = before.clone();
        for (all, more) in all.iter_mut().zip(running) {
            all.merge(more);
        }
        all
    }
}
