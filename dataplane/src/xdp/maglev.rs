//! Maglev hashing with weights.
//!
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
//! section 3.4; the weights as in Envoy's `MaglevTable`: in round `n` a backend takes its next
//! place only while it has fewer than `n * weight / weight_max`. A table is a function of the
//! backends and weights alone, whatever their order, so all nodes build the same one.

use std::net::SocketAddr;

/// Table sizes: the greatest primes below the powers of two.
const SIZES: [u32; 9] = [251, 509, 1_021, 2_039, 4_093, 8_191, 16_381, 32_749, 65_521];
/// Entries a backend, at least: keeps the imbalance below one in a hundred (section 5.3).
const ENTRIES_PER_BACKEND: usize = 100;
/// Backends of one table; beyond, the greatest table gives each fewer than four entries.
pub const BACKENDS_MAX: usize = 16_384;

/// A backend and its weight.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Weighted {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share relative to the others; 0 gets nothing new.
    pub weight: u64,
}

/// Returns the size of the table for a number of backends.
#[must_use]
pub fn size_for(backends: usize) -> u32 {
    let wanted = backends * ENTRIES_PER_BACKEND;
    SIZES.into_iter().find(|size| *size as usize >= wanted).unwrap_or(SIZES[SIZES.len() - 1])
}

/// Builds the table: for each entry the index of a backend in `backends`.
///
/// Empty when no backend has a weight. At most [`BACKENDS_MAX`] backends.
#[must_use]
pub fn table(backends: &[Weighted]) -> Vec<u16> {
    assert!(backends.len() <= BACKENDS_MAX, "{} backends in one table", backends.len());
    let size = size_for(backends.len());
    let weight_max = backends.iter().map(|backend| backend.weight).max().unwrap_or(0);
    if weight_max == 0 {
        return Vec::new();
    }
    let mut order: Vec<u16> = (0..backends.len() as u16).collect();
    order.retain(|index| backends[usize::from(*index)].weight > 0);
    order.sort_by_key(|index| backends[usize::from(*index)].address);
    let mut turns: Vec<Turn> = order
        .into_iter()
        .map(|index| Turn::new(index, &backends[usize::from(index)], size))
        .collect();

    let mut entries: Vec<Option<u16>> = vec![None; size as usize];
    let mut filled = 0;
    for round in 1u128.. {
        for turn in &mut turns {
            // The place of the first of several is taken, as a whole share is owed to it.
            if u128::from(turn.taken) * u128::from(weight_max) >= round * u128::from(turn.weight) {
                continue;
            }
            let entry = turn.next_free(&entries, size);
            entries[entry as usize] = Some(turn.index);
            turn.taken += 1;
            filled += 1;
            if filled == size {
                return entries.into_iter().flatten().collect();
            }
        }
    }
    unreachable!("the backend of the greatest weight takes a place in every round")
}

/// A backend's walk through its permutation of the entries.
struct Turn {
    index: u16,
    weight: u64,
    at: u32,
    skip: u32,
    taken: u64,
}

impl Turn {
    fn new(index: u16, backend: &Weighted, size: u32) -> Self {
        let hash = identity_hash(&backend.address);
        let offset = (hash as u32) % size;
        let skip = ((hash >> 32) as u32) % (size - 1) + 1;
        Self { index, weight: backend.weight, at: offset, skip, taken: 0 }
    }

    fn next_free(&mut self, entries: &[Option<u16>], size: u32) -> u32 {
        loop {
            let entry = self.at;
            self.at = (self.at + self.skip) % size;
            if entries[entry as usize].is_none() {
                return entry;
            }
        }
    }
}

/// Hashes a backend's identity (FNV-1a, then the finalizer of SplitMix64): stable across
/// processes, machines and versions, which `std`'s hasher is not.
fn identity_hash(address: &SocketAddr) -> u64 {
    let octets = match address.ip() {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(v6) => v6.octets(),
    };
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in octets.into_iter().chain(address.port().to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backend(n: usize, weight: u64) -> Weighted {
        let address = SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 8080));
        Weighted { address, weight }
    }

    fn share(table: &[u16], index: u16) -> f64 {
        table.iter().filter(|entry| **entry == index).count() as f64 / table.len() as f64
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_backend_gets_its_weight(weights in prop::collection::vec(0..100u64, 1..40)) {
            let backends: Vec<_> =
                weights.iter().enumerate().map(|(n, weight)| backend(n, *weight)).collect();
            let total: u64 = weights.iter().sum();
            let table = table(&backends);
            if total == 0 {
                prop_assert!(table.is_empty());
                return Ok(());
            }
            prop_assert_eq!(table.len(), size_for(backends.len()) as usize);
            for (n, weight) in weights.iter().enumerate() {
                let wanted = *weight as f64 / total as f64;
                prop_assert!((share(&table, n as u16) - wanted).abs() < 0.01, "{n}: {weights:?}");
            }
        }

        #[test]
        fn removing_a_backend_moves_little_else(count in 3..30usize, gone in 0..30usize) {
            let gone = gone % count;
            let all: Vec<_> = (0..count).map(|n| backend(n, 1)).collect();
            let mut rest = all.clone();
            rest[gone].weight = 0;
            let (before, after) = (table(&all), table(&rest));
            let moved = before
                .iter()
                .zip(&after)
                .filter(|(old, new)| usize::from(**old) != gone && old != new)
                .count();
            // Section 5.4 of the paper: a few percent at a hundred entries a backend.
            prop_assert!(moved * 100 <= before.len() * 12, "{moved} of {}", before.len());
            prop_assert!(after.iter().all(|entry| usize::from(*entry) != gone));
        }

        #[test]
        fn a_step_of_a_slow_start_moves_little_between_the_others(
            count in 2..60usize,
            window in prop::sample::select(vec![10u32, 30]),
        ) {
            use crate::xdp::slow_start::share;
            let slow = model::service::SlowStart {
                window: std::time::Duration::from_secs(window.into()),
                aggression_percent: 100,
                min_weight_percent: 10,
            };
            let at = |step: u32| {
                let age = std::time::Duration::from_secs((step * window / 10).into());
                let weight = |n| if n == 0 { u64::from(share(&slow, age)) } else { 1_000 };
                table(&(0..=count).map(|n| backend(n, weight(n))).collect::<Vec<_>>())
            };
            for step in 0..10 {
                let (before, after) = (at(step), at(step + 1));
                let others = before.iter().zip(&after).filter(|(old, new)| **new != 0 && old != new);
                let moved = others.count();
                // The new one itself gets a tenth of its share more.
                prop_assert!(moved * 100 <= before.len() * 3, "{moved} of {}", before.len());
                let lost = before.iter().zip(&after).filter(|(old, new)| **old == 0 && **new != 0);
                prop_assert!(lost.count() * 100 <= before.len(), "what it has it keeps");
            }
        }

        #[test]
        fn the_order_of_the_backends_does_not_matter(count in 2..20usize, turn in 1..19usize) {
            let all: Vec<_> = (0..count).map(|n| backend(n, 1 + n as u64 % 3)).collect();
            let mut turned = all.clone();
            turned.rotate_left(turn % count);
            let by_address = |table: Vec<u16>, list: &[Weighted]| -> Vec<SocketAddr> {
                table.into_iter().map(|entry| list[usize::from(entry)].address).collect()
            };
            prop_assert_eq!(by_address(table(&all), &all), by_address(table(&turned), &turned));
        }
    }
}
