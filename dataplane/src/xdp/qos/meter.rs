//! How much goes on in a second, by what was counted (pure).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// The shortest time that a rate is told of: what goes on comes in bursts.
const SPAN_MIN: Duration = Duration::from_secs(4);

/// Counts at a moment.
#[derive(Clone, Debug)]
struct Sample<K> {
    at: Instant,
    bytes: BTreeMap<K, u64>,
}

/// What was counted at the last two moments: a rate is about the time since the one before last, or
/// since the last one where that is long enough.
#[derive(Clone, Debug)]
pub struct Meter<K>([Option<Sample<K>>; 2]);

impl<K> Default for Meter<K> {
    fn default() -> Self {
        Self([None, None])
    }
}

impl<K: Ord> Meter<K> {
    /// Notes what has been counted.
    pub fn note(&mut self, at: Instant, bytes: BTreeMap<K, u64>) {
        let [_, last] = std::mem::take(&mut self.0);
        self.0 = [last, Some(Sample { at, bytes })];
    }

    /// Returns the bits a second that went on until a moment when so many bytes have been counted;
    /// none before enough time has passed, or where counting began anew.
    #[must_use]
    pub fn bits_per_s(&self, key: &K, at: Instant, bytes: u64) -> Option<f64> {
        let [before, last] = &self.0;
        let long = |sample: &&Sample<K>| at.saturating_duration_since(sample.at) >= SPAN_MIN;
        let sample = last.as_ref().filter(long).or(before.as_ref().filter(long))?;
        let more = bytes.checked_sub(*sample.bytes.get(key)?)?;
        Some(more as f64 * 8.0 / at.duration_since(sample.at).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_about_the_last_seconds_and_never_about_a_moment() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut meter = Meter::default();
        assert_eq!(meter.bits_per_s(&1, at(0), 9), None);
        meter.note(at(0), BTreeMap::from([(1, 1_000), (2, 50)]));
        assert_eq!(meter.bits_per_s(&1, at(3_999), 9_000), None, "it is too soon");
        assert_eq!(meter.bits_per_s(&1, at(4_000), 3_000), Some(4_000.0));
        meter.note(at(5_000), BTreeMap::from([(1, 3_500), (2, 50)]));
        // Since the one before last, as the last is but a moment ago.
        assert_eq!(meter.bits_per_s(&1, at(8_000), 9_000), Some(8_000.0));
        assert_eq!(meter.bits_per_s(&1, at(10_000), 8_500), Some(8_000.0));
        assert_eq!(meter.bits_per_s(&2, at(9_000), 50), Some(0.0));
        assert_eq!(meter.bits_per_s(&2, at(9_000), 49), None, "counting began anew");
        assert_eq!(meter.bits_per_s(&3, at(9_000), 7), None, "it is new");
    }
}
