//! The class of an IPv6 address.
//!
//! Prefixes are found by their first bits, as many as one of a few lengths (*cuts*) says: each by
//! the greatest cut that is not greater than its own length. Addresses that have those bits in common
//! are a *block*.
//!
//! ```text
//! bits of the blocks that an address would be in ─┬─ none set ─▶ class 0
//!                                                 └─ buckets, the longest cut first ─┐
//!   ┌──────────────────────────────────────────────────────────────────────────────┘
//!   ├─ no block ─▶ class 0
//!   ├─ all of the block in one class, but for what longer cuts find ─▶ that
//!   └─ a tree of the borders between classes in the block ─▶ a leaf's class
//! ```
//! The bits are a Bloom filter whose bits for a block lie in one word (Putze, Sanders and Singler,
//! "Cache-, hash- and space-efficient Bloom filters", WEA 2007), the buckets a cuckoo table with
//! three blocks each (Dietzfelbinger and Weidling, "Balanced allocation and dictionaries with tightly
//! packed constant size bins", Theoretical Computer Science 380, 2007).

use super::{REFERENCE, Tables, front, word};
use crate::{hash, layout::Address};

/// Lengths that prefixes are looked for by.
pub const CUTS_MAX: usize = 8;
/// Lengths in a record.
const CUTS: usize = 4;
/// Words of bits for blocks: for each of 131,072 blocks there is half a word, so of addresses in
/// none of them about two in a thousand are looked for in the buckets all the same, for each cut.
pub const BITS_WORDS: u32 = 1 << 16;
/// Blocks in a bucket.
pub const BUCKET: usize = 3;
/// Borders in a record above a tree's leaves.
pub const KEYS: usize = 4;
/// Borders in a leaf of a tree.
pub const LEAF_KEYS: usize = 3;
/// Levels above the leaves: 5^8 leaves are more than a tree of 262,144 borders has.
pub const DEPTH_MAX: u32 = 8;
const RECORD_BITS: u32 = 24;

/// What addresses are looked up by. It stands in the front, and in the arena with the cuts behind it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Seed of [`cut_hash`].
    pub seed: u64,
    /// Cuts in use; 0 when all addresses are in class 0.
    pub cuts: u32,
    /// Words of bits that are used, less one.
    pub words_mask: u32,
    /// Where this stands in the arena.
    pub at: u32,
    /// Record at which the buckets begin.
    pub buckets: u32,
    /// Buckets less one.
    pub buckets_mask: u32,
    /// Zero.
    pub padding: [u32; 9],
}

/// Lengths, the longest first, as masks of an address as it lies in a packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// High and low half.
    pub masks: [[u64; 2]; CUTS],
}

/// Blocks.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The bits that their addresses have in common, as they lie in a packet.
    pub blocks: [[u64; 2]; BUCKET],
    /// Class of each, or [`tree`].
    pub values: [u32; BUCKET],
    /// The cut that each is of, plus one; 0 where there is none.
    pub cuts: [u8; 4],
}

/// Above leaves: where each child but the first begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The last address before it, as high and low half; all ones where there is no such child.
    pub keys: [[u64; 2]; KEYS],
}

/// A leaf of a tree.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The last addresses before borders, as high and low half; all ones where there is no border.
    pub keys: [[u64; 2]; LEAF_KEYS],
    /// The classes before, between and behind them.
    pub classes: [u16; LEAF_KEYS + 1],
    /// Zero.
    pub padding: [u32; 2],
}

/// Makes the value of a block with a tree. A record of level `l` is `(5^l - 1) / 4` behind the root,
/// plus its place in the level; that of its first child is five times as great.
#[must_use]
pub const fn tree(root: u32, depth: u32) -> u32 {
    assert!(root < 1 << RECORD_BITS && depth <= DEPTH_MAX);
    REFERENCE | depth << RECORD_BITS | root
}

/// Hashes the first bits of an address for a cut: the upper bits choose word and bits.
#[inline(always)]
#[must_use]
pub const fn cut_hash(block: [u64; 2], cut: u32, seed: u64) -> u64 {
    hash::words(block, seed.wrapping_add(cut as u64))
}

/// Returns the word of a block's bits, before [`Table::words_mask`] is applied to it.
#[inline(always)]
#[must_use]
pub const fn bits_word(hash: u64) -> u32 {
    (hash >> (u64::BITS - BITS_WORDS.trailing_zeros())) as u32
}

/// Returns a block's bits in its word.
#[inline(always)]
#[must_use]
pub const fn bits(hash: u64) -> u64 {
    1 << (hash >> 42 & 63) | 1 << (hash >> 36 & 63) | 1 << (hash >> 30 & 63)
}

/// Returns the two buckets that a block may be in.
#[inline(always)]
#[must_use]
pub const fn buckets(hash: u64, mask: u32) -> [u32; 2] {
    let spread = hash::spread(hash);
    [spread as u32 & mask, (spread >> 32) as u32 & mask]
}

/// Returns an address as two words of a packet.
#[inline(always)]
#[must_use]
pub const fn words(address: &Address) -> [u64; 2] {
    let [a, b, c, d] = address.words;
    [a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32]
}

