//! The memory of a map: entries that several threads read and write by pointers.

use core::cell::UnsafeCell;
use std::boxed::Box;

/// Entries in a row. Invariant: they stay where they are for as long as the table lives.
pub(super) struct Table<T> {
    entries: Box<[UnsafeCell<T>]>,
}

impl<T: Default> Table<T> {
    pub(super) fn new(length: usize) -> Self {
        Self { entries: (0..length).map(|_| UnsafeCell::default()).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns an entry, or nothing beyond the last.
    pub(super) fn at(&self, index: usize) -> Option<*mut T> {
        self.entries.get(index).map(UnsafeCell::get)
    }

    pub(super) fn set(&mut self, index: usize, value: T) {
        *self.entries[index].get_mut() = value;
    }

    pub(super) fn clear(&mut self) {
        for entry in &mut self.entries {
            *entry.get_mut() = T::default();
        }
    }
}

// SAFETY: entries are integers, handed out as pointers only; what reads and writes through them is
// the path's to keep apart, which is what its tests are for.
unsafe impl<T: Send> Sync for Table<T> {}
