//! The kernel's tick counter, as the programs read it.

use std::{
    ffi::c_long,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_getres};

/// Commands of bpf(2), include/uapi/linux/bpf.h.
const PROG_LOAD: c_long = 5;
const PROG_TEST_RUN: c_long = 10;
const PROG_TYPE_SYSCALL: u32 = 31;
const F_SLEEPABLE: u32 = 1 << 4;
/// Writes what `bpf_jiffies64` returns to the context.
const PROGRAM: [u64; 5] = [
    0x0000_0000_0000_16bf, // r6 = r1
    0x0000_0076_0000_0085, // call bpf_jiffies64
    0x0000_0000_0000_067b, // *(u64 *)(r6 + 0) = r0
    0x0000_0000_0000_00b7, // r0 = 0
    0x0000_0000_0000_0095, // exit
];

#[repr(C, align(8))]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C, align(8))]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data: [u64; 3],
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u64,
}

/// What it counts is read by a program, since what the kernel tells of it elsewhere is a tick ahead
/// or behind at times.
pub(super) struct Clock {
    program: OwnedFd,
    tick: Duration,
    seen: Seen,
}

/// The newest tick that was seen.
struct Seen {
    ticks: u64,
    began: Option<Instant>,
    looked: Instant,
}

/// # Safety
/// `attributes` must be those of the command.
unsafe fn bpf<T>(command: c_long, attributes: &mut T) -> i32 {
    // SAFETY: the caller's; the kernel reads and writes no more than the size says.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    assert!(result >= 0, "bpf({command}): {}", io::Error::last_os_error());
    result as i32
}

impl Clock {
    pub(super) fn new() -> Self {
        let mut load = Load {
            prog_type: PROG_TYPE_SYSCALL,
            insn_cnt: PROGRAM.len() as u32,
            insns: PROGRAM.as_ptr() as u64,
            license: c"Apache-2.0".as_ptr() as u64,
            prog_flags: F_SLEEPABLE,
            ..Load::default()
        };
        // SAFETY: the command's, with addresses of constants; a new descriptor is nobody else's.
        let program = unsafe { OwnedFd::from_raw_fd(bpf(PROG_LOAD, &mut load)) };
        let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).unwrap().into();
        Self { program, tick, seen: Seen { ticks: 0, began: None, looked: Instant::now() } }
    }

    pub(super) fn ticks_per_second(&self) -> u32 {
        (1.0 / self.tick.as_secs_f64()).round() as u32
    }

    pub(super) fn ticks(&self) -> u64 {
        let mut ticks = 0u64;
        let mut run = TestRun {
            prog_fd: self.program.as_raw_fd() as u32,
            ctx_size_in: size_of::<u64>() as u32,
            ctx_in: &raw mut ticks as u64,
            ..TestRun::default()
        };
        // SAFETY: the command's, with the address of what its program writes.
        unsafe { bpf(PROG_TEST_RUN, &mut run) };
        assert_ne!(ticks, 0, "the program has not run");
        ticks
    }

    /// Waits until a tick is known to have begun and not about to end; returns it.
    pub(super) fn steady(&mut self) -> u64 {
        let quarter = self.tick / 4;
        loop {
            let (ticks, now) = (self.ticks(), Instant::now());
            if ticks != self.seen.ticks {
                // Who looks late does not know how old the tick is.
                let began = (now - self.seen.looked < quarter).then_some(now);
                self.seen = Seen { ticks, began, looked: now };
            }
            self.seen.looked = now;
            if self.seen.began.is_some_and(|began| now - began < 3 * quarter) {
                return ticks;
            }
            std::thread::yield_now();
        }
    }
}
