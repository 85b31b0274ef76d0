//! Which counter slot each frontend has, and which removed ones are still drained.
//!
//! Invariants: a frontend keeps its slot while it is carried or drained; a slot goes to another
//! frontend only after the drain time, so that a connection's counters are its own service's.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use ebpf_common::layout::SERVICES_MAX;

use super::plan::Frontend;

/// How long established connections of a removed listener go on; Envoy's `--drain-time-s` has
/// the same default.
pub const DRAIN: Duration = Duration::from_secs(600);

/// The slots.
#[derive(Debug, Default)]
pub struct Slots {
    held: BTreeMap<Frontend, Held>,
    /// The drained ones by the time of their removal.
    drained: BTreeSet<(Instant, Frontend)>,
    /// Slots below `unused` that nobody holds.
    free: BTreeSet<u32>,
    /// All slots from here on are free.
    unused: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    slot: u32,
    removed: Option<Instant>,
}

/// A frontend with its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Which frontend.
    pub frontend: Frontend,
    /// The number of its counters.
    pub slot: u32,
    /// Whether only established connections go on.
    pub draining: bool,
}

/// What came of asking for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The slot.
    pub slot: u32,
    /// Whether its counters are another frontend's.
    pub fresh: bool,
    /// The drained frontend that made way.
    pub evicted: Option<Frontend>,
}

impl Slots {
    /// Takes over what an earlier process left in the kernel. Drained ones begin their time anew.
    #[must_use]
    pub fn restored(slots: impl IntoIterator<Item = Slot>, now: Instant) -> Self {
        let mut restored = Self::default();
        let mut used = BTreeSet::new();
        for slot in slots {
            if (slot.slot as usize) < SERVICES_MAX && used.insert(slot.slot) {
                restored.held.insert(slot.frontend, Held { slot: slot.slot, removed: None });
                if slot.draining {
                    restored.drain(slot.frontend, now);
                }
            }
        }
        restored.unused = used.last().map_or(0, |last| last + 1);
        restored.free = (0..restored.unused).filter(|slot| !used.contains(slot)).collect();
        restored
    }

    /// Gives a frontend its slot, and ends its drain time. When all slots are held, the frontend
    /// that was removed first makes way.
    ///
    /// # Panics
    /// When all slots are held by frontends that are not drained; a plan carries fewer.
    pub fn take(&mut self, frontend: Frontend) -> Taken {
        if let Some(held) = self.held.get_mut(&frontend) {
            if let Some(at) = held.removed.take() {
                self.drained.remove(&(at, frontend));
            }
            return Taken { slot: held.slot, fresh: false, evicted: None };
        }
        let mut evicted = None;
        if self.free.is_empty() && self.unused as usize == SERVICES_MAX {
            let (_, first) = *self.drained.first().expect("more frontends than slots");
            self.release(first);
            evicted = Some(first);
        }
        let slot = self.free.pop_first().unwrap_or_else(|| {
            self.unused += 1;
            self.unused - 1
        });
        self.held.insert(frontend, Held { slot, removed: None });
        Taken { slot, fresh: true, evicted }
    }

    /// Begins the drain time of a frontend; returns its slot if it has one.
    pub fn drain(&mut self, frontend: Frontend, now: Instant) -> Option<u32> {
        let held = self.held.get_mut(&frontend)?;
        let at = *held.removed.get_or_insert(now);
        self.drained.insert((at, frontend));
        Some(held.slot)
    }

    /// Takes the slots from the frontends whose drain time has ended, and returns these.
    pub fn release_drained(&mut self, now: Instant) -> Vec<Frontend> {
        let ended: Vec<Frontend> = self
            .drained
            .iter()
            .take_while(|(at, _)| now.duration_since(*at) >= DRAIN)
            .map(|(_, frontend)| *frontend)
            .collect();
        for frontend in &ended {
            self.release(*frontend);
        }
        ended
    }

    /// Returns the slot of a frontend.
    #[must_use]
    pub fn get(&self, frontend: &Frontend) -> Option<u32> {
        self.held.get(frontend).map(|held| held.slot)
    }

