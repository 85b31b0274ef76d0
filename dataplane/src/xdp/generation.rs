//! Puts a configuration into the kernel as a whole, and reads the one in force back.
//!
//! The map has room for two copies. The one that is not in force is brought up to date through the
//! map's memory, and then named in the selector, by one store. No packet sees the older copy any
//! more after a grace period, so a copy is written again only behind one.

use std::{io, mem::offset_of};

use ebpf_common::layout::{Record, Selector};

use super::{
    grace::Grace,
    mapping::Mapping,
    sheet::{COPIES, Lacking, Sheet},
};

/// Where the fields of the selector stand, in words.
const BASE: usize = offset_of!(Selector, base) / size_of::<u32>();
const WAYS: usize = offset_of!(Selector, ways) / size_of::<u32>();
/// Records of the least map: two copies of a page each.
pub const CONFIG_RECORDS_MIN: u32 = 1 + COPIES as u32 * (1 << 6);
/// Records of the greatest map: two copies of 128 MiB.
pub const CONFIG_RECORDS_MAX: u32 = 1 + COPIES as u32 * (1 << 21);

/// Tells why a configuration was not put in force; the one before still is.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// More than the greatest map holds.
    #[error("{records} records, of which a map holds {max}: fewer services, endpoints or ports")]
    TooLarge {
        /// How many.
        records: usize,
        /// How many at most.
        max: u32,
    },
    /// Packets may still see the copy that is to be written.
    #[error("the kernel's grace period")]
    Grace(#[source] io::Error),
}

/// The copies.
#[derive(Debug)]
pub struct Generations {
    mapping: Mapping,
    grace: Grace,
    /// Which one is in force.
    current: Option<usize>,
    /// Whether packets may still see the other one.
    lingers: bool,
}

impl Generations {
    /// Takes a map over, with what is in force there.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn new(mapping: Mapping) -> io::Result<Self> {
        let mut generations = Self { mapping, grace: Grace::new()?, current: None, lingers: true };
        let base = generations.mapping.load_word(0, BASE);
        generations.current = (0..COPIES).find(|copy| generations.base(*copy) == base as usize);
        Ok(generations)
    }

    /// Returns how many records a copy has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        (self.mapping.len() - 1) / COPIES
    }

    /// Returns how many records the map has.
    #[must_use]
    pub fn map_records(&self) -> u32 {
        // Maps are made with a number of this size.
        self.mapping.len() as u32
    }

    /// Tells whether so many records would find no room, and would in a larger map.
    #[must_use]
    pub fn is_tight(&self, length: usize) -> bool {
        length > self.capacity() && map_records(length).is_ok()
    }

    /// Returns the records in force and what lies behind them; nothing when none are.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        let Some(copy) = self.current else { return &[] };
        &self.mapping.records()[self.base(copy)..][..self.capacity()]
    }

    /// Puts the records in force. There must be room for them.
    ///
    /// # Errors
    /// Returns what the kernel refused; what was in force before still is.
    pub fn install(&mut self, sheet: &mut Sheet) -> Result<(), InstallError> {
        assert!(sheet.records().len() <= self.capacity(), "the map was made larger before");
        if self.lingers {
            self.wait().map_err(InstallError::Grace)?;
        }
        let spare = self.current.map_or(0, |current| (current + 1) % COPIES);
        let base = self.base(spare);
        match sheet.take_lacking(spare) {
            Lacking::All => self.mapping.fill(base, sheet.records()),
            Lacking::Some(indexes) => {
                for index in indexes {
                    self.mapping.set(base + index as usize, sheet.get(index));
                }
            }
        }
        self.mapping.store_word(0, BASE, base as u32);
        self.current = Some(spare);
        self.lingers = true;
        sheet.settled();
        // It is in force in any case; the next change would have to wait.
        if let Err(error) = self.wait() {
            tracing::warn!(%error, "no grace period: the next change waits for one");
        }
        Ok(())
    }

    /// Makes the program look every next hop up again.
    pub fn count_ways(&mut self) {
        let ways = self.mapping.load_word(0, WAYS);
        self.mapping.store_word(0, WAYS, ways.wrapping_add(1));
    }

    /// Takes the count of the ways over from the map before this one.
    pub fn take_ways(&mut self, before: &Self) {
        self.mapping.store_word(0, WAYS, before.mapping.load_word(0, WAYS));
    }

    fn wait(&mut self) -> io::Result<()> {
        self.grace.wait()?;
        self.lingers = false;
        Ok(())
    }

    fn base(&self, copy: usize) -> usize {
        1 + copy * self.capacity()
    }
}

/// Returns how many records a map should have for copies of some length, with room to grow.
///
/// # Errors
/// When no map has room for them.
pub fn map_records(length: usize) -> Result<u32, InstallError> {
    let max = (CONFIG_RECORDS_MAX - 1) / COPIES as u32;
    if length > max as usize {
        return Err(InstallError::TooLarge { records: length, max });
    }
    // Each growth loads the program again, so they should be few.
    let room = (length * 2).next_power_of_two().min(max as usize);
    Ok(1 + (COPIES * room) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_room_to_grow_up_to_the_greatest() {
        assert_eq!(map_records(1 << 14).unwrap(), 1 + 2 * (1 << 15));
        assert_eq!(map_records((1 << 14) + 1).unwrap(), 1 + 2 * (1 << 16));
        assert_eq!(map_records(1 << 21).unwrap(), CONFIG_RECORDS_MAX);
        let refused = map_records((1 << 21) + 1).unwrap_err();
        assert!(matches!(refused, InstallError::TooLarge { max, .. } if max == 1 << 21));
    }
}