/// Returns the class of an address.
#[inline(always)]
pub(super) fn class<T: Tables>(tables: &T, address: &Address) -> Option<u32> {
    let address = words(address);
    let table: &Table = tables.front(front::V6)?;
    let mut cut = 0;
    while cut < CUTS_MAX as u32 {
        if cut == table.cuts {
            return Some(0);
        }
        let cuts: &Cuts = tables.front(front::CUTS + cut / CUTS as u32)?;
        let hash = cut_hash(cuts.of(cut, address), cut, table.seed);
        let number = bits_word(hash) & table.words_mask & (BITS_WORDS - 1);
        let bits = bits(hash);
        if word(tables, front::V6_BITS, number)? & bits == bits {
            return tables.find_v6(table.at, address, cut);
        }
        cut += 1;
    }
    Some(0)
}

/// Returns the class of an address that no block of the cuts before `from` has; `at` is
/// [`Table::at`].
#[inline(always)]
pub fn find<T: Tables>(tables: &T, at: u32, address: [u64; 2], from: u32) -> Option<u32> {
    let table: &Table = tables.arena(at)?;
    let mut cut = from;
    let mut found = 0;
    while cut < CUTS_MAX as u32 && cut < table.cuts && found == 0 {
        let cuts: &Cuts = tables.arena(at + 1 + cut / CUTS as u32)?;
        let block = cuts.of(cut, address);
        let [first, second] = buckets(cut_hash(block, cut, table.seed), table.buckets_mask);
        let first: &Bucket = tables.arena(table.buckets + first)?;
        let second: &Bucket = tables.arena(table.buckets + second)?;
        found = first.find(block, cut) | second.find(block, cut);
        cut += 1;
    }
    let value = found as u32;
    if value & REFERENCE == 0 { Some(value) } else { search(tables, value, address) }
}

/// Finds the class of an address of a block with a tree.
#[inline(always)]
fn search<T: Tables>(tables: &T, value: u32, address: [u64; 2]) -> Option<u32> {
    let address = [u64::from_be(address[0]), u64::from_be(address[1])];
    let root = value & ((1 << RECORD_BITS) - 1);
    let depth = (value & !REFERENCE) >> RECORD_BITS;
    let (mut level, mut start, mut at) = (0, 0, 0);
    while level < DEPTH_MAX && level < depth {
        let keys: &Keys = tables.arena(root + start + at)?;
        at = at * (KEYS as u32 + 1) + below(&keys.keys, address);
        start = start * (KEYS as u32 + 1) + 1;
        level += 1;
    }
    let leaf: &Leaf = tables.arena(root + start + at)?;
    let place = below(&leaf.keys, address) as usize & LEAF_KEYS;
    // SAFETY: the mask keeps the place within the array.
    Some(u32::from(unsafe { *leaf.classes.as_ptr().add(place) }))
}

/// Counts the keys that are below an address.
#[inline(always)]
fn below<const N: usize>(keys: &[[u64; 2]; N], [high, low]: [u64; 2]) -> u32 {
    let mut count = 0;
    let mut key = 0;
    while key < N {
        let [key_high, key_low] = keys[key];
        count += is_below((key_high, key_low), (high, low)) as u32;
        key += 1;
    }
    count
}

/// Returns 1 when `a` is below `b`, both 128-bit numbers in halves, else 0: the borrow of their
/// difference (Warren, "Hacker's Delight", section 2-13). Without branches, of which the verifier
/// would follow all 2^32 ways through the tree.
#[inline(always)]
const fn is_below(a: (u64, u64), b: (u64, u64)) -> u64 {
    let low = (!a.1 & b.1 | (!a.1 | b.1) & a.1.wrapping_sub(b.1)) >> 63;
    (!a.0 & b.0 | (!a.0 | b.0) & a.0.wrapping_sub(b.0).wrapping_sub(low)) >> 63
}

impl Cuts {
    /// Returns the first bits of an address.
    #[inline(always)]
    fn of(&self, cut: u32, address: [u64; 2]) -> [u64; 2] {
        // SAFETY: the mask keeps the place within the array.
        let [high, low] = unsafe { *self.masks.as_ptr().add(cut as usize & (CUTS - 1)) };
        [address[0] & high, address[1] & low]
    }
}

impl Bucket {
    /// Returns the value of a block with a bit above it set; 0 when it is not there.
    #[inline(always)]
    fn find(&self, block: [u64; 2], cut: u32) -> u64 {
        let mut found = 0;
        let mut place = 0;
        while place < BUCKET {
            let [high, low] = self.blocks[place];
            let of_cut = u64::from(self.cuts[place]) ^ u64::from(cut + 1);
            let differing = (high ^ block[0]) | (low ^ block[1]) | of_cut;
            // All ones where nothing differs, without a branch as in `is_below`.
            let same = ((differing | differing.wrapping_neg()) >> 63).wrapping_sub(1);
            found |= same & (u64::from(self.values[place]) | 1 << 32);
            place += 1;
        }
        found
    }
}

const _: () = assert!(CUTS_MAX.is_multiple_of(CUTS) && LEAF_KEYS + 1 == 4);
const _: () =
    assert!(super::BANKS * super::BANK_CHUNKS * super::CHUNK_RECORDS as u32 <= 1 << RECORD_BITS);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::is_below;

    fn number() -> impl Strategy<Value = u128> {
        let half =
            || prop_oneof![Just(0), Just(1), Just(u64::MAX - 1), Just(u64::MAX), any::<u64>()];
        (half(), half()).prop_map(|(high, low)| u128::from(high) << 64 | u128::from(low))
    }

    proptest! {
        #[test]
        fn a_borrow_tells_which_is_below(a in number(), b in number()) {
            let halves = |number: u128| ((number >> 64) as u64, number as u64);
            prop_assert_eq!(is_below(halves(a), halves(b)), u64::from(a < b));
            prop_assert_eq!(is_below(halves(a), halves(a)), 0);
        }
    }
}
