//! Waits until every XDP program that was running has ended.
//!
//! The kernel returns from a change of a map of maps only after an RCU grace period, for just this
//! purpose (kernel commit 1ae80cf31938, "bpf: wait for running BPF programs when updating
//! map-in-map"), so such a map is kept and changed when a wait is wanted.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

/// Commands and map types of include/uapi/linux/bpf.h.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;

/// The map of maps, whose single slot is set to the same map again and again.
#[derive(Debug)]
pub struct Grace {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Grace {
    /// Makes the maps.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn new() -> io::Result<Self> {
        let inner = create(BPF_MAP_TYPE_ARRAY, 0)?;
        let outer = create(BPF_MAP_TYPE_ARRAY_OF_MAPS, inner.as_raw_fd())?;
        Ok(Self { outer, inner })
    }

    /// Waits. Programs that start meanwhile are not waited for.
    ///
    /// # Errors
    /// Returns what the kernel refused; nothing was waited for then.
    pub fn wait(&self) -> io::Result<()> {
        let (key, value) = (0u32, self.inner.as_raw_fd());
        let attributes = ElementAttributes {
            map_fd: self.outer.as_raw_fd(),
            padding: 0,
            key: &raw const key as u64,
            value: &raw const value as u64,
            flags: 0,
        };
        // SAFETY: the attributes are those of the command.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &attributes) }.map(|_| ())
    }
}

/// The head of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct CreateAttributes {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: RawFd,
    numa_node: u32,
    map_name: [u8; 16],
}

/// `union bpf_attr` for `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
struct ElementAttributes {
    map_fd: RawFd,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn create(map_type: u32, inner_map_fd: RawFd) -> io::Result<OwnedFd> {
    let attributes = CreateAttributes {
        map_type,
        key_size: size_of::<u32>() as u32,
        value_size: size_of::<u32>() as u32,
        max_entries: 1,
        map_flags: 0,
        inner_map_fd,
        numa_node: 0,
        map_name: *b"mp_grace\0\0\0\0\0\0\0\0",
    };
    // SAFETY: the attributes are those of the command.
    let fd = unsafe { bpf(BPF_MAP_CREATE, &attributes) }?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Calls bpf(2).
///
/// # Safety
/// The attributes must be those of the command, with pointers that live through the call.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: the caller's.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as RawFd) }
}
