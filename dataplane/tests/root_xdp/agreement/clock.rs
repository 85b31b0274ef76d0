//! The kernel's tick counter, as the programs read it.

use std::fs;

use nix::time::{ClockId, clock_getres, clock_gettime};

/// Ticks in the least unit of time that the packet path knows.
const UNIT: u64 = 16;

/// Returns the unit that a tick is in.
pub(super) fn unit(ticks: u64) -> u64 {
    ticks / UNIT
}

pub(super) struct Clock {
    tick_ns: i64,
    /// A tick, and when it was by the coarse clock, which goes on with it.
    known: (u64, i64),
}

fn coarse_ns() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).unwrap();
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

impl Clock {
    pub(super) fn new() -> Self {
        let tick_ns = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).unwrap().tv_nsec();
        let mut clock = Self { tick_ns, known: (0, 0) };
        clock.set();
        clock
    }

    pub(super) fn ticks_per_second(&self) -> u32 {
        ((1_000_000_000 + self.tick_ns / 2) / self.tick_ns) as u32
    }

    /// Reads the counter, where the kernel tells it.
    pub(super) fn set(&mut self) {
        loop {
            let before = coarse_ns();
            let text = fs::read_to_string("/proc/timer_list").expect("root, and CONFIG_TIMER_LIST");
            let line = text.lines().find_map(|line| line.strip_prefix("jiffies: "));
            let ticks = line.expect("the counter").trim().parse().expect("a number");
            if coarse_ns() == before {
                self.known = (ticks, before);
                return;
            }
        }
    }

    pub(super) fn ticks(&self) -> u64 {
        let (ticks, at) = self.known;
        let passed = (coarse_ns() - at + self.tick_ns / 2) / self.tick_ns;
        ticks + passed as u64
    }

    /// Waits until the present unit is not about to end; returns the time.
    pub(super) fn steady(&self) -> u64 {
        loop {
            let ticks = self.ticks();
            if ticks % UNIT != UNIT - 1 {
                return ticks;
            }
            std::thread::yield_now();
        }
    }
}
