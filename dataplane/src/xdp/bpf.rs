//! bpf(2), for maps that stand beside those of the object.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

/// Commands and map types of include/uapi/linux/bpf.h.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_PROG_BIND_MAP: libc::c_int = 35;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;

/// Makes an array.
///
/// # Errors
/// Returns what the kernel refused.
pub fn array(name: &str, value_size: usize, entries: usize, flags: usize) -> io::Result<OwnedFd> {
    let size = |size: usize| u32::try_from(size).map_err(io::Error::other);
    create(&CreateAttributes {
        map_type: BPF_MAP_TYPE_ARRAY,
        value_size: size(value_size)?,
        max_entries: size(entries)?,
        map_flags: size(flags)?,
        ..CreateAttributes::named(name)
    })
}

/// Makes an array with a slot for one map like `inner`.
///
/// # Errors
/// Returns what the kernel refused.
pub fn slot_for_map(name: &str, inner: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    create(&CreateAttributes {
        map_type: BPF_MAP_TYPE_ARRAY_OF_MAPS,
        value_size: size_of::<u32>() as u32,
        max_entries: 1,
        inner_map_fd: inner.as_raw_fd() as u32,
        ..CreateAttributes::named(name)
    })
}

/// Puts a map into a slot. The kernel returns after an RCU grace period.
///
/// # Errors
/// Returns what the kernel refused.
pub fn put_map(outer: BorrowedFd<'_>, slot: u32, inner: BorrowedFd<'_>) -> io::Result<()> {
    let value = inner.as_raw_fd() as u32;
    element(BPF_MAP_UPDATE_ELEM, outer, &slot, &raw const value)
}

/// Empties a slot; an empty one is as it should be.
///
/// # Errors
/// Returns what the kernel refused.
pub fn empty_slot(outer: BorrowedFd<'_>, slot: u32) -> io::Result<()> {
    match element(BPF_MAP_DELETE_ELEM, outer, &slot, std::ptr::null()) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome,
    }
}

/// Counts a map among those of a program, which does not name it itself (Linux 5.10).
///
/// # Errors
/// Returns what the kernel refused.
pub fn bind_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = BindAttributes {
        program_fd: program.as_raw_fd() as u32,
        map_fd: map.as_raw_fd() as u32,
        flags: 0,
    };
    // SAFETY: the attributes are those of the command.
    unsafe { bpf(BPF_PROG_BIND_MAP, &attributes) }.map(drop)
}

/// `union bpf_attr` for `BPF_PROG_BIND_MAP`.
#[repr(C)]
struct BindAttributes {
    program_fd: u32,
    map_fd: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Default)]
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

impl CreateAttributes {
    /// Begins a map with numbers as keys; the kernel cuts no name, so it must be short enough.
    fn named(name: &str) -> Self {
        let mut attributes = Self { key_size: size_of::<u32>() as u32, ..Self::default() };
        assert!(name.len() < attributes.map_name.len(), "{name} is too long for a map's name");
        attributes.map_name[..name.len()].copy_from_slice(name.as_bytes());
        attributes
    }
}

/// `union bpf_attr` for commands on elements.
#[repr(C)]
struct ElementAttributes {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn create(attributes: &CreateAttributes) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are those of the command.
    let fd = unsafe { bpf(BPF_MAP_CREATE, attributes) }?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn element(
    command: libc::c_int,
    map: BorrowedFd<'_>,
    key: &u32,
    value: *const u32,
) -> io::Result<()> {
    let attributes = ElementAttributes {
        map_fd: map.as_raw_fd() as u32,
        padding: 0,
        key: std::ptr::from_ref(key) as u64,
        value: value as u64,
        flags: 0,
    };
    // SAFETY: the attributes are those of the command; key and value live through the call.
    unsafe { bpf(command, &attributes) }.map(drop)
}

/// Calls bpf(2).
///
/// # Safety
/// The attributes must be those of the command, with pointers that live through the call.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<i32> {
    // SAFETY: the caller's.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}
