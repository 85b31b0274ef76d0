//! The table of IPv6 addresses at its full size.

use ebpf_common::filter::{
    REFERENCE,
    v6::{Bucket, DEPTH_MAX, Table, find, words},
};
use model::limits::MAX_PREFIXES_V6;

use super::*;

/// Lists of prefixes, given the first and how many there are in each, by a number among all.
fn lists(of: &[(usize, usize)], prefix: impl Fn(usize) -> (u128, u32)) -> Vec<Value> {
    of.iter()
        .enumerate()
        .map(|(list, (first, count))| {
            let text = |n| {
                let (network, length) = prefix(n);
                format!("{}/{length}", Ipv6Addr::from_bits(network))
            };
            let prefixes: Vec<String> = (*first..first + count).map(text).collect();
            json!({ "kind": "PrefixList", "metadata": { "name": format!("l{list}") },
                "spec": { "prefixes": prefixes } })
        })
        .collect()
}

/// Makes the tables of lists that are denied in a bank, and shows them.
fn with_tables<T>(bank: u32, lists: &[Value], show: impl FnOnce(&View<'_>, &Snapshot) -> T) -> T {
    let names: Vec<String> = (0..lists.len()).map(|list| format!("l{list}")).collect();
    let deny = deny(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let config = config(&[lists.to_vec(), vec![deny]].concat());
    let mut chunks = Chunks::default();
    let mut tables = Tables::new(bank, Pace::default());
    tables.update(&config, &mut chunks).unwrap();
    let front = tables.front(&CounterNumbers::default(), 1);
    show(&View { front: &front, chunks: &chunks }, &config)
}

fn from(sources: impl Iterator<Item = u128>) -> Vec<FilteredPacket> {
    let packet = |source| FilteredPacket {
        source: Ipv6Addr::from_bits(source).into(),
        destination: Ipv6Addr::LOCALHOST.into(),
        transport: None,
    };
    sources.map(packet).collect()
}

const HALF: usize = MAX_PREFIXES_V6 / 2;
const NET: u128 = 0x2a << 120;

#[test]
fn as_many_prefixes_as_there_may_be_are_all_found_and_their_neighbours_are_not() {
    // Every other /64.
    let prefix = |n: usize| (NET | (n as u128) << 65, 64);
    let all = lists(&[(0, HALF), (HALF, HALF)], prefix);
    let sources = (0..2 * MAX_PREFIXES_V6 as u128)
        .step_by(7)
        .flat_map(|n| [NET | n << 64, NET | n << 64 | u128::from(u64::MAX)]);
    with_tables(1, &all, |view, config| check(view, config, &from(sources)));
}

/// Prefixes of 104 lengths, as many of each, apart from each other in a /8 that is denied too: all but
/// the seven longest lengths are found by that alone.
fn in_one_block(n: usize) -> (u128, u32) {
    match n {
        0 => (NET, 8),
        n => (NET | (n as u128) << 103, 25 + (n % 104) as u32),
    }
}

#[test]
fn a_tree_of_the_greatest_size_is_searched_to_its_leaves() {
    let most = (MAX_PREFIXES_V6 - 1) / 104 * 104;
    // The /8 has a list of its own: of one with the others, it would be all that is left.
    let all = lists(&[(0, 1), (1, HALF), (1 + HALF, most - HALF)], in_one_block);
    let depth = with_tables(0, &all, |view, _| {
        let table: &Table = view.front(front::V6).unwrap();
        let buckets = (0..=table.buckets_mask).map(|at| view.arena(table.buckets + at).unwrap());
        let values = buckets.flat_map(|bucket: &Bucket| bucket.values);
        values.filter(|value| value & REFERENCE != 0).map(|value| value >> 24 & 15).max()
    });
    assert_eq!(depth, Some(DEPTH_MAX), "levels above the leaves");
    let sources = (1..most).step_by(5).flat_map(|n| {
        let (network, length) = in_one_block(n);
        let last = last_of(network, length);
        [network, last, last + 1, network - 1]
    });
    with_tables(0, &all, |view, config| check(view, config, &from(sources.chain([NET - 1]))));
}

/// Two prefixes in each /40, of 79 lengths, so that most are found by the /40: two leaves and what is
/// above them for each, which is as much as two prefixes can take.
fn two_in_a_block(n: usize) -> (u128, u32) {
    match n {
        0 => (NET, 40),
        n => {
            let (block, half) = (1 + n as u128 / 2, n as u128 % 2);
            (NET | block << 88 | (2 * half + 1) << 86, 43 + (n / 2 % 79) as u32)
        }
    }
}

#[test]
fn blocks_that_take_the_most_room_are_all_found() {
    let all = lists(&[(0, HALF), (HALF, HALF)], two_in_a_block);
    let sources = (1..MAX_PREFIXES_V6).step_by(9).flat_map(|n| {
        let (network, length) = two_in_a_block(n);
        let last = last_of(network, length);
        [network, last, last + 1, network - 1]
    });
    with_tables(1, &all, |view, config| {
        assert!(view.chunks.0.len() > 3, "{} chunks", view.chunks.0.len());
        check(view, config, &from(sources));
    });
}

#[test]
fn an_address_is_found_by_the_function_that_the_kernel_calls_from_any_cut() {
    let all = lists(&[(0, 1_000)], |n| (NET | (n as u128) << 65, 64));
    with_tables(0, &all, |view, _| {
        let table: &Table = view.front(front::V6).unwrap();
        let source = words(&IpAddr::from(Ipv6Addr::from_bits(NET)).into());
        assert_eq!(find(view, table.at, source, 0), Some(1));
        assert_eq!(find(view, table.at, source, 1), Some(0), "there is one cut");
        assert_eq!(find(view, table.at, source, u32::MAX), Some(0));
    });
}

fn last_of(network: u128, length: u32) -> u128 {
    network | u128::MAX.checked_shr(length).unwrap_or(0)
}
