//! How much goes in a direction on this node (pure).

use model::qos_policy::RateLimit;

/// The least burst of a share, in bytes: some ten packets.
const BURST_MIN: u64 = 16_000;

/// A rate with its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes a second.
    pub bytes_per_s: u64,
    /// What may go at once after a pause, in bytes.
    pub burst: u64,
}

impl From<RateLimit> for Rate {
    fn from(limit: RateLimit) -> Self {
        Self { bytes_per_s: limit.bytes_per_s(), burst: limit.burst_bytes() }
    }
}

impl Rate {
    /// Returns the rate of a node that has a share of a limit, with as much of its burst.
    #[must_use]
    pub fn share(limit: RateLimit, bytes_per_s: u64) -> Self {
        let whole = Self::from(limit);
        // At 100 Gbit/s the product has 74 bits.
        let part = u128::from(whole.burst) * u128::from(bytes_per_s)
            / u128::from(whole.bytes_per_s.max(1));
        let burst = u64::try_from(part).unwrap_or(u64::MAX);
        Self {
            bytes_per_s: bytes_per_s.clamp(1, whole.bytes_per_s),
            burst: burst.clamp(BURST_MIN.min(whole.burst), whole.burst),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_its_part_of_the_burst_and_never_more_than_the_whole() {
        let limit = RateLimit { bandwidth_mbps: 8, burst_kb: 100 };
        let share = |bytes_per_s| Rate::share(limit, bytes_per_s);
        assert_eq!(share(500_000), Rate { bytes_per_s: 500_000, burst: 50_000 });
        assert_eq!(share(1_000), Rate { bytes_per_s: 1_000, burst: 16_000 });
        assert_eq!(share(0), Rate { bytes_per_s: 1, burst: 16_000 });
        assert_eq!(share(u64::MAX), Rate::from(limit));
        let fast = RateLimit { bandwidth_mbps: 100_000, burst_kb: u32::MAX };
        assert_eq!(Rate::share(fast, 12_500_000_000), Rate::from(fast));
    }
}
