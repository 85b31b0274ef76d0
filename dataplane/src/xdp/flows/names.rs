//! What the numbers in events stand for. Cloning is cheap.

use std::{collections::VecDeque, sync::Arc};

use imbl::OrdMap;
use model::{ObjectKey, Revision, Snapshot};

use crate::xdp::plan::Carried;

/// Generations whose revision is remembered. Events are read within tenths of a second.
const GENERATIONS_MAX: usize = 256;
/// Packet filters whose rules are remembered.
const FILTERS_MAX: usize = 8;

/// The rules of a packet filter that was in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterNames {
    /// Its number.
    pub serial: u32,
    /// The revision that it was made from.
    pub revision: Revision,
    /// Filter and index of each rule, in order.
    pub order: Vec<(ObjectKey, usize)>,
}

/// The names.
#[derive(Clone, Debug, Default)]
pub struct FlowNames {
    /// The configuration that was followed last.
    pub config: Snapshot,
    slots: OrdMap<u32, Arc<Carried>>,
    generations: OrdMap<u64, Revision>,
    filters: VecDeque<Arc<FilterNames>>,
}

impl FlowNames {
    /// Notes what a slot stands for. It goes on to stand for it until it is another's.
    pub fn set_slot(&mut self, slot: u32, carried: Arc<Carried>) {
        self.slots.insert(slot, carried);
    }

    /// Notes the revision that a generation is made from.
    pub fn set_generation(&mut self, generation: u64, revision: Revision) {
        self.generations.insert(generation, revision);
        while self.generations.len() > GENERATIONS_MAX {
            let Some((first, _)) = self.generations.get_min() else { return };
            let first = *first;
            self.generations.remove(&first);
        }
    }

    /// Notes the rules of a packet filter.
    pub fn set_filter(&mut self, names: FilterNames) {
        self.filters.push_front(Arc::new(names));
        self.filters.truncate(FILTERS_MAX);
    }

    /// Returns what a slot stands for.
    #[must_use]
    pub fn slot(&self, slot: u32) -> Option<&Carried> {
        self.slots.get(&slot).map(Arc::as_ref)
    }

    /// Returns the revision of a generation.
    #[must_use]
    pub fn revision(&self, generation: u64) -> Option<Revision> {
        self.generations.get(&generation).copied()
    }

    /// Returns a packet filter by its number.
    #[must_use]
    pub fn filter(&self, serial: u32) -> Option<&FilterNames> {
        self.filters.iter().map(Arc::as_ref).find(|filter| filter.serial == serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_and_no_more() {
        let mut names = FlowNames::default();
        let last = GENERATIONS_MAX as u64 + 5;
        for generation in 1..=last {
            names.set_generation(generation, Revision(generation * 10));
            names.set_filter(FilterNames { serial: generation as u32, ..FilterNames::default() });
        }
        assert_eq!(names.revision(last), Some(Revision(last * 10)));
        assert_eq!((names.revision(5), names.revision(6)), (None, Some(Revision(60))));
        let oldest = last as u32 - FILTERS_MAX as u32 + 1;
        assert!(names.filter(last as u32).is_some() && names.filter(oldest).is_some());
        assert!(names.filter(oldest - 1).is_none());
    }
}
