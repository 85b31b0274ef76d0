//! The tree of the borders between classes in a block (pure).
//!
//! A leaf has up to three borders in order, and the classes around them; a record above has, for each
//! of its children but the first, the first border of that child's leaves. A level begins where it
//! would begin if all levels above it were full.

use ebpf_common::{
    filter::v6::{KEYS, Keys, LEAF_KEYS, Leaf, tree},
    layout::Record,
};

use crate::xdp::filter::{arena::record, classes::Border};

/// A key that no border has: it is the last address before one.
const NONE: u128 = u128::MAX;

/// Appends the tree of stretches, at least two, to records that lie from `start` on; returns the value
/// of their block.
pub(super) fn build(stretches: &[Border], start: u32, records: &mut Vec<Record>) -> u32 {
    let keys: Vec<u128> = stretches[1..].iter().map(|(begin, _)| begin - 1).collect();
    let classes: Vec<u16> = stretches.iter().map(|(_, class)| *class as u16).collect();
    let leaves: Vec<Record> = keys
        .chunks(LEAF_KEYS)
        .zip(classes.chunks(LEAF_KEYS))
        .enumerate()
        .map(|(place, (keys, own))| {
            // That behind the last border is the next leaf's first.
            let behind = classes[(place * LEAF_KEYS + keys.len())..].first();
            leaf(keys, own, *behind.expect("a stretch more than borders"))
        })
        .collect();
    let mut levels = vec![leaves];
    let mut firsts: Vec<u128> = keys.chunks(LEAF_KEYS).map(|leaf| leaf[0]).collect();
    while firsts.len() > 1 {
        let groups: Vec<&[u128]> = firsts.chunks(KEYS + 1).collect();
        levels.push(groups.iter().map(|children| above(&children[1..])).collect());
        firsts = groups.iter().map(|children| children[0]).collect();
    }
    let root = records.len();
    let mut level_start = 0;
    for level in levels.iter().rev() {
        records.resize(root + level_start, Record::EMPTY);
        records.extend(level);
        level_start = level_start * (KEYS + 1) + 1;
    }
    tree(start + root as u32, levels.len() as u32 - 1)
}

fn leaf(keys: &[u128], classes: &[u16], behind: u16) -> Record {
    let mut leaf =
        Leaf { keys: [halves(NONE); LEAF_KEYS], classes: [behind; LEAF_KEYS + 1], padding: [0; 2] };
    for (place, key) in keys.iter().enumerate() {
        leaf.keys[place] = halves(*key);
        leaf.classes[place] = classes[place];
    }
    record(&leaf)
}

fn above(firsts: &[u128]) -> Record {
    let mut keys = Keys { keys: [halves(NONE); KEYS] };
    for (place, key) in keys.keys.iter_mut().zip(firsts) {
        *place = halves(*key);
    }
    record(&keys)
}

fn halves(address: u128) -> [u64; 2] {
    [(address >> 64) as u64, address as u64]
}
