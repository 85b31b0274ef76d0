//! The records that a front refers to: which are free, and which go when the next front is in force
//! (pure).

use std::io;

use ebpf_common::{
    filter::{BANK_CHUNKS, CHUNK_RECORDS, CHUNKS_V4, CHUNKS_V6},
    layout::{Layout, Record},
};

/// The memory of records, by their numbers.
pub trait Memory {
    /// Makes the memory of a chunk ready, if it is not.
    ///
    /// # Errors
    /// There is no memory.
    fn provide(&mut self, chunk: u32) -> io::Result<()>;
    /// Writes a record of a chunk that is ready.
    fn write(&mut self, index: u32, record: &Record);
    /// Reads a record of a chunk that is ready.
    fn read(&self, index: u32) -> Record;
}

/// Tells why a record could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// The kernel gave no memory.
    #[error("no memory for the packet filter's tables")]
    Memory(#[source] io::Error),
    /// The tables are as large as they may become.
    #[error("the packet filter's tables would take more than {CHUNKS_V4} chunks of 4 MiB")]
    Full,
}

/// Numbers of records that belong together.
const SIZES: [u32; 5] = [1, 2, 4, 8, 16];

/// Which records of a bank's IPv4 part are free.
#[derive(Clone, Debug)]
pub struct Arena {
    bank: u32,
    /// The next that was never given out; a multiple of 16.
    next: u32,
    free: [Vec<u32>; SIZES.len()],
    /// What the front in force still refers to.
    leaving: Vec<(usize, u32)>,
}

impl Arena {
    /// Begins a bank.
    #[must_use]
    pub fn new(bank: u32) -> Self {
        // Number 0 stands for no record.
        let next = bank * BANK_CHUNKS * CHUNK_RECORDS as u32 + 16;
        Self { bank, next, free: Default::default(), leaving: Vec::new() }
    }

    /// Returns the bank.
    #[must_use]
    pub fn bank(&self) -> u32 {
        self.bank
    }

    /// Returns the first record of an IPv6 table.
    #[must_use]
    pub fn start_v6(&self, copy: u32) -> u32 {
        (self.bank * BANK_CHUNKS + CHUNKS_V4 + copy * CHUNKS_V6) * CHUNK_RECORDS as u32
    }

    /// Takes `count` records, a power of two up to 16; they begin at a multiple of their count.
    ///
    /// # Errors
    /// There are no more.
    pub fn take(&mut self, count: u32, memory: &mut impl Memory) -> Result<u32, ArenaError> {
        let size = size(count);
        if let Some(index) = self.free[size].pop() {
            return Ok(index);
        }
        let index = self.next;
        let chunk = index / CHUNK_RECORDS as u32;
        if chunk == self.bank * BANK_CHUNKS + CHUNKS_V4 {
            return Err(ArenaError::Full);
        }
        memory.provide(chunk).map_err(ArenaError::Memory)?;
        self.next += 16;
        self.free[size].extend((1..16 / count).rev().map(|part| index + part * count));
        Ok(index)
    }

    /// Gives records back, for the time after the next front is in force.
    pub fn leave(&mut self, index: u32, count: u32) {
        self.leaving.push((size(count), index));
    }

    /// Tells that no packet sees the front any more that what has left belonged to.
    pub fn settle(&mut self) {
        for (size, index) in self.leaving.drain(..) {
            self.free[size].push(index);
        }
    }
}

fn size(count: u32) -> usize {
    SIZES.iter().position(|size| *size == count).expect("one of the sizes")
}

/// Returns the bytes of a layout.
#[must_use]
pub fn record<T: Layout>(layout: &T) -> Record {
    // SAFETY: a layout is as large as a record, and has no padding that is not a field.
    unsafe { std::mem::transmute_copy(layout) }
}

/// Reads a record as a layout.
#[must_use]
pub fn layout<T: Layout>(record: &Record) -> T {
    // SAFETY: a layout is as large as a record, and valid for any bytes.
    unsafe { std::mem::transmute_copy(record) }
}
