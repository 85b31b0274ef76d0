//! The records of a configuration with what of them is free (pure).

use std::ops::Range;

use range_alloc::RangeAllocator;

use super::sheet::Sheet;

/// Records at first: the header, and room for a small configuration.
const RECORDS_FIRST: u32 = 256;

/// The arena. Record 0, the header's, belongs to nobody.
#[derive(Debug)]
pub struct Arena {
    /// The records.
    pub sheet: Sheet,
    unused: RangeAllocator<u32>,
    /// The longest extent so far.
    longest: u32,
}

impl Default for Arena {
    fn default() -> Self {
        let mut sheet = Sheet::default();
        sheet.grow(RECORDS_FIRST);
        Self { sheet, unused: RangeAllocator::new(1..RECORDS_FIRST), longest: 0 }
    }
}

impl Arena {
    /// Returns that many records in a row, which hold what they held last.
    pub fn allocate(&mut self, length: u32) -> Range<u32> {
        self.longest = self.longest.max(length);
        loop {
            if let Ok(extent) = self.unused.allocate_range(length) {
                return extent;
            }
            let grown = self.grown_by(length);
            self.sheet.grow(grown);
            self.unused.grow_to(grown);
        }
    }

    /// Returns how many records there may be after the next growth, at most twice as many as there
    /// are: extents double as they grow.
    #[must_use]
    pub fn next_length(&self) -> usize {
        let length = self.sheet.records().len();
        (self.grown_by(2 * self.longest) as usize).min(2 * length)
    }

    /// A quarter more at least, so that growing, which copies everything, is rare.
    fn grown_by(&self, length: u32) -> u32 {
        let old = self.sheet.records().len() as u32;
        old + length.max(old / 4)
    }

    /// Gives records back; an empty extent is none.
    pub fn free(&mut self, extent: Range<u32>) {
        if !extent.is_empty() {
            self.unused.free_range(extent);
        }
    }
}
