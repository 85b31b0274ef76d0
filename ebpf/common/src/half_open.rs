//! How many TCP connections with full NAT nobody has completed yet: whose client has not acknowledged, or
//! whose backend has not answered.
//!
//! All CPUs share one word, `since << 32 | count` in the time of [`crate::state::Clock`]. A connection
//! adds one when it begins and takes it away when both sides have been heard; those of which nothing
//! more is heard leak out in the time that their entries stay, [`limit`] of them in [`OPENING_S`]. A CPU
//! that loses the race for the word twice leaves it, so it is as exact as it has to be.

use crate::state::{Clock, OPENING_S};

/// Half-open connections of a node from which on [`crate::layout::cookies::AUTO`] answers by cookies. A
/// node that takes 10,000 connections a second from clients a tenth of a second away has as many; a
/// flood that fills this up once and what leaks ever after holds twice as many, less than half the ports
/// of one backend.
pub const LIMIT: u32 = 1_024;

/// Returns how many there may be before SYNs are answered by cookies, with a table of so many buckets
/// less one: [`LIMIT`], or a quarter of the connections that a small table has room for.
#[inline(always)]
#[must_use]
pub const fn limit(claim_mask: u32) -> u32 {
    // Eight places a bucket, two of them a connection.
    let quarter = claim_mask.saturating_add(1);
    if quarter < LIMIT { quarter } else { LIMIT }
}

/// The word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HalfOpen(pub u64);

impl HalfOpen {
    const fn new(count: u32, since: u32) -> Self {
        Self((since as u64) << 32 | count as u64)
    }

    /// Returns how many there are.
    #[inline(always)]
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0 as u32
    }

    /// Returns the word at a later time, after what has leaked out until then.
    #[inline(always)]
    #[must_use]
    pub const fn at(self, clock: Clock, limit: u32) -> Self {
        let since = (self.0 >> 32) as u32;
        let (period, limit) = (not_zero(clock.units(OPENING_S)), not_zero(limit));
        let elapsed = clock.since(since);
        if elapsed >= period {
            return Self::new(0, clock.now);
        }
        let leaked = elapsed * limit / period;
        if leaked >= self.count() {
            return Self::new(0, clock.now);
        }
        // Rounded up, which is no more than has passed: looking often makes nothing leak sooner.
        let passed = (leaked * period).div_ceil(limit);
        Self::new(self.count() - leaked, since.wrapping_add(passed))
    }

    /// Returns the word with one more.
    #[inline(always)]
    #[must_use]
    pub const fn more(self) -> Self {
        if self.count() == u32::MAX { self } else { Self(self.0 + 1) }
    }

    /// Returns the word with one fewer.
    #[inline(always)]
    #[must_use]
    pub const fn fewer(self) -> Self {
        if self.count() == 0 { self } else { Self(self.0 - 1) }
    }
}

/// Returns a number as one that can be divided by.
#[inline(always)]
const fn not_zero(number: u32) -> u32 {
    if number == 0 { 1 } else { number }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clock(units: u32) -> Clock {
        Clock::new(u64::from(units) << 4, 250)
    }

    #[test]
    fn a_small_table_has_a_smaller_limit() {
        assert_eq!(limit((1 << 15) - 1), LIMIT);
        assert_eq!(limit(1_023), 1_024);
        assert_eq!(limit(255), 256);
        assert_eq!(limit(u32::MAX), LIMIT);
    }

    #[test]
    fn what_nobody_completes_leaks_out_in_the_time_that_its_entry_stays() {
        let period = clock(0).units(OPENING_S);
        let mut word = HalfOpen::default().at(clock(5), LIMIT);
        for _ in 0..LIMIT {
            word = word.more();
        }
        assert_eq!(word.count(), LIMIT);
        let half = word.at(clock(5 + period / 2), LIMIT).count();
        assert!(half.abs_diff(LIMIT / 2) <= 2, "{half}");
        assert_eq!(word.at(clock(5 + period), LIMIT).count(), 0);
        assert_eq!(HalfOpen::default().fewer().count(), 0);
        // However often somebody looks in a moment.
        let mut often = word;
        for _ in 0..2_000 {
            often = often.at(clock(6), LIMIT);
        }
        assert!(LIMIT - often.count() <= 2, "{often:?}");
    }

    proptest! {
        #[test]
        fn looking_often_leaks_no_sooner_and_hardly_later_than_looking_once(
            count in 0..3_000u32, begun in any::<u32>(), steps in prop::collection::vec(0..40u32, 1..60),
            limit in 1..=LIMIT,
        ) {
            let begun = begun >> 5;
            let count = count % (limit + 1);
            let word = HalfOpen::new(count, begun);
            let (mut often, mut now) = (word, begun);
            for step in steps {
                now += step;
                often = often.at(clock(now), limit);
            }
            let once = word.at(clock(now), limit).count();
            // Each look keeps less than what leaks in a unit of time, and one.
            prop_assert!(often.count() >= once, "{often:?} {once}");
            prop_assert!(often.count() - once <= 61 * 3, "{often:?} {once}");
            prop_assert!(often.count() <= count);
        }
    }
}
