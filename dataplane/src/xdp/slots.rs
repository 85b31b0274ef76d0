//! Which counter slot each frontend has, and which removed ones are still drained.
//!
//! Invariants: a frontend keeps its slot while it is carried or drained; a slot goes to another
//! frontend only after the drain time, so that a connection's counters are its own service's.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use ebpf_common::layout::SERVICES_MAX;

use super::plan::{Frontend, L4Plan};

/// How long established connections of a removed listener go on; Envoy's `--drain-time-s` has
/// the same default.
pub const DRAIN: Duration = Duration::from_secs(600);

/// The slots.
#[derive(Debug, Default)]
pub struct Slots {
    held: BTreeMap<Frontend, Held>,
    used: BTreeSet<u32>,
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

impl Slots {
    /// Takes over what an earlier process left in the kernel. Drained ones begin their time anew.
    #[must_use]
    pub fn restored(slots: impl IntoIterator<Item = Slot>, now: Instant) -> Self {
        let mut restored = Self::default();
        for slot in slots {
            if (slot.slot as usize) < SERVICES_MAX && restored.used.insert(slot.slot) {
                let removed = slot.draining.then_some(now);
                restored.held.insert(slot.frontend, Held { slot: slot.slot, removed });
            }
        }
        restored
    }

    /// Brings the slots in line with a plan; returns them and the ones that are new.
    ///
    /// A plan carries at most half of [`SERVICES_MAX`]; when drained frontends take more than the
    /// other half, the ones removed first make way.
    pub fn assign(&mut self, plan: &L4Plan, now: Instant) -> (Vec<Slot>, Vec<u32>) {
        let wanted: BTreeSet<Frontend> =
            plan.carried.iter().map(|carried| carried.frontend).collect();
        for (frontend, held) in &mut self.held {
            if wanted.contains(frontend) {
                held.removed = None;
            } else {
                held.removed.get_or_insert(now);
            }
        }
        self.release(|held| held.removed.is_some_and(|at| now.duration_since(at) >= DRAIN));
        let missing = wanted.iter().filter(|frontend| !self.held.contains_key(frontend)).count();
        let excess = (self.held.len() + missing).saturating_sub(SERVICES_MAX);
        if excess > 0 {
            let mut drained: Vec<_> = self.held.values().filter_map(|held| held.removed).collect();
            drained.sort_unstable();
            if let Some(limit) = drained.get(excess - 1).copied() {
                self.release(|held| held.removed.is_some_and(|at| at <= limit));
            }
        }
        let mut fresh = Vec::new();
        let mut free = 0;
        for frontend in wanted {
            if !self.held.contains_key(&frontend) {
                while self.used.contains(&free) {
                    free += 1;
                }
                assert!((free as usize) < SERVICES_MAX, "more frontends than slots");
                self.used.insert(free);
                self.held.insert(frontend, Held { slot: free, removed: None });
                fresh.push(free);
            }
        }
        (self.all(), fresh)
    }

    /// Returns when the next drain time ends.
    #[must_use]
    pub fn next_release(&self) -> Option<Instant> {
        self.held.values().filter_map(|held| held.removed).min().map(|at| at + DRAIN)
    }

    fn all(&self) -> Vec<Slot> {
        self.held
            .iter()
            .map(|(frontend, held)| Slot {
                frontend: *frontend,
                slot: held.slot,
                draining: held.removed.is_some(),
            })
            .collect()
    }

    fn release(&mut self, over: impl Fn(&Held) -> bool) {
        let used = &mut self.used;
        self.held.retain(|_, held| {
            let keep = !over(held);
            if !keep {
                used.remove(&held.slot);
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdp::plan::Carried;

    fn plan(ports: &[u16]) -> L4Plan {
        let carried = |port: &u16| Carried {
            listener: model::ObjectKey::new(model::Kind::Listener, "default", "l"),
            frontend: Frontend { address: None, port: *port, protocol: 6 },
            v4: Vec::new(),
            v6: Vec::new(),
        };
        L4Plan { carried: ports.iter().map(carried).collect(), ..L4Plan::default() }
    }

    fn view(slots: &[Slot]) -> Vec<(u16, u32, bool)> {
        slots.iter().map(|slot| (slot.frontend.port, slot.slot, slot.draining)).collect()
    }

    #[test]
    fn a_slot_is_kept_drained_and_only_then_given_away() {
        let start = Instant::now();
        let mut slots = Slots::default();
        assert_eq!(
            view(&slots.assign(&plan(&[80, 81]), start).0),
            [(80, 0, false), (81, 1, false)]
        );
        let (all, fresh) = slots.assign(&plan(&[81, 82]), start);
        assert_eq!(view(&all), [(80, 0, true), (81, 1, false), (82, 2, false)]);
        assert_eq!(fresh, [2]);
        let later = start + DRAIN;
        assert_eq!(slots.next_release(), Some(later));
        let (all, fresh) = slots.assign(&plan(&[81, 83]), later);
        assert_eq!(view(&all), [(81, 1, false), (82, 2, true), (83, 0, false)]);
        assert_eq!(fresh, [0]);
    }

    #[test]
    fn a_listener_that_comes_back_keeps_its_slot() {
        let start = Instant::now();
        let mut slots = Slots::default();
        slots.assign(&plan(&[80, 81]), start);
        slots.assign(&plan(&[80]), start);
        let (all, fresh) = slots.assign(&plan(&[80, 81]), start);
        assert_eq!(view(&all), [(80, 0, false), (81, 1, false)]);
        assert!(fresh.is_empty());
    }

    #[test]
    fn drained_frontends_make_way_when_the_slots_run_out() {
        let start = Instant::now();
        let mut slots = Slots::default();
        let half = (SERVICES_MAX / 2) as u16;
        for batch in 0..3 {
            let ports: Vec<u16> = (batch * half..(batch + 1) * half).collect();
            let (all, _) = slots.assign(&plan(&ports), start + Duration::from_secs(batch.into()));
            assert!(all.len() <= SERVICES_MAX);
            assert_eq!(all.iter().filter(|slot| !slot.draining).count(), usize::from(half));
        }
    }
}
