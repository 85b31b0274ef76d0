//! How long packets waited: counts by time, and what share of them waited less (pure).

/// Steps between a time and twice that: a quantile is told with an error of an eighth.
const STEPS: u32 = 8;
/// Counts of all times, in nanoseconds.
const BUCKETS: usize = (64 - STEPS.ilog2() as usize + 1) * STEPS as usize;

/// Counts of packets by how long they waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sojourns {
    counts: Box<[u64; BUCKETS]>,
    total: u64,
}

impl Default for Sojourns {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }
}

impl Sojourns {
    /// Counts a packet that waited so many nanoseconds.
    pub fn add(&mut self, waited: u64) {
        self.counts[bucket(waited)] += 1;
        self.total += 1;
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count += more;
        }
        self.total += other.total;
    }

    /// Returns how many packets were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Returns the nanoseconds that a share of the packets, in thousandths, waited at most; none
    /// when there were no packets.
    #[must_use]
    pub fn quantile(&self, thousandths: u64) -> Option<u64> {
        let rank = (u128::from(self.total) * u128::from(thousandths)).div_ceil(1_000).max(1);
        let mut seen = 0u128;
        self.counts.iter().enumerate().find_map(|(bucket, count)| {
            seen += u128::from(*count);
            (seen >= rank).then(|| last(bucket))
        })
    }
}

fn bucket(waited: u64) -> usize {
    let Some(power) = waited.checked_ilog2().filter(|power| *power > STEPS.ilog2()) else {
        return waited as usize;
    };
    let shift = power - STEPS.ilog2();
    (shift * STEPS) as usize + (waited >> shift) as usize
}

/// Returns the longest time of a bucket.
fn last(bucket: usize) -> u64 {
    let steps = STEPS as usize;
    if bucket < 2 * steps {
        return bucket as u64;
    }
    let shift = bucket / steps - 1;
    let first = (bucket - shift * steps) as u64;
    ((first + 1) << shift).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_holds_times_within_an_eighth(waited: u64, shift in 0..64u32) {
            let waited = waited >> shift;
            let end = last(bucket(waited));
            prop_assert!(end >= waited && end - waited <= waited / 8, "{} {}", waited, end);
            if let Some(next) = end.checked_add(1) {
                prop_assert_eq!(bucket(next), bucket(waited) + 1);
            }
        }

        #[test]
        fn quantiles_are_those_of_the_sorted_times(
            mut times in prop::collection::vec(0..10_000_000u64, 1..200), thousandths in 1..1_001u64,
        ) {
            let mut sojourns = Sojourns::default();
            let (mut one, mut other) = (Sojourns::default(), Sojourns::default());
            for (index, time) in times.iter().enumerate() {
                if index % 3 == 0 { one.add(*time) } else { other.add(*time) }
            }
            sojourns.merge(&one);
            sojourns.merge(&other);
            times.sort_unstable();
            let rank = (times.len() * thousandths as usize).div_ceil(1_000).max(1);
            let exact = times[rank - 1];
            prop_assert_eq!(sojourns.quantile(thousandths), Some(last(bucket(exact))));
            prop_assert_eq!(sojourns.total(), times.len() as u64);
        }
    }

    #[test]
    fn without_packets_nothing_is_told() {
        assert_eq!(Sojourns::default().quantile(999), None);
    }
}
