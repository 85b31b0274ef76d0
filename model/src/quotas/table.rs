//! A table that stays within bounds whoever makes keys up.

use std::{collections::HashMap, time::Duration};

use super::QuotaKey;

/// Entries that are looked at for each new one: more leave the table than come in while most are of no
/// worth.
const LOOKED_AT: u64 = 2;
/// Of so many the one of the least worth gives way when the table is full.
const COMPARED: u64 = 8;

/// Something that may be forgotten.
pub trait Worth {
    /// Returns what is lost with it: at 0 nothing.
    fn worth(&self, now: Duration) -> u64;
}

/// Entries by key, a bounded number. New ones push out, of a few that are picked by chance, those that
/// are worth the least, so that nothing has to walk over all.
#[derive(Clone, Debug)]
pub struct Table<V> {
    places: HashMap<QuotaKey, usize>,
    entries: Vec<(QuotaKey, V)>,
    max: usize,
    chance: u64,
}

impl<V: Worth> Table<V> {
    /// Makes an empty table of at most `max` entries, at least one; `chance` is a random number.
    #[must_use]
    pub fn new(max: usize, chance: u64) -> Self {
        Self { places: HashMap::new(), entries: Vec::new(), max: max.max(1), chance }
    }

    /// Returns how many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns an entry.
    pub fn get_mut(&mut self, key: QuotaKey) -> Option<&mut V> {
        let place = *self.places.get(&key)?;
        Some(&mut self.entries[place].1)
    }

    /// Walks over all entries.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// Returns an entry, which is made if it is not there.
    pub fn entry(&mut self, key: QuotaKey, now: Duration, make: impl FnOnce() -> V) -> &mut V {
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None => self.insert(key, make(), now),
        };
        &mut self.entries[place].1
    }

    fn insert(&mut self, key: QuotaKey, value: V, now: Duration) -> usize {
        for _ in 0..LOOKED_AT {
            if let Some((place, 0)) = self.picked(now) {
                self.remove(place);
            }
        }
        if self.entries.len() >= self.max {
            let picked = (0..COMPARED).filter_map(|_| self.picked(now));
            if let Some((place, _)) = picked.min_by_key(|(_, worth)| *worth) {
                self.remove(place);
            }
        }
        let place = self.entries.len();
        self.entries.push((key, value));
        self.places.insert(key, place);
        place
    }

    /// Picks an entry by chance; returns its place and worth.
    fn picked(&mut self, now: Duration) -> Option<(usize, u64)> {
        let count = self.entries.len() as u64;
        // SplitMix64.
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let place = (mixed ^ (mixed >> 31)).checked_rem(count)? as usize;
        Some((place, self.entries[place].1.worth(now)))
    }

    fn remove(&mut self, place: usize) {
        let (key, _) = self.entries.swap_remove(place);
        self.places.remove(&key);
        if let Some((moved, _)) = self.entries.get(place) {
            self.places.insert(*moved, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Worth for u64 {
        fn worth(&self, _: Duration) -> u64 {
            *self
        }
    }

    fn key(number: u64) -> QuotaKey {
        QuotaKey((u128::from(number) << 64).to_be_bytes())
    }

    fn check(table: &Table<u64>) {
        assert_eq!(table.places.len(), table.entries.len());
        for (key, place) in &table.places {
            assert_eq!(table.entries[*place].0, *key);
        }
    }

    #[test]
    fn who_makes_keys_up_pushes_out_its_own() {
        let mut table = Table::new(1_000, 7);
        for number in 0..100 {
            table.entry(key(number), Duration::ZERO, || 1_000_000);
        }
        for number in 1_000..100_000 {
            table.entry(key(number), Duration::ZERO, || 1);
        }
        check(&table);
        assert_eq!(table.len(), 1_000);
        let left = (0..100).filter(|number| table.get_mut(key(*number)).is_some()).count();
        assert!(left >= 99, "{left} of those that are worth much");
    }

    #[test]
    fn what_is_worth_nothing_goes_by_itself() {
        let mut table = Table::new(1_000_000, 7);
        for number in 0..100_000 {
            table.entry(key(number), Duration::ZERO, || 0);
        }
        check(&table);
        assert!(table.len() < 10, "{}", table.len());
    }

    proptest! {
        #[test]
        fn an_entry_that_is_there_is_found(
            max in 1_usize..20,
            steps in prop::collection::vec((0_u64..40, 0_u64..3), 1..200),
        ) {
            let mut table = Table::new(max, 1);
            for (number, worth) in steps {
                let made = *table.entry(key(number), Duration::ZERO, || worth);
                prop_assert_eq!(table.get_mut(key(number)).copied(), Some(made));
                check(&table);
                prop_assert!(table.len() <= max);
            }
        }
    }
}
