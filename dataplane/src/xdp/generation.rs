//! Puts a configuration into the kernel as a whole, and reads the one in force back.
//!
//! Two inner maps stand ready. The one that is not in force is brought up to date through its
//! mapping and put into the single slot of the outer map. The kernel returns from that after an
//! RCU grace period, so no packet sees the older one any more once [`Generations::install`] has
//! returned, and it may be written again.

use std::{
    io,
    os::fd::{AsFd as _, FromRawFd as _, OwnedFd},
};

use aya::maps::{ArrayOfMaps, MapData, MapError};
use ebpf_common::layout::{CONFIG_INNER_FLAGS, Record};

use super::{
    mapping::Mapping,
    sheet::{COPIES, Lacking, Sheet},
};

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

/// The inner maps.
#[derive(Debug, Default)]
pub struct Generations {
    copies: [Option<Inner>; COPIES],
    /// Which one is in force, or may be.
    current: usize,
}

#[derive(Debug)]
struct Inner {
    map: MapData,
    mapping: Mapping,
}

impl Generations {
    /// Puts the records in force.
    ///
    /// # Errors
    /// Returns what the kernel refused; what was in force before still is.
    pub fn install(
        &mut self,
        outer: &mut ArrayOfMaps<&mut MapData, MapData>,
        sheet: &mut Sheet,
    ) -> Result<(), InstallError> {
        let spare = (self.current + 1) % COPIES;
        let length = sheet.records().len();
        let copy = &mut self.copies[spare];
        if copy.as_ref().is_none_or(|inner| inner.mapping.len() != length) {
            *copy = Some(Inner::new(length)?);
        }
        let inner = copy.as_mut().expect("made above");
        match sheet.take_lacking(spare) {
            Lacking::All => inner.mapping.fill(sheet.records()),
            Lacking::Some(indexes) => {
                for index in indexes {
                    inner.mapping.set(index as usize, sheet.get(index));
                }
            }
        }
        outer.set(0, &inner.map, 0).map_err(InstallError::Slot)?;
        self.current = spare;
        sheet.settled();
        Ok(())
    }
}

impl Inner {
    fn new(records: usize) -> Result<Self, InstallError> {
        let fd = create(records).map_err(|source| InstallError::Create { records, source })?;
        let mapping = Mapping::new(fd.as_fd(), records, true).map_err(InstallError::Memory)?;
        let map = MapData::from_fd(fd).map_err(InstallError::Slot)?;
        Ok(Self { map, mapping })
    }
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
