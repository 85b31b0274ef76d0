//! The table of IPv6 addresses: blocks by a few lengths of prefixes, their bits and their buckets
//! (pure). What a lookup does with it, and what the words mean, is told in
//! [`ebpf_common::filter::v6`].
//!
//! It is made anew as a whole beside the one in force.

mod cuckoo;
mod cuts;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use ebpf_common::{
    filter::{
        CHUNK_RECORDS, CHUNKS_V6,
        v6::{BITS_WORDS, Cuts, Table, bits, bits_word, cut_hash},
    },
    layout::Record,
};
use model::Prefix;

use super::{
    arena::{Arena, ArenaError, Memory, record},
    classes::{Border, ClassNumbers, TooManyClasses, ends, stretches},
    tables::TablesError,
};

/// Words of bits that are used at least: a cache line.
const WORDS_MIN: usize = 8;

/// What the front has; the rest is in the arena.
#[derive(Clone, Debug, Default)]
pub struct TableV6 {
    /// What addresses are looked up by.
    pub table: Table,
    /// The cuts in use.
    pub cuts: [Cuts; 2],
    /// The bits of blocks, a power of two of words.
    pub bits: Vec<u64>,
}

/// Addresses that have the first bits of a cut in common.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Which cut.
    cut: u32,
    /// Those bits, as words of a packet.
    words: [u64; 2],
    /// The class of all of them, or a tree.
    value: u32,
}

/// Makes the table of some sets, by their numbers, in one of the two places for it.
///
/// # Errors
/// There are too many classes, or there is no memory or not enough room.
pub fn write(
    sets: &BTreeMap<u32, &[Prefix]>,
    copy: u32,
    numbers: &mut ClassNumbers,
    arena: &Arena,
    memory: &mut impl Memory,
) -> Result<TableV6, TablesError> {
    let lengths = cuts::chosen(sets.values().flat_map(|prefixes| prefixes.iter()));
    if lengths.is_empty() {
        return Ok(TableV6::default());
    }
    let at = arena.start_v6(copy);
    let mut trees: Vec<Record> = Vec::new();
    let mut blocks: Vec<Block> = Vec::new();
    // The buckets come first, and there are as many as words of bits.
    let prefixes: usize = sets.values().map(|prefixes| prefixes.len()).sum();
    let words = (prefixes / 2).next_power_of_two().clamp(WORDS_MIN, BITS_WORDS as usize);
    let buckets = at + 1 + cuts::RECORDS;
    let trees_at = buckets + words as u32;
    for (cut, length) in lengths.iter().enumerate() {
        // Those that this cut finds, with those around them: longer ones are found before.
        let longest = if cut == 0 { 128 } else { lengths[cut - 1] - 1 };
        let found = of_cut(sets, *length, longest, numbers)?;
        blocks.extend(found.into_iter().map(|(first, stretches)| Block {
            cut: cut as u32,
            words: words_of(first),
            value: match &*stretches {
                [(_, class)] => *class,
                stretches => tree::build(stretches, trees_at, &mut trees),
            },
        }));
    }
    let (seed, filled) = cuckoo::lay_out(&blocks, words);
    let table = Table {
        seed,
        cuts: lengths.len() as u32,
        words_mask: words as u32 - 1,
        at,
        buckets,
        buckets_mask: words as u32 - 1,
        ..Table::default()
    };
    let cuts = cuts::records(&lengths);
    let head = [record(&table)].into_iter().chain(cuts.iter().map(record));
    let records: Vec<Record> = head.chain(filled.iter().map(record)).chain(trees).collect();
    if records.len() > CHUNKS_V6 as usize * CHUNK_RECORDS {
        return Err(ArenaError::Full.into());
    }
    for chunk in 0..records.len().div_ceil(CHUNK_RECORDS) as u32 {
        let chunk = at / CHUNK_RECORDS as u32 + chunk;
        memory.provide(chunk).map_err(ArenaError::Memory)?;
    }
    for (index, record) in (at..).zip(&records) {
        memory.write(index, record);
    }
    let mut bits = vec![0; words];
    for block in &blocks {
        let hash = cut_hash(block.words, block.cut, seed);
        bits[(bits_word(hash) & table.words_mask) as usize] |= self::bits(hash);
    }
    Ok(TableV6 { table, cuts, bits })
}

/// Returns the blocks of a cut in which there are prefixes from its length to another, and the
/// stretches that those and shorter ones divide each into.
fn of_cut(
    sets: &BTreeMap<u32, &[Prefix]>,
    length: u8,
    longest: u8,
    numbers: &mut ClassNumbers,
) -> Result<Vec<(u128, Vec<Border>)>, TooManyClasses> {
    let some: BTreeMap<u32, Vec<Prefix>> = sets
        .iter()
        .map(|(set, prefixes)| {
            let some = prefixes.iter().filter(|prefix| prefix.length() <= longest);
            (*set, some.copied().collect())
        })
        .collect();
    let mask = cuts::mask(length);
    let firsts: BTreeSet<u128> = some
        .values()
        .flatten()
        .filter(|prefix| prefix.length() >= length)
        .map(|prefix| ends(prefix).0 & mask)
        .collect();
    let some = some.iter().map(|(set, prefixes)| (*set, prefixes.as_slice())).collect();
    let all = stretches(&some, (0, u128::MAX), numbers)?;
    let mut rest = all.as_slice();
    let blocks = firsts.into_iter().map(|first| {
        // The stretch that the first address is in, and those that begin within the block.
        let passed = rest.partition_point(|(begin, _)| *begin <= first);
        rest = &rest[passed - 1..];
        let inside = 1 + rest[1..].partition_point(|(begin, _)| *begin <= first | !mask);
        (first, rest[..inside].to_vec())
    });
    Ok(blocks.collect())
}

/// Returns an address as two words of a packet.
fn words_of(address: u128) -> [u64; 2] {
    [((address >> 64) as u64).to_be(), (address as u64).to_be()]
}
