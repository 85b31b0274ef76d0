//! Latencies: every sample is kept up to a bound, then a uniform sample of them (reservoir).
//! Percentiles are by nearest rank.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// 65,536 samples of 8 bytes: half a megabyte, and p99.9 of them still rests on 65 samples.
const SAMPLES_MAX: usize = 65_536;

/// Collected latencies.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    nanoseconds: Vec<u64>,
    seen: u64,
    max: u64,
    random: u64,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many samples there were.
    pub count: u64,
    /// Half were at most this.
    pub p50_ms: f64,
    /// 99 % were at most this.
    pub p99_ms: f64,
    /// 99.9 % were at most this.
    pub p999_ms: f64,
    /// The largest.
    pub max_ms: f64,
}

impl Latencies {
    /// Adds a sample.
    pub fn add(&mut self, latency: Duration) {
        let value = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.seen += 1;
        self.max = self.max.max(value);
        if self.nanoseconds.len() < SAMPLES_MAX {
            self.nanoseconds.push(value);
            return;
        }
        // xorshift64: the sample need not be unpredictable, only uniform.
        let mut x = self.random | 1;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random = x.wrapping_add(self.seen << 1);
        let slot = usize::try_from(x % self.seen).unwrap_or(usize::MAX);
        if let Some(place) = self.nanoseconds.get_mut(slot) {
            *place = value;
        }
    }

    /// Adds the samples of another collection.
    pub fn merge(&mut self, other: &Self) {
        for value in &other.nanoseconds {
            self.add(Duration::from_nanos(*value));
        }
        self.seen += other.seen.saturating_sub(other.nanoseconds.len() as u64);
        self.max = self.max.max(other.max);
    }

    /// The percentiles so far.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        let mut sorted = self.nanoseconds.clone();
        sorted.sort_unstable();
        let at = |per_mille: usize| {
            let rank = (sorted.len() * per_mille).div_ceil(1000).max(1);
            milliseconds(sorted.get(rank - 1).copied().unwrap_or(0))
        };
        Percentiles {
            count: self.seen,
            p50_ms: at(500),
            p99_ms: at(990),
            p999_ms: at(999),
            max_ms: milliseconds(self.max),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a latency to print")]
fn milliseconds(nanoseconds: u64) -> f64 {
    (nanoseconds as f64 / 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut latencies = Latencies::default();
        for millisecond in (1..=1000).rev() {
            latencies.add(Duration::from_millis(millisecond));
        }
        let want = Percentiles {
            count: 1000,
            p50_ms: 500.0,
            p99_ms: 990.0,
            p999_ms: 999.0,
            max_ms: 1000.0,
        };
        assert_eq!(latencies.percentiles(), want);
    }

    #[test]
    fn no_sample_is_zero_and_many_samples_stay_bounded() {
        assert_eq!(Latencies::default().percentiles(), Percentiles::default());
        let mut latencies = Latencies::default();
        for index in 0..200_000u64 {
            latencies.add(Duration::from_micros(index % 1000));
        }
        assert_eq!(latencies.nanoseconds.len(), SAMPLES_MAX);
        let percentiles = latencies.percentiles();
        assert_eq!(percentiles.count, 200_000);
        assert!((percentiles.p50_ms - 0.5).abs() < 0.02, "{percentiles:?}");
    }
}
