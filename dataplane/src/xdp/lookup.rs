//! The lookup table: a two-choice cuckoo table with one entry a place, at most half full, so that
//! the program reads at most two records (pure).
//!
//! Pagh and Rodler, "Cuckoo Hashing", Journal of Algorithms 51 (2004).

use std::ops::Range;

use ebpf_common::{
    hash,
    layout::{Entry, EntryKey, Record},
};

use super::{record, sheet::Sheet};

/// Moves of one insertion before it is given up; a table that is half full needs a logarithmic
/// number (section 2.2 of the paper).
const MOVES_MAX: usize = 512;
/// Seeds tried before the table is doubled.
const SEEDS_PER_SIZE: u32 = 4;

/// A lookup table in its place among the records.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// Where it lies; a power of two long.
    pub extent: Range<u32>,
    /// Seed of its hash.
    pub seed: u32,
    used: u32,
}

/// Tells that the table must be laid out anew, and which entry found no place.
#[derive(Clone, Debug)]
pub struct Full(pub Entry);

impl Lookup {
    /// Writes a table that was laid out by [`lay_out`] into an extent of its length.
    #[must_use]
    pub fn written(
        sheet: &mut Sheet,
        extent: Range<u32>,
        entries: &[Entry],
        (seed, places): (u32, Vec<Option<usize>>),
    ) -> Self {
        for (place, index) in extent.clone().zip(places) {
            let entry = index.map(|index| record::of_entry(entries[index]));
            sheet.set(place, entry.unwrap_or(Record::EMPTY));
        }
        Self { extent, seed, used: entries.len() as u32 }
    }

    /// Returns the entry of a key.
    #[must_use]
    pub fn get(&self, sheet: &Sheet, key: &EntryKey) -> Option<Entry> {
        self.place_of(sheet, key).map(|place| record::to_entry(sheet.get(place)))
    }

    /// Lists all entries.
    #[must_use]
    pub fn entries(&self, sheet: &Sheet) -> Vec<Entry> {
        self.extent
            .clone()
            .map(|place| record::to_entry(sheet.get(place)))
            .filter(|entry| entry.key.kind != 0)
            .collect()
    }

    /// Adds an entry, or replaces the one of the same key.
    ///
    /// # Errors
    /// When the table has no room; then one entry is in none of its places, and comes back.
    pub fn put(&mut self, sheet: &mut Sheet, entry: Entry) -> Result<(), Full> {
        if let Some(place) = self.place_of(sheet, &entry.key) {
            sheet.set(place, record::of_entry(entry));
            return Ok(());
        }
        if (self.used + 1) * 2 > self.extent.len() as u32 {
            return Err(Full(entry));
        }
        let mut moving = entry;
        let mut place = self.choices(&moving.key)[0];
        for _ in 0..MOVES_MAX {
            let resident = record::to_entry(sheet.get(place));
            sheet.set(place, record::of_entry(moving));
            if resident.key.kind == 0 {
                self.used += 1;
                return Ok(());
            }
            moving = resident;
            let [first, second] = self.choices(&moving.key);
            place = if place == first { second } else { first };
        }
        Err(Full(moving))
    }

    /// Removes the entry of a key, if there is one.
    pub fn remove(&mut self, sheet: &mut Sheet, key: &EntryKey) {
        if let Some(place) = self.place_of(sheet, key) {
            sheet.set(place, Record::EMPTY);
            self.used -= 1;
        }
    }

    fn place_of(&self, sheet: &Sheet, key: &EntryKey) -> Option<u32> {
        if self.extent.is_empty() {
            return None;
        }
        self.choices(key).into_iter().find(|place| record::to_entry(sheet.get(*place)).key == *key)
    }

    fn choices(&self, key: &EntryKey) -> [u32; 2] {
        let mask = self.extent.len() as u32 - 1;
        places(key, self.seed, mask).map(|place| self.extent.start + place)
    }
}

/// Returns a seed and, for each of at least twice as many places, which entry lies there.
#[must_use]
pub fn lay_out(entries: &[Entry]) -> (u32, Vec<Option<usize>>) {
    // Room to grow, so that entries that come one by one don't lay it out each time.
    let mut size = (entries.len() * 3).next_power_of_two().max(8);
    for attempt in 0u32.. {
        if attempt > 0 && attempt.is_multiple_of(SEEDS_PER_SIZE) {
            size *= 2;
        }
        let seed = attempt.wrapping_mul(0x9e37_79b9).wrapping_add(1);
        if let Some(places) = try_to_lay_out(entries, size, seed) {
            return (seed, places);
        }
    }
    unreachable!("some size holds every set of different keys")
}

fn try_to_lay_out(entries: &[Entry], size: usize, seed: u32) -> Option<Vec<Option<usize>>> {
    let mask = size as u32 - 1;
    let choices =
        |index: usize| places(&entries[index].key, seed, mask).map(|place| place as usize);
    let mut table: Vec<Option<usize>> = vec![None; size];
    for index in 0..entries.len() {
        let mut moving = index;
        let mut place = choices(moving)[0];
        let mut moves = 0;
        while let Some(resident) = table[place].replace(moving) {
            moves += 1;
            if moves > MOVES_MAX {
                return None;
            }
            moving = resident;
            let [first, second] = choices(moving);
            place = if place == first { second } else { first };
        }
    }
    Some(table)
}

fn places(key: &EntryKey, seed: u32, mask: u32) -> [u32; 2] {
    let hash = hash::entry(key, seed);
    [hash as u32 & mask, (hash >> 32) as u32 & mask]
}
