//! Where a worker runs and where its memory lies.

use std::{collections::BTreeSet, ffi::c_void, io};

/// `MPOL_BIND` (include/uapi/linux/mempolicy.h): from this node alone.
const MPOL_BIND: libc::c_ulong = 2;
/// Nodes that a mask has bits for: the most that Linux is built for on x86-64 and arm64.
const NODES: usize = 1_024;
/// How late the kernel may wake a worker, in nanoseconds; 50,000 by default.
const SLACK_NS: libc::c_ulong = 1_000;

/// Binds memory that nobody has touched to a NUMA node.
///
/// # Errors
/// Returns what the kernel refused; one without NUMA has nothing to bind.
///
/// # Safety
/// The memory must be a mapping of the caller's.
pub unsafe fn bind(start: *mut c_void, length: usize, node: u32) -> io::Result<()> {
    let mut mask = [0 as libc::c_ulong; NODES / libc::c_ulong::BITS as usize];
    let bits = libc::c_ulong::BITS;
    let word = mask.get_mut((node / bits) as usize).ok_or(io::ErrorKind::InvalidInput)?;
    *word |= 1 << (node % bits);
    // SAFETY: the caller's; the mask has as many bits as is told.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            start,
            length,
            MPOL_BIND,
            mask.as_ptr(),
            NODES as libc::c_ulong + 1,
            0 as libc::c_ulong,
        )
    };
    match io::Error::last_os_error() {
        error if failed != 0 && error.raw_os_error() != Some(libc::ENOSYS) => Err(error),
        _ => Ok(()),
    }
}

/// Makes the calling thread run on some CPUs, and be woken in time.
///
/// # Errors
/// Returns what the kernel refused of the CPUs; the rest is a help that may be missing.
pub fn settle(cpus: &BTreeSet<usize>) -> io::Result<()> {
    // SAFETY: no pointer is passed; the call is about the calling thread alone.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, SLACK_NS) };
    if cpus.is_empty() {
        return Ok(());
    }
    // SAFETY: all fields are integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in cpus.iter().filter(|cpu| **cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: the number is below the set's size.
        unsafe { libc::CPU_SET(*cpu, &mut set) };
    }
    // SAFETY: the set lives through the call and has the length that is told.
    let failed = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bound_to_a_node_that_is_there_only() {
        let length = 1 << 16;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED);
        // SAFETY: the mapping just made.
        unsafe {
            bind(start, length, 0).expect("node 0 is there");
            assert!(bind(start, length, 1 << 20).is_err());
            libc::munmap(start, length);
        }
    }

    #[test]
    fn a_thread_runs_where_it_is_told() {
        let thread = std::thread::spawn(|| {
            settle(&BTreeSet::from([0])).expect("CPU 0 is there");
            // SAFETY: no pointer is passed.
            unsafe { libc::sched_getcpu() }
        });
        assert_eq!(thread.join().expect("no panic"), 0);
    }
}
