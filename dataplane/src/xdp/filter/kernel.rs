//! The packet filter's maps in the kernel: chunks of the arena, and the front that is in force.
//!
//! A front is put into slot 0 as a whole. The kernel returns from that after an RCU grace period
//! (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c), so no packet sees the front before it any
//! more, and the records of the arena that only that one referred to may be written again.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::maps::{ArrayOfMaps, MapData, MapError};
use ebpf_common::{
    filter::{CHUNK_RECORDS, FILTER_FLAGS, FILTER_SLOTS, Header, MAGIC, front},
    layout::Record,
};

use super::arena::{Memory, layout};
use crate::xdp::{bpf, mapping::Mapping};

/// The outer map.
pub type Outer<'a> = ArrayOfMaps<&'a mut MapData, MapData>;

/// The chunks that this process has made ready, by their numbers.
#[derive(Debug, Default)]
pub struct Chunks(BTreeMap<u32, Chunk>);

#[derive(Debug)]
struct Chunk {
    map: MapData,
    mapping: Mapping,
}

impl Chunk {
    fn new() -> io::Result<Self> {
        let length = CHUNK_RECORDS * size_of::<Record>();
        let fd = bpf::array("mp_filter_part", length, 1, FILTER_FLAGS)?;
        let mapping = Mapping::new(fd.as_fd(), CHUNK_RECORDS)?;
        let map = MapData::from_fd(fd).map_err(io::Error::other)?;
        Ok(Self { map, mapping })
    }
}

/// The arena while it is written.
#[derive(Debug)]
pub struct Kernel<'a> {
    /// Where chunks are put.
    pub outer: Outer<'a>,
    /// The chunks that are ready.
    pub chunks: &'a mut Chunks,
}

impl Memory for Kernel<'_> {
    fn provide(&mut self, chunk: u32) -> io::Result<()> {
        if !self.chunks.0.contains_key(&chunk) {
            let made = Chunk::new()?;
            self.outer.set(1 + chunk, &made.map, 0).map_err(io::Error::other)?;
            self.chunks.0.insert(chunk, made);
        }
        Ok(())
    }

    fn write(&mut self, index: u32, record: &Record) {
        let (chunk, within) = place(index);
        self.chunks.0.get_mut(&chunk).expect("it was made ready").mapping.set(within, record);
    }

    fn read(&self, index: u32) -> Record {
        let (chunk, within) = place(index);
        self.chunks.0[&chunk].mapping.records()[within]
    }
}

impl Kernel<'_> {
    /// Puts a front in force.
    ///
    /// # Errors
    /// The kernel gave no memory, or did not take it; what was in force still is.
    pub fn install(&mut self, records: &[Record]) -> io::Result<()> {
        let mut made = Chunk::new()?;
        made.mapping.fill(0, records);
        self.outer.set(0, &made.map, 0).map_err(io::Error::other)
    }

    /// Returns the bank of the front in force; `None` when there is none.
    ///
    /// # Errors
    /// The kernel did not tell.
    pub fn bank(&self) -> io::Result<Option<u32>> {
        let map = match self.outer.get(&0, 0) {
            Ok(map) => map,
            Err(MapError::KeyNotFound) => return Ok(None),
            Err(error) => return Err(io::Error::other(error)),
        };
        let mapping = Mapping::new(map.fd().as_fd(), CHUNK_RECORDS)?;
        let header: Header = layout(&mapping.records()[front::HEADER as usize]);
        Ok((header.magic == MAGIC).then_some(header.bank.into()))
    }
}

/// Empties slot 0, so that there is no filter.
///
/// # Errors
/// The kernel did not do it.
pub fn remove(outer: BorrowedFd<'_>) -> io::Result<()> {
    bpf::empty_slot(outer, 0)
}

/// Gives back the chunks that `stay` does not tell to keep, also those of an earlier process.
///
/// # Errors
/// The kernel did not do it.
pub fn release(
    outer: BorrowedFd<'_>,
    chunks: &mut Chunks,
    stay: impl Fn(u32) -> bool,
) -> io::Result<()> {
    chunks.0.retain(|chunk, _| stay(*chunk));
    (0..FILTER_SLOTS as u32 - 1).filter(|chunk| !stay(*chunk)).try_for_each(|chunk| {
        bpf::empty_slot(outer, 1 + chunk) //
    })
}

fn place(index: u32) -> (u32, usize) {
    let (slot, within) = ebpf_common::filter::place(index);
    (slot - 1, within as usize)
}
