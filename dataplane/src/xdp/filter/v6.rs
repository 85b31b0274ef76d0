//! The tree of IPv6 addresses: the borders between classes, sorted, with an index above them (pure).
//!
//! A leaf is a record of four borders in order; a record of a level above has, for each of its
//! children but the first, the first border of that child's leaves. The number of borders at or
//! below an address, which the descent finds, is the place of its class.

use ebpf_common::{
    filter::{CHUNK_RECORDS, CHUNKS_V6, DEPTH_MAX, Halves, KEYS, Keys, Tree},
    layout::Record,
};

use super::{
    arena::{Arena, ArenaError, Memory, record},
    classes::Border,
};

/// A key that no border has: nothing begins behind the last address but one.
const NONE: u128 = u128::MAX;

/// Writes the tree of stretches that begin at address 0 into one of the two places for it.
///
/// # Errors
/// There is no memory, or not enough room.
pub fn write(
    stretches: &[Border],
    copy: u32,
    arena: &Arena,
    memory: &mut impl Memory,
) -> Result<Tree, ArenaError> {
    let (mut tree, records) = build(stretches);
    let start = arena.tree_start(copy);
    let length = records.len() as u32;
    if length > CHUNKS_V6 * CHUNK_RECORDS as u32 {
        return Err(ArenaError::Full);
    }
    for chunk in 0..length.div_ceil(CHUNK_RECORDS as u32) {
        memory.provide(start / CHUNK_RECORDS as u32 + chunk).map_err(ArenaError::Memory)?;
    }
    for (at, record) in (start..).zip(&records) {
        memory.write(at, record);
    }
    for level in &mut tree.levels[..tree.depth as usize] {
        *level += start;
    }
    tree.classes += start;
    Ok(tree)
}

/// Builds the tree with records counted from 0.
fn build(stretches: &[Border]) -> (Tree, Vec<Record>) {
    let mut tree = Tree::default();
    let mut records = Vec::new();
    if let [] | [(_, 0)] = stretches {
        return (tree, records);
    }
    let borders: Vec<u128> = stretches[1..].iter().map(|(begin, _)| *begin).collect();
    let mut levels = vec![leaves(&borders)];
    // The first border below each record of the level.
    let mut firsts: Vec<u128> = borders.chunks(KEYS).map(|leaf| leaf[0]).collect();
    while firsts.len() > 1 {
        let groups: Vec<&[u128]> = firsts.chunks(KEYS + 1).collect();
        levels.push(groups.iter().map(|children| keys(&children[1..])).collect());
        firsts = groups.iter().map(|children| children[0]).collect();
    }
    tree.depth = levels.len() as u32;
    assert!(levels.len() <= DEPTH_MAX, "the number of prefixes is bounded");
    for (level, records_of_it) in tree.levels.iter_mut().zip(levels.iter().rev()) {
        *level = records.len() as u32;
        records.extend(records_of_it);
    }
    tree.classes = records.len() as u32;
    // The borders that only fill the last leaf lead to the last class.
    let places = levels[0].len() * KEYS + 1;
    let last = stretches[stretches.len() - 1].1;
    let mut classes = stretches.iter().map(|(_, class)| *class).chain(std::iter::repeat(last));
    for _ in 0..places.div_ceil(32) {
        let mut halves = Halves::default();
        for (half, class) in halves.halves.iter_mut().zip(&mut classes) {
            *half = class as u16;
        }
        records.push(record(&halves));
    }
    (tree, records)
}

fn leaves(borders: &[u128]) -> Vec<Record> {
    if borders.is_empty() {
        return vec![keys(&[])];
    }
    borders.chunks(KEYS).map(keys).collect()
}

fn keys(some: &[u128]) -> Record {
    let mut keys = Keys { keys: [[u64::MAX; 2]; KEYS] };
    for (place, key) in keys.keys.iter_mut().zip(some.iter().chain(std::iter::repeat(&NONE))) {
        *place = [(key >> 64) as u64, *key as u64];
    }
    record(&keys)
}
