//! A bucket of tokens, exact at any rate.

use std::time::Duration;

use super::{QuotaLimit, Worth};

/// Requests that may pass. Times are those since any moment that stays the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    limit: QuotaLimit,
    /// In parts of which a token is [`Bucket::token`]; `requests` of them come back in a nanosecond.
    level: i128,
    at: Duration,
}

impl Bucket {
    /// Makes one that is full.
    #[must_use]
    pub fn full(limit: QuotaLimit, now: Duration) -> Self {
        Self::with(limit, i64::from(limit.burst), now)
    }

    /// Makes one that has so many tokens, as far as it may.
    #[must_use]
    pub fn with(limit: QuotaLimit, tokens: i64, now: Duration) -> Self {
        let mut bucket = Self { limit, level: 0, at: now };
        bucket.level = bucket.bounded(i128::from(tokens) * bucket.token());
        bucket
    }

    fn token(&self) -> i128 {
        i128::from(self.limit.interval_ms) * 1_000_000
    }

    /// Neither more than may come at once, nor so deep a debt that paying it takes longer than that.
    fn bounded(&self, level: i128) -> i128 {
        let most = i128::from(self.limit.burst) * self.token();
        level.clamp(-most, most)
    }

    fn change(&mut self, by: i128) {
        self.level = self.bounded(self.level + by);
    }

    /// Lets come back what the time since has brought.
    pub fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_nanos();
        self.at = self.at.max(now);
        // A century is below 2^62 ns.
        let passed = i128::try_from(passed).unwrap_or(i128::MAX >> 64);
        self.change(passed.saturating_mul(self.limit.requests.into()));
    }

    /// Takes so many tokens, or those that there are; returns how many.
    pub fn take(&mut self, wanted: u32) -> u32 {
        let taken = i64::from(wanted).min(self.left()).max(0);
        self.level -= i128::from(taken) * self.token();
        u32::try_from(taken).expect("no more than was wanted")
    }

    /// Puts tokens back that were not used.
    pub fn put_back(&mut self, tokens: u32) {
        self.change(i128::from(tokens) * self.token());
    }

    /// Takes away what has passed already, be it more than there is.
    pub fn debit(&mut self, tokens: u32) {
        self.change(-i128::from(tokens) * self.token());
    }

    /// Leaves no more tokens than so many.
    pub fn lower(&mut self, tokens: i64) {
        let bound = i128::from(tokens) * self.token();
        self.level = self.bounded(self.level.min(bound));
    }

    /// Returns the whole tokens that there are; what is owed is below zero.
    #[must_use]
    pub fn left(&self) -> i64 {
        // Bounded by the burst, which has 32 bits.
        self.level.div_euclid(self.token()) as i64
    }

    /// Returns how long it takes until there are so many.
    #[must_use]
    pub fn wait(&self, tokens: u32) -> Duration {
        let missing = i128::from(tokens) * self.token() - self.level;
        let nanos = missing.max(0).unsigned_abs().div_ceil(self.limit.requests.max(1).into());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// What may pass.
    #[must_use]
    pub fn limit(&self) -> QuotaLimit {
        self.limit
    }
}

impl Worth for Bucket {
    /// A full one is as good as none; of others it is the part that is missing, in millionths: a limit of
    /// many hours is worth no more than one of seconds.
    fn worth(&self, now: Duration) -> u64 {
        let mut then = self.clone();
        then.refill(now);
        let most = i128::from(self.limit.burst) * self.token();
        let missing = (most - then.level) * 1_000_000;
        // Between nothing and twice the burst.
        u64::try_from(missing.unsigned_abs().div_ceil(most.unsigned_abs())).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: QuotaLimit = QuotaLimit { requests: 3, interval_ms: 1_000, burst: 5 };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn tokens_come_back_evenly_and_no_more_than_may_come_at_once() {
        let mut bucket = Bucket::full(LIMIT, ms(0));
        assert_eq!((bucket.take(9), bucket.take(1)), (5, 0));
        assert_eq!(bucket.wait(1), Duration::from_nanos(333_333_334));
        bucket.refill(ms(333));
        assert_eq!(bucket.take(1), 0);
        bucket.refill(ms(334));
        assert_eq!(bucket.take(1), 1);
        bucket.refill(ms(60_000));
        assert_eq!(bucket.left(), 5);
        // A clock that goes back brings nothing.
        bucket.take(5);
        bucket.refill(ms(1));
        bucket.refill(ms(60_000));
        assert_eq!(bucket.left(), 0);
    }

    #[test]
    fn what_passed_already_is_owed_up_to_a_burst() {
        let mut bucket = Bucket::full(LIMIT, ms(0));
        bucket.debit(7);
        assert_eq!((bucket.left(), bucket.take(1)), (-2, 0));
        bucket.debit(u32::MAX);
        assert_eq!(bucket.left(), -5);
        bucket.put_back(6);
        assert_eq!(bucket.take(6), 1);
        bucket.put_back(u32::MAX);
        assert_eq!(bucket.left(), 5);
        bucket.lower(2);
        bucket.lower(4);
        assert_eq!(bucket.left(), 2);
    }

    #[test]
    fn it_is_worth_nothing_once_it_is_full_again() {
        let mut bucket = Bucket::full(LIMIT, ms(0));
        assert_eq!(bucket.worth(ms(0)), 0);
        bucket.take(3);
        assert_eq!((bucket.worth(ms(0)), bucket.worth(ms(500))), (600_000, 300_000));
        assert_eq!((bucket.worth(ms(999)), bucket.worth(ms(1_000))), (600, 0));
    }

    proptest! {
        #[test]
        fn in_any_time_no_more_passes_than_a_burst_and_the_rate(
            requests in 1_u32..=10_000_000,
            interval_ms in 1_000_u64..=86_400_000,
            burst in 1_u32..=10_000_000,
            steps in prop::collection::vec((0_u64..10_000_000_000, 0_u32..20_000_000), 1..40),
        ) {
            let limit = QuotaLimit { requests, interval_ms, burst };
            let mut bucket = Bucket::full(limit, Duration::ZERO);
            let (mut now, mut passed) = (Duration::ZERO, 0_u128);
            for (pause, wanted) in steps {
                now += Duration::from_nanos(pause);
                bucket.refill(now);
                let before = bucket.left();
                let taken = bucket.take(wanted);
                prop_assert_eq!(i64::from(taken), i64::from(wanted).min(before));
                passed += u128::from(taken);
                let nanos = u128::from(interval_ms) * 1_000_000;
                let may = u128::from(burst) + u128::from(requests) * now.as_nanos() / nanos;
                prop_assert!(passed <= may, "{} of {}", passed, may);
                if wanted > taken {
                    // It is exact about when there is one more.
                    let mut later = bucket.clone();
                    later.refill(now + bucket.wait(1));
                    prop_assert_eq!(later.left(), 1);
                }
            }
        }
    }
}
