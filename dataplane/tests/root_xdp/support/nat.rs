//! What the tests of full NAT need beside the bench: another interface, and its clock.

use std::time::{Duration, Instant};

use crate::support::bench::Bench;

const LOOPBACK: u32 = 1;

impl Bench {
    /// Runs the program on a frame that came in by the loopback interface.
    pub(crate) fn run_from_loopback(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        self.run_on(frame, LOOPBACK, 1).0
    }

    /// Waits until entries are due for their refresh, by the kernel's ticks.
    pub(crate) fn wait_for_refresh(&self) {
        // A second in units of at most 160 ms.
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1_000 + 2 * 160) {
            std::thread::yield_now();
        }
    }
}
