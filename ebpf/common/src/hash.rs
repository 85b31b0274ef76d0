//! Hashes of flows and of the lookup table, and the Maglev index.
//!
//! Each is a sum of products, which a processor computes beside each other, with the bits of the sum
//! spread afterwards (multilinear hashing: Lemire and Kaser, "Strongly universal string hashing is
//! fast", The Computer Journal 57, 2014; MurmurHash3's finalizer).
//! A flow's hash has no seed: all nodes choose the same backend for a flow. The lookup table's
//! has one, since its builder must be able to try again.

use crate::layout::{Address, EntryKey, Tuple};

/// Odd constants with well spread bits: the first of the golden ratio (Knuth, TAOCP 6.4), the
/// others of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) and of xxHash64.
const MULTIPLIERS: [u64; 5] = [
    0x9e37_79b9_7f4a_7c15,
    0xbf58_476d_1ce4_e5b9,
    0x94d0_49bb_1331_11eb,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
];

/// Spreads the bits of a sum over all bits.
#[inline(always)]
#[must_use]
pub const fn spread(sum: u64) -> u64 {
    let first = (sum ^ (sum >> 32)).wrapping_mul(MULTIPLIERS[1]);
    let second = (first ^ (first >> 29)).wrapping_mul(MULTIPLIERS[2]);
    second ^ (second >> 32)
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
    let ports = pair(
        tuple.source_port_be as u32 | (tuple.destination_port_be as u32) << 16,
        tuple.protocol as u32,
    );
    let sum = pair(source[0], source[1])
        .wrapping_mul(MULTIPLIERS[0])
        .wrapping_add(pair(source[3], source[2]).wrapping_mul(MULTIPLIERS[1]))
        .wrapping_add(pair(destination[0], destination[1]).wrapping_mul(MULTIPLIERS[2]))
        .wrapping_add(pair(destination[3], destination[2]).wrapping_mul(MULTIPLIERS[3]))
        .wrapping_add(ports.wrapping_mul(MULTIPLIERS[4]));
    spread(sum)
}

/// Hashes a key of the table of connections, whose buckets nobody outside may foretell.
#[inline(always)]
#[must_use]
pub const fn connection(tuple: &Tuple, seed: u64) -> u64 {
    let (source, destination) = (&tuple.source.words, &tuple.destination.words);
    let ports = pair(
        tuple.source_port_be as u32 | (tuple.destination_port_be as u32) << 16,
        tuple.protocol as u32,
    );
    let sum = (pair(source[3], source[2]) ^ seed)
        .wrapping_mul(MULTIPLIERS[1])
        .wrapping_add(pair(source[0], source[1]).wrapping_mul(MULTIPLIERS[0]))
        .wrapping_add(pair(destination[3], destination[2]).wrapping_mul(MULTIPLIERS[3]))
        .wrapping_add(pair(destination[0], destination[1]).wrapping_mul(MULTIPLIERS[2]))
        .wrapping_add((ports ^ seed.rotate_left(32)).wrapping_mul(MULTIPLIERS[4]));
    spread(sum)
}

/// Hashes an address, so that nobody outside may foretell with which others it shares a hash.
#[inline(always)]
#[must_use]
pub const fn address(address: &Address, seed: u64) -> u64 {
    let words = &address.words;
    let sum = (pair(words[3], words[2]) ^ seed).wrapping_mul(MULTIPLIERS[1]).wrapping_add(
        (pair(words[0], words[1]) ^ seed.rotate_left(32)).wrapping_mul(MULTIPLIERS[0]),
    );
    spread(sum)
}

/// Hashes two words; the upper half of the hash is spread well.
#[inline(always)]
#[must_use]
pub const fn words(words: [u64; 2], seed: u64) -> u64 {
    let sum = words[0]
        .wrapping_mul(MULTIPLIERS[0])
        .wrapping_add(words[1].wrapping_mul(MULTIPLIERS[1]))
        .wrapping_add(seed);
    (sum ^ (sum >> 32)).wrapping_mul(MULTIPLIERS[2])
}

/// Hashes a key of the lookup table; the two halves are its two places.
#[inline(always)]
#[must_use]
pub const fn entry(key: &EntryKey, seed: u32) -> u64 {
    let words = &key.address.words;
    let rest = key.port_be as u32 | (key.protocol as u32) << 16 | (key.kind as u32) << 24;
    let sum = (pair(words[0], words[1]) ^ seed as u64)
        .wrapping_mul(MULTIPLIERS[0])
        .wrapping_add(pair(words[3], words[2]).wrapping_mul(MULTIPLIERS[3]))
        .wrapping_add(pair(rest, key.owner).wrapping_mul(MULTIPLIERS[4]));
    spread(sum)
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
    use crate::layout::UDP;

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
