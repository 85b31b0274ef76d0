//! The packet filter's maps in the kernel: chunks of the arena, and the front that is in force.
//!
//! A front is put into slot 0 as a whole. The kernel returns from that after an RCU grace period
//! (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c), so no packet sees the front before it any
//! more, and the records of the arena that only that one referred to may be written again.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use aya::maps::{ArrayOfMaps, MapData, MapError};
use ebpf_common::{
    filter::{CHUNK_RECORDS, FILTER_FLAGS, FILTER_SLOTS, Header, MAGIC, front},
    layout::Record,
};

use super::arena::{Memory, layout};
use crate::xdp::mapping::Mapping;

/// `BPF_MAP_CREATE`, `BPF_MAP_DELETE_ELEM` and `BPF_MAP_TYPE_ARRAY` (include/uapi/linux/bpf.h).
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_TYPE_ARRAY: u32 = 2;

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
        let fd = create()?;
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
        Ok((header.magic == MAGIC).then_some(header.bank))
    }
}

/// Empties slot 0, so that there is no filter.
///
/// # Errors
/// The kernel did not do it.
pub fn remove(outer: BorrowedFd<'_>) -> io::Result<()> {
    delete(outer, 0)
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
        delete(outer, 1 + chunk) //
    })
}

fn place(index: u32) -> (u32, usize) {
    let (slot, within) = ebpf_common::filter::place(index);
    (slot - 1, within as usize)
}

/// The head of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct CreateAttributes {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

fn create() -> io::Result<OwnedFd> {
    let attributes = CreateAttributes {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: size_of::<u32>() as u32,
        value_size: size_of::<Record>() as u32,
        max_entries: CHUNK_RECORDS as u32,
        map_flags: FILTER_FLAGS as u32,
        inner_map_fd: 0,
        numa_node: 0,
        map_name: *b"mp_filter_part\0\0",
    };
    // SAFETY: the attributes live through the call and their size is given.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_CREATE,
            &raw const attributes,
            size_of::<CreateAttributes>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// `union bpf_attr` for `BPF_MAP_DELETE_ELEM`.
#[repr(C)]
struct DeleteAttributes {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn delete(outer: BorrowedFd<'_>, slot: u32) -> io::Result<()> {
    let attributes = DeleteAttributes {
        map_fd: outer.as_raw_fd() as u32,
        padding: 0,
        key: (&raw const slot) as u64,
        value: 0,
        flags: 0,
    };
    // SAFETY: the attributes and the key live through the call, and their sizes are right.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_DELETE_ELEM,
            &raw const attributes,
            size_of::<DeleteAttributes>(),
        )
    };
    let error = io::Error::last_os_error();
    // An empty slot is as it should be.
    if done < 0 && error.raw_os_error() != Some(libc::ENOENT) { Err(error) } else { Ok(()) }
}
