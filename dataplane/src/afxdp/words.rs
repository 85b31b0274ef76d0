//! What workers share with XDP of limiters: the word that all take from, and how many packets wait.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicU32, Ordering},
};

use ebpf_common::qos::{LIMITER_WAYS, wait::gate};

use super::{gates::GateWords, scheduler::Words};
use crate::xdp::mapping::Mapping;

/// Words of an entry: those of [`ebpf_common::qos::Spent`].
const UNTIL: usize = 0;
const PENDING: usize = 1;
const SHUT: usize = 2;

/// The limiters' map, written by atomic operations alone.
#[derive(Debug)]
pub struct SharedWords(Mapping);

// SAFETY: every access is an atomic operation on the mapping, which lives as long as this.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps the map.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn new(map: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self(Mapping::new(map, LIMITER_WAYS)?))
    }

    /// Returns how many packets of a lane are with workers.
    #[must_use]
    pub fn pending(&self, lane: u32) -> u64 {
        self.0.word64(lane as usize, PENDING).load(Ordering::Acquire)
    }

    /// Notes that packets of a lane have come out. XDP may have given up counting them.
    pub fn finish(&self, lane: u32, packets: u64) {
        let less = |pending: u64| Some(pending.saturating_sub(packets));
        let pending = self.0.word64(lane as usize, PENDING);
        let _before = pending.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// Corrects a count of packets that no worker has.
    pub fn forget(&self, lane: u32, pending: u64) {
        let word = self.0.word64(lane as usize, PENDING);
        let _kept = word.compare_exchange(pending, 0, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// The words by which XDP knows what is full at a queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueGates<'a> {
    /// The words.
    pub words: &'a SharedWords,
    /// The queue.
    pub queue: u32,
}

impl GateWords for QueueGates<'_> {
    fn shut_until(&self, lane: u32, tick: u64) {
        let word = self.words.0.word64(lane as usize, SHUT + gate(self.queue));
        word.store(tick, Ordering::Release);
    }
}

impl Words for SharedWords {
    fn read(&self, lane: u32) -> u64 {
        self.0.word64(lane as usize, UNTIL).load(Ordering::Acquire)
    }

    fn exchange(&self, lane: u32, old: u64, new: u64) -> u64 {
        let word = self.0.word64(lane as usize, UNTIL);
        match word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(found) | Err(found) => found,
        }
    }
}

/// How many packets of each lane a worker holds.
#[derive(Debug)]
pub struct Held(Box<[AtomicU32]>);

impl Default for Held {
    fn default() -> Self {
        Self((0..LIMITER_WAYS).map(|_| AtomicU32::new(0)).collect())
    }
}

impl Held {
    /// Notes a packet that has come.
    pub fn add(&self, lane: u32) {
        self.0[lane as usize].fetch_add(1, Ordering::AcqRel);
    }

    /// Notes packets that have gone.
    pub fn remove(&self, lane: u32, packets: u32) {
        self.0[lane as usize].fetch_sub(packets, Ordering::AcqRel);
    }

    /// Returns how many there are.
    #[must_use]
    pub fn count(&self, lane: u32) -> u32 {
        self.0[lane as usize].load(Ordering::Acquire)
    }

    /// Forgets all, since they are lost.
    pub fn clear(&self) {
        self.0.iter().for_each(|count| count.store(0, Ordering::Release));
    }
}
