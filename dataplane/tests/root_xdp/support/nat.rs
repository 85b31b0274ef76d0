//! What the tests of full NAT need beside the bench: another interface, and its clock.

use std::time::{Duration, Instant};

use crate::support::bench::Bench;

const LOOPBACK: u32 = 1;

impl Bench {
    /// Runs the program on a frame that came in by the loopback interface.
    pub(crate) fn run_from_loopback(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        self.run_on(frame, LOOPBACK, 1).0
    }

    /// Waits until entries are due for their refresh, by the kernel's coarse clock.
    pub(crate) fn wait_for_refresh(&self) {
        let (start, deadline) = (coarse_s(), Instant::now() + Duration::from_secs(5));
        while coarse_s() <= start {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    }
}

/// The kernel's coarse clock, which the program uses, in seconds.
fn coarse_s() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one time there.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    assert_eq!(failed, 0);
    time.tv_sec
}
