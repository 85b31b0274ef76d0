//! The class of an address.

use super::{DEPTH_MAX, Entries, KEYS, Keys, Node, REFERENCE, Tables, Tree, front, half};
use crate::layout::Address;

/// Returns the class of an address.
#[inline(always)]
pub(super) fn class<T: Tables>(tables: &T, address: &Address, v6: bool) -> Option<u32> {
    if v6 { class_v6(tables, address) } else { class_v4(tables, u32::from_be(address.words[3])) }
}

#[inline(always)]
fn class_v4<T: Tables>(tables: &T, ip: u32) -> Option<u32> {
    let first = entry(tables.front(front::FIRST + (ip >> 20))?, ip >> 16);
    if first & REFERENCE == 0 {
        return Some(first);
    }
    let node: &Node = tables.arena(first & !REFERENCE)?;
    let bit = node.bit(ip >> 8);
    if bit == 0 || node.table == 0 {
        return Some(node.class(bit));
    }
    let second = entry(tables.arena(node.table + (ip >> 12 & 15))?, ip >> 8);
    if second & REFERENCE == 0 {
        return Some(second);
    }
    let node: &Node = tables.arena(second & !REFERENCE)?;
    let bit = node.bit(ip);
    if bit == 0 || node.table == 0 {
        return Some(node.class(bit));
    }
    Some(half(tables.arena(node.table + (ip >> 5 & 7))?, ip))
}

#[inline(always)]
fn class_v6<T: Tables>(tables: &T, address: &Address) -> Option<u32> {
    let word = |index: usize| u64::from(u32::from_be(address.words[index]));
    let (high, low) = (word(0) << 32 | word(1), word(2) << 32 | word(3));
    // The last address counts as the one before it, so that it is below the keys that are none.
    let low = low - u64::from(high & low == u64::MAX);
    let tree: &Tree = tables.front(front::TREE)?;
    if tree.depth == 0 {
        return Some(0);
    }
    let mut at = 0;
    let mut level = 0;
    while level < DEPTH_MAX {
        let keys: &Keys = tables.arena(tree.levels[level] + at)?;
        let mut below = 0;
        let mut key = 0;
        while key < KEYS {
            let [key_high, key_low] = keys.keys[key];
            below += 1 - is_below((high, low), (key_high, key_low)) as u32;
            key += 1;
        }
        level += 1;
        if level as u32 == tree.depth {
            let rank = at * KEYS as u32 + below;
            return Some(half(tables.arena(tree.classes + (rank >> 5))?, rank));
        }
        at = at * (KEYS as u32 + 1) + below;
    }
    None
}

/// Returns 1 when `a` is below `b`, both 128-bit numbers in halves, else 0: the borrow of their
/// difference (Warren, "Hacker's Delight", section 2-13). Without branches, of which the verifier
/// would follow all 2^32 ways through the tree.
#[inline(always)]
const fn is_below(a: (u64, u64), b: (u64, u64)) -> u64 {
    let low = (!a.1 & b.1 | (!a.1 | b.1) & a.1.wrapping_sub(b.1)) >> 63;
    (!a.0 & b.0 | (!a.0 | b.0) & a.0.wrapping_sub(b.0).wrapping_sub(low)) >> 63
}

impl Node {
    /// Returns the bit of a part.
    #[inline(always)]
    fn bit(&self, part: u32) -> u32 {
        // SAFETY: the mask keeps the place within the array.
        let bits = unsafe { *self.bits.as_ptr().add((part >> 6 & 3) as usize) };
        (bits >> (part & 63) & 1) as u32
    }

    /// Returns the class of parts with this bit.
    #[inline(always)]
    fn class(&self, bit: u32) -> u32 {
        // SAFETY: the mask keeps the place within the array.
        unsafe { *self.classes.as_ptr().add((bit & 1) as usize) }
    }
}

#[inline(always)]
fn entry(entries: &Entries, low: u32) -> u32 {
    // SAFETY: the mask keeps the place within the array.
    unsafe { *entries.entries.as_ptr().add((low & 15) as usize) }
}

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
