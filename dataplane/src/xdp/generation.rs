//! Puts a configuration into the kernel as a whole, and reads the one in force back.
//!
//! A new inner map is made, filled through one mapping, and put into the single slot of the outer
//! map. The kernel returns from that after an RCU grace period, so no packet sees the older
//! configuration any more once [`install`] has returned.

use std::{
    ffi::c_void,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr::NonNull,
};

use aya::maps::{ArrayOfMaps, MapData, MapError};
use ebpf_common::layout::{CONFIG_INNER_FLAGS, Record};

/// `BPF_MAP_CREATE` and `BPF_MAP_TYPE_ARRAY` (include/uapi/linux/bpf.h).
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_TYPE_ARRAY: u32 = 2;

/// Tells why a configuration was not put in force; the one before still is.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The kernel gave no map of this size.
    #[error("no map of {records} records")]
    Create {
        /// How many.
        records: usize,
        /// Why not.
        source: io::Error,
    },
    /// The map could not be mapped.
    #[error("the map's memory")]
    Memory(#[source] io::Error),
    /// The kernel did not take the map.
    #[error("the slot of the configuration")]
    Slot(#[source] MapError),
}

/// Puts a configuration in force.
///
/// # Errors
/// Returns what the kernel refused.
pub fn install(
    outer: &mut ArrayOfMaps<&mut MapData, MapData>,
    records: &[Record],
) -> Result<(), InstallError> {
    let inner = create(records.len())
        .map_err(|source| InstallError::Create { records: records.len(), source })?;
    Mapping::new(inner.as_fd(), records.len(), true).map_err(InstallError::Memory)?.fill(records);
    let inner = MapData::from_fd(inner).map_err(InstallError::Slot)?;
    outer.set(0, &inner, 0).map_err(InstallError::Slot)
}

/// Reads the configuration in force; `None` when there is none.
///
/// # Errors
/// Returns what the kernel refused.
pub fn read(
    outer: &ArrayOfMaps<&mut MapData, MapData>,
) -> Result<Option<Vec<Record>>, InstallError> {
    let inner = match outer.get(&0, 0) {
        Ok(inner) => inner,
        Err(MapError::KeyNotFound) => return Ok(None),
        Err(error) => return Err(InstallError::Slot(error)),
    };
    let count = inner.info().map_err(InstallError::Slot)?.max_entries() as usize;
    let mapping = Mapping::new(inner.fd().as_fd(), count, false).map_err(InstallError::Memory)?;
    Ok(Some(mapping.records().to_vec()))
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

fn create(records: usize) -> io::Result<OwnedFd> {
    let attributes = CreateAttributes {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: size_of::<u32>() as u32,
        value_size: size_of::<Record>() as u32,
        max_entries: u32::try_from(records).map_err(io::Error::other)?,
        map_flags: CONFIG_INNER_FLAGS as u32,
        inner_map_fd: 0,
        numa_node: 0,
        map_name: *b"mp_generation\0\0\0",
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

/// The memory of an inner map in this process.
struct Mapping {
    start: NonNull<c_void>,
    records: usize,
}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, records: usize, writable: bool) -> io::Result<Self> {
        let protection =
            if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let length = records * size_of::<Record>();
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { start, records })
    }

    fn fill(&self, records: &[Record]) {
        assert!(records.len() <= self.records);
        // SAFETY: the mapping is that long, page-aligned and writable; nobody else has it yet.
        unsafe {
            self.start
                .cast::<Record>()
                .as_ptr()
                .copy_from_nonoverlapping(records.as_ptr(), records.len());
        }
    }

    fn records(&self) -> &[Record] {
        // SAFETY: the mapping is that long and page-aligned; a map in force is not written.
        unsafe { std::slice::from_raw_parts(self.start.cast::<Record>().as_ptr(), self.records) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made; no reference to it is left.
        unsafe { libc::munmap(self.start.as_ptr(), self.records * size_of::<Record>()) };
    }
}
