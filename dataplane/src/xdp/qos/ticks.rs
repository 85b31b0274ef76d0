//! How fast the kernel's tick counter goes, and how many CPUs may borrow.

use ebpf_common::qos::Limit;
use model::qos_policy::RateLimit;

/// What limits are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Ticks a second.
    pub ticks_per_s: u32,
    /// CPUs that there may be.
    pub cpus: u32,
}

impl Default for Pace {
    /// What is common.
    fn default() -> Self {
        Self { ticks_per_s: 250, cpus: 2 }
    }
}

impl Pace {
    /// Reads the host's.
    ///
    /// The kernel tells its tick rate as the resolution of the coarse clocks
    /// (kernel/time/posix-timers.c, `posix_get_coarse_res`); `sysconf` tells another.
    #[must_use]
    pub fn of_host() -> Self {
        let common = Self::default();
        let mut resolution = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the value is writable.
        let read = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) };
        let tick_ns = if read == 0 { u64::try_from(resolution.tv_nsec).unwrap_or(0) } else { 0 };
        let cpus = aya::util::nr_cpus().map_or(common.cpus, |cpus| cpus as u32);
        Self { ticks_per_s: ticks_per_s(tick_ns).unwrap_or(common.ticks_per_s), cpus }
    }
}

impl Pace {
    /// Makes the limit of a rate.
    #[must_use]
    pub fn limit(self, rate: RateLimit) -> Limit {
        Limit::new(rate.bytes_per_s(), rate.burst_bytes(), self.ticks_per_s, self.cpus)
    }
}

/// Returns the ticks a second, of which one takes so long; none when that is no tick's length.
fn ticks_per_s(tick_ns: u64) -> Option<u32> {
    let ticks = (1_000_000_000 + tick_ns / 2).checked_div(tick_ns)?;
    (20..=10_000).contains(&ticks).then_some(ticks as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_from_their_length() {
        let check = |tick_ns, expected| assert_eq!(ticks_per_s(tick_ns), expected, "{tick_ns}");
        check(10_000_000, Some(100));
        check(4_000_000, Some(250));
        check(3_333_333, Some(300));
        check(1_000_000, Some(1_000));
        check(1, None);
        check(0, None);
    }

    #[test]
    fn this_host_has_a_tick() {
        let pace = Pace::of_host();
        assert!((100..=1_000).contains(&pace.ticks_per_s) && pace.cpus > 0, "{pace:?}");
    }
}
