//! The time of limiters as this process's clock tells it (pure).
//!
//! Limiters count in fractions of the kernel's ticks ([`FRACTION`]), which this process can't read;
//! packets bring the tick that they were seen at. A tick that is brought is never ahead of the
//! present, so the greatest difference seen is the closest, and falls short by less than a tick.

use ebpf_common::qos::bucket::FRACTION;

/// Nanoseconds in a second.
const SECOND: u128 = 1_000_000_000;

/// Tells the time of limiters by a clock of nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    ticks_per_s: u32,
    /// The time of limiters when the clock stood at zero; `None` before the first tick.
    start: Option<u64>,
}

impl Clock {
    /// A clock for a kernel with so many ticks a second, not set yet.
    #[must_use]
    pub fn new(ticks_per_s: u32) -> Self {
        Self { ticks_per_s, start: None }
    }

    /// Notes that the kernel's counter stood at `ticks` at `now` or shortly before.
    pub fn saw(&mut self, ticks: u64, now: u64) {
        let found = (ticks << FRACTION).wrapping_sub(self.span(now));
        // Both go round; what is later is so by less than half of that.
        if self.start.is_none_or(|start| found.wrapping_sub(start).cast_signed() > 0) {
            self.start = Some(found);
        }
    }

    /// Returns the time of limiters.
    #[must_use]
    pub fn time(&self, now: u64) -> u64 {
        self.start.unwrap_or_default().wrapping_add(self.span(now))
    }

    /// Returns when a time of limiters comes: `now` when it has, and never later than a day.
    #[must_use]
    pub fn when(&self, time: u64, now: u64) -> u64 {
        let ahead = time.wrapping_sub(self.time(now)).cast_signed();
        let units = u128::from(u64::try_from(ahead).unwrap_or(0));
        let ahead = (units * SECOND).div_ceil(u128::from(self.ticks_per_s) << FRACTION);
        now + ahead.min(86_400 * SECOND) as u64
    }

    /// Returns how much time of limiters goes by in nanoseconds.
    fn span(&self, ns: u64) -> u64 {
        ((u128::from(ns) * (u128::from(self.ticks_per_s) << FRACTION)) / SECOND) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_tick_sets_the_clock() {
        let mut clock = Clock::new(250);
        // Seen 3 ms, then 1 ms after the tick, then again late.
        clock.saw(1_000, 7_000_000);
        clock.saw(1_001, 9_000_000);
        clock.saw(1_003, 19_500_000);
        let tick = 1 << FRACTION;
        assert_eq!(clock.time(9_000_000), 1_001 * tick);
        assert_eq!(clock.time(13_000_000), 1_002 * tick);
        assert_eq!(clock.when(1_002 * tick, 9_000_000), 13_000_000);
        assert_eq!(clock.when(1_002 * tick, 14_000_000), 14_000_000, "it has come");
        assert_eq!(clock.when(1_002 * tick + (1 << 60), 0), 86_400_000_000_000);
    }

    #[test]
    fn ticks_go_round() {
        let mut clock = Clock::new(1_000);
        let last = u64::MAX >> FRACTION;
        clock.saw(last, 5_000_000);
        let next = clock.time(6_000_000);
        assert_eq!(next, 0);
        assert_eq!(clock.when(next, 5_000_000), 6_000_000);
    }
}
