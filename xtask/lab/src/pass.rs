//! An XDP program that passes every frame, for the far ends of veth cables.
//!
//! The veth driver hands frames that XDP transmits to a far end without a program of its own only
//! when something else wakes it (`veth_xdp_flush` in drivers/net/veth.c): they would be late by
//! milliseconds, or for good.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::libc;

/// Commands of bpf(2), and the type of XDP programs (include/uapi/linux/bpf.h).
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_PROG_TYPE_XDP: u32 = 6;

/// `r0 = XDP_PASS; exit`, as eight bytes each (Documentation/bpf/standardization).
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
}

/// The head of `union bpf_attr` for `BPF_OBJ_PIN`.
#[repr(C)]
struct Pin {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Loads the program and pins it, so that `ip link set … xdp pinned` finds it.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn pin(path: &Path) -> Result<()> {
    let load = Load {
        kind: BPF_PROG_TYPE_XDP,
        instructions: PASS.len() as u32,
        code: PASS.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
    };
    let fd = bpf(BPF_PROG_LOAD, &load).context("loading the XDP program of switch ports")?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else has it.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let name = CString::new(path.as_os_str().as_encoded_bytes())?;
    let pin = Pin { path: name.as_ptr() as u64, fd: program.as_raw_fd() as u32, flags: 0 };
    bpf(BPF_OBJ_PIN, &pin).with_context(|| format!("pinning {}", path.display()))?;
    Ok(())
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: the attributes live through the call, what they point to does too, and their size is
    // given.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
