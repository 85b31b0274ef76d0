//! The lengths by which IPv6 prefixes are found (pure).

use std::collections::BTreeMap;

use ebpf_common::filter::v6::{CUTS_MAX, Cuts};
use model::Prefix;

/// Records that tell of cuts.
pub(super) const RECORDS: u32 = 2;
/// Cuts in each.
const PER_RECORD: usize = CUTS_MAX / RECORDS as usize;

/// Chooses the least length that a prefix has, so that each is found, and those that most have; the
/// longest first.
pub(super) fn chosen<'a>(prefixes: impl Iterator<Item = &'a Prefix>) -> Vec<u8> {
    let mut counts: BTreeMap<u8, usize> = BTreeMap::new();
    for prefix in prefixes {
        *counts.entry(prefix.length()).or_default() += 1;
    }
    let Some((least, _)) = counts.pop_first() else { return Vec::new() };
    let mut others: Vec<(u8, usize)> = counts.into_iter().collect();
    // Among those that as many have the longer ones, which leave less around prefixes.
    others.sort_by_key(|(length, count)| std::cmp::Reverse((*count, *length)));
    let mut chosen: Vec<u8> = others.into_iter().map(|(length, _)| length).collect();
    chosen.truncate(CUTS_MAX - 1);
    chosen.push(least);
    chosen.sort_unstable_by_key(|length| std::cmp::Reverse(*length));
    chosen
}

/// Returns the first bits of an address, as many as a length says.
pub(super) fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// Makes the records of cuts.
pub(super) fn records(lengths: &[u8]) -> [Cuts; RECORDS as usize] {
    let mut records = [Cuts::default(); RECORDS as usize];
    for (cut, length) in lengths.iter().enumerate() {
        records[cut / PER_RECORD].masks[cut % PER_RECORD] = super::words_of(mask(*length));
    }
    records
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;

    #[test]
    fn the_least_length_is_chosen_and_those_that_most_prefixes_have() {
        let check = |lengths: &[(u8, usize)], expected: &[u8]| {
            let prefixes: Vec<Prefix> = lengths
                .iter()
                .flat_map(|(length, count)| std::iter::repeat_n(*length, *count))
                .map(|length| Prefix::new(IpAddr::from(Ipv6Addr::UNSPECIFIED), length).unwrap())
                .collect();
            assert_eq!(chosen(prefixes.iter()), expected, "{lengths:?}");
        };
        check(&[], &[]);
        check(&[(48, 1)], &[48]);
        check(&[(0, 2), (64, 1), (128, 1)], &[128, 64, 0]);
        let nine: Vec<(u8, usize)> = (0..9).map(|n| (19 + n, 9 - usize::from(n))).collect();
        check(&nine, &[26, 25, 24, 23, 22, 21, 20, 19]);
        let nine: Vec<(u8, usize)> = (0..9).map(|n| (19 + n, 1 + usize::from(n))).collect();
        check(&nine, &[27, 26, 25, 24, 23, 22, 21, 19]);
        let nine: Vec<(u8, usize)> = (0..9).map(|n| (120 + n, 1)).collect();
        check(&nine, &[128, 127, 126, 125, 124, 123, 122, 120]);
    }
}
