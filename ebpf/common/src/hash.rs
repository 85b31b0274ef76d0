//! Hashes of flows and of the lookup table, and the Maglev index.
//!
//! A flow's hash has no seed: all nodes choose the same backend for a flow. The lookup table's
//! has one, since its builder must be able to try again.

use crate::layout::{EntryKey, Tuple};

/// An odd constant with well spread bits: 2^64 divided by the golden ratio (Knuth, TAOCP 6.4).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
const fn mix(state: u64, word: u64) -> u64 {
    let product = (state ^ word).wrapping_mul(MULTIPLIER);
    product ^ (product >> 32)
}

#[inline(always)]
const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// Hashes a flow: the high half picks the backend, the low half where the port search begins.
#[inline(always)]
#[must_use]
pub const fn flow(tuple: &Tuple) -> u64 {
    let (source, destination) = (&tuple.source.words, &tuple.destination.words);
    let mut state = mix(tuple.protocol as u64, pair(source[0], source[1]));
    state = mix(state, pair(source[2], source[3]));
    state = mix(state, pair(destination[0], destination[1]));
    state = mix(state, pair(destination[2], destination[3]));
    state = mix(state, pair(tuple.source_port_be as u32, tuple.destination_port_be as u32));
    mix(state, MULTIPLIER)
}

/// Hashes a key of the lookup table; the two halves are its two places.
#[inline(always)]
#[must_use]
pub const fn entry(key: &EntryKey, seed: u32) -> u64 {
    let words = &key.address.words;
    let mut state = mix(seed as u64, pair(words[0], words[1]));
    state = mix(state, pair(words[2], words[3]));
    let rest = key.port_be as u32 | (key.protocol as u32) << 16 | (key.kind as u32) << 24;
    mix(mix(state, pair(key.owner, rest)), MULTIPLIER)
}

/// Maps the high half of a flow's hash to `0..size` without a division.
#[inline(always)]
#[must_use]
pub const fn maglev_index(flow_hash: u64, size: u32) -> u32 {
    (((flow_hash >> 32) * size as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layout::{Address, UDP};

    proptest! {
        #[test]
        fn an_index_is_always_within_the_table(hash in any::<u64>(), size in 1..=65_536u32) {
            prop_assert!(maglev_index(hash, size) < size);
        }
    }

    #[test]
    fn neighbouring_flows_spread_evenly() {
        const BUCKETS: usize = 64;
        const FLOWS: usize = 64_000;
        let mut buckets = [0usize; BUCKETS];
        for n in 0..FLOWS {
            let tuple = Tuple {
                source: Address::v4((0x0a00_0000 + (n as u32 >> 8)).to_be()),
                source_port_be: (1024 + (n as u16 & 0xff)).to_be(),
                protocol: UDP,
                ..Tuple::default()
            };
            buckets[maglev_index(flow(&tuple), BUCKETS as u32) as usize] += 1;
        }
        let mean = FLOWS / BUCKETS;
        for count in buckets {
            assert!(count.abs_diff(mean) < mean / 5, "{buckets:?}");
        }
    }
}
