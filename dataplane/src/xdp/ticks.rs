//! How fast the kernel's tick counter goes.

use std::io;

use nix::time::{ClockId, clock_getres};

/// Ticks in a second that a kernel may have (`CONFIG_HZ`).
const POSSIBLE: std::ops::RangeInclusive<u32> = 100..=1_000;

/// Returns the kernel's ticks in a second.
///
/// The kernel tells its tick rate as the resolution of the coarse clocks
/// (kernel/time/posix-timers.c, `posix_get_coarse_res`); `sysconf` tells another.
///
/// # Errors
/// Returns that the kernel does not tell it, or something that is no tick.
pub fn per_second() -> io::Result<u32> {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)?;
    of_length(tick.tv_nsec()).ok_or_else(|| {
        let told = format!("a tick of {} ns", tick.tv_nsec());
        io::Error::new(io::ErrorKind::InvalidData, told)
    })
}

/// Returns the ticks in a second, of which one takes so long; none when that is no tick's length.
fn of_length(nanoseconds: i64) -> Option<u32> {
    let nanoseconds = u32::try_from(nanoseconds).ok()?;
    // A kernel of 300 ticks has one of 3,333,333 ns.
    let ticks = (1_000_000_000 + nanoseconds / 2).checked_div(nanoseconds)?;
    POSSIBLE.contains(&ticks).then_some(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_from_their_length() {
        let check = |tick_ns, expected| assert_eq!(of_length(tick_ns), expected, "{tick_ns}");
        check(10_000_000, Some(100));
        check(4_000_000, Some(250));
        check(3_333_333, Some(300));
        check(1_000_000, Some(1_000));
        check(100_000_000, None);
        check(1, None);
        check(0, None);
        check(-1, None);
    }

    #[test]
    fn this_host_has_a_tick() {
        assert!(POSSIBLE.contains(&per_second().expect("Linux tells it")));
    }
}