    /// Walks over all frontends that hold a slot.
    pub fn frontends(&self) -> impl Iterator<Item = Frontend> {
        self.held.keys().copied()
    }

    /// Returns when the next drain time ends.
    #[must_use]
    pub fn next_release(&self) -> Option<Instant> {
        self.drained.first().map(|(at, _)| *at + DRAIN)
    }

    fn release(&mut self, frontend: Frontend) {
        if let Some(held) = self.held.remove(&frontend) {
            self.free.insert(held.slot);
            if let Some(at) = held.removed {
                self.drained.remove(&(at, frontend));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frontend(port: u16) -> Frontend {
        Frontend { address: None, port, protocol: 6 }
    }

    fn kept(slot: u32) -> Taken {
        Taken { slot, fresh: false, evicted: None }
    }

    fn fresh(slot: u32) -> Taken {
        Taken { slot, fresh: true, evicted: None }
    }

    #[test]
    fn a_slot_is_kept_drained_and_only_then_given_away() {
        let start = Instant::now();
        let mut slots = Slots::default();
        assert_eq!(slots.take(frontend(80)), fresh(0));
        assert_eq!(slots.take(frontend(81)), fresh(1));
        assert_eq!(slots.drain(frontend(80), start), Some(0));
        assert_eq!(slots.take(frontend(82)), fresh(2));
        let end = start + DRAIN;
        assert_eq!(slots.next_release(), Some(end));
        assert!(slots.release_drained(end - Duration::from_nanos(1)).is_empty());
        assert_eq!(slots.release_drained(end), [frontend(80)]);
        assert_eq!(slots.take(frontend(83)), fresh(0));
        assert_eq!(slots.next_release(), None);
    }

    #[test]
    fn a_listener_that_comes_back_keeps_its_slot() {
        let start = Instant::now();
        let mut slots = Slots::default();
        slots.take(frontend(80));
        slots.drain(frontend(80), start);
        assert_eq!(slots.take(frontend(80)), kept(0));
        assert!(slots.release_drained(start + DRAIN).is_empty());
    }

    #[test]
    fn removing_twice_does_not_prolong_the_drain_time() {
        let start = Instant::now();
        let mut slots = Slots::default();
        slots.take(frontend(80));
        slots.drain(frontend(80), start);
        slots.drain(frontend(80), start + DRAIN / 2);
        assert_eq!(slots.next_release(), Some(start + DRAIN));
        assert_eq!(slots.drain(frontend(81), start), None, "it has no slot");
    }

    #[test]
    fn drained_frontends_make_way_when_the_slots_run_out() {
        let start = Instant::now();
        let mut slots = Slots::default();
        for port in 0..SERVICES_MAX as u16 {
            slots.take(frontend(port));
        }
        slots.drain(frontend(9), start + Duration::from_secs(1));
        slots.drain(frontend(7), start + Duration::from_secs(2));
        let taken = slots.take(frontend(u16::MAX));
        assert_eq!(taken, Taken { slot: 9, fresh: true, evicted: Some(frontend(9)) });
        assert_eq!(slots.get(&frontend(9)), None);
        assert_eq!(slots.frontends().count(), SERVICES_MAX);
    }

    #[test]
    fn what_an_earlier_process_left_is_taken_over() {
        let now = Instant::now();
        let left = [(80, 5, false), (81, 2, true), (82, 5, false)]
            .map(|(port, slot, draining)| Slot { frontend: frontend(port), slot, draining });
        let mut slots = Slots::restored(left, now);
        assert_eq!(slots.take(frontend(80)), kept(5));
        assert_eq!(slots.get(&frontend(82)), None, "a slot has one holder");
        assert_eq!(slots.next_release(), Some(now + DRAIN));
        let others: Vec<u32> = (90..95).map(|port| slots.take(frontend(port)).slot).collect();
        assert_eq!(others, [0, 1, 3, 4, 6]);
    }
}
