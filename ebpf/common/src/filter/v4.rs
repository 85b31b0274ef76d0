//! The class of an IPv4 address.
//!
//! ```text
//! bit of the /24 ─┬─ not set ─▶ class 0
//!                 └─ Wide of the /16 ─┬─ all of it in one class ─▶ that
//!                                     └─ entries of its /24s that are set, by the set bits before ─┐
//!   ┌──────────────────────────────────────────────────────────────────────────────────────────────┘
//!   ├─ all of the /24 in one class ─▶ that
//!   ├─ a prefix within it, and class 0 around ─▶ either
//!   └─ Node ─▶ one of two classes by a bit for each address, or a table of 256
//! ```
//! A source in no prefix costs one cache line, a /24 or a lone address three: nodes are for what lies
//! closer together. Counting set bits keeps the entries of a million prefixes in 4 MiB (Asai and
//! Ohara, "Poptrie", SIGCOMM 2015).

use super::{CLASSES_MAX, Entries, REFERENCE, Tables, front, half, word};

/// Set in an entry that stands for a prefix within a /24, around which there is class 0.
pub const WITHIN: u32 = 1 << 30;
const LOW_SHIFT: u32 = CLASSES_MAX.trailing_zeros();
const HOST_SHIFT: u32 = LOW_SHIFT + 8;

/// The 256 addresses of an IPv4 /24 that an entry cannot say.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Which of them are not in the class that most are in.
    pub bits: [u64; 4],
    /// The class of most, and the class of all others when there is no table.
    pub classes: [u32; 2],
    /// Record at which the table of their classes begins, eight [`super::Halves`]; 0 when there is
    /// none.
    pub table: u32,
    /// Zero.
    pub padding: [u32; 5],
}

/// What a /16 has, as a word: in the upper half the class of all of it, or [`REFERENCE`] and the
/// record at which its entries begin; in each byte of the lower half how many /24s are set before that
/// quarter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wide(pub u64);

impl Wide {
    /// Makes that of a /16 in one class.
    #[must_use]
    pub const fn of_class(class: u32) -> Self {
        Self((class as u64) << 32)
    }

    /// Makes that of a /16 whose entries begin at a record; `bits` are those of its /24s.
    #[must_use]
    pub const fn of_entries(record: u32, bits: &[u64; 4]) -> Self {
        let second = bits[0].count_ones();
        let third = second + bits[1].count_ones();
        let fourth = third + bits[2].count_ones();
        let before = (second << 8 | third << 16 | fourth << 24) as u64;
        Self(((record | REFERENCE) as u64) << 32 | before)
    }

    /// Returns the class, or the record with [`REFERENCE`].
    #[inline(always)]
    #[must_use]
    pub const fn entry(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Returns how many /24s are set before a quarter.
    #[inline(always)]
    const fn before(self, quarter: u32) -> u32 {
        (self.0 >> (8 * quarter)) as u32 & 0xff
    }
}

/// Makes the entry of a prefix of 25 to 32 bits: its last byte and how many bits it leaves open.
#[must_use]
pub const fn within(class: u32, low: u8, host_bits: u32) -> u32 {
    WITHIN | class | (low as u32) << LOW_SHIFT | host_bits << HOST_SHIFT
}

/// Returns the class of an address.
#[inline(always)]
pub(super) fn class<T: Tables>(tables: &T, ip: u32) -> Option<u32> {
    let set = word(tables, front::V4_BITS, ip >> 14)?;
    let place = ip >> 8 & 63;
    if set >> place & 1 == 0 {
        return Some(0);
    }
    let wide = Wide(word(tables, front::WIDE, ip >> 16)?);
    let first = wide.entry();
    if first & REFERENCE == 0 {
        return Some(first);
    }
    let before = wide.before(ip >> 14 & 3) + (set & ((1 << place) - 1)).count_ones();
    let entries: &Entries = tables.arena((first & !REFERENCE) + (before >> 4))?;
    // SAFETY: the mask keeps the place within the array.
    let entry = unsafe { *entries.entries.as_ptr().add((before & 15) as usize) };
    if entry & REFERENCE == 0 {
        // All bits of a whole /24 are open.
        if entry & WITHIN == 0 {
            return Some(entry);
        }
        let differing = (ip ^ entry >> LOW_SHIFT) & 0xff;
        let is_within = differing >> (entry >> HOST_SHIFT & 7) == 0;
        return Some(if is_within { entry & (CLASSES_MAX as u32 - 1) } else { 0 });
    }
    let node: &Node = tables.arena(entry & !REFERENCE)?;
    let bit = node.bit(ip);
    if bit == 0 || node.table == 0 {
        return Some(node.class(bit));
    }
    Some(half(tables.arena(node.table + (ip >> 5 & 7))?, ip))
}

impl Node {
    /// Returns the bit of an address.
    #[inline(always)]
    fn bit(&self, ip: u32) -> u32 {
        // SAFETY: the mask keeps the place within the array.
        let bits = unsafe { *self.bits.as_ptr().add((ip >> 6 & 3) as usize) };
        (bits >> (ip & 63) & 1) as u32
    }

    /// Returns the class of addresses with this bit.
    #[inline(always)]
    fn class(&self, bit: u32) -> u32 {
        // SAFETY: the mask keeps the place within the array.
        unsafe { *self.classes.as_ptr().add((bit & 1) as usize) }
    }
}

const _: () = assert!(HOST_SHIFT + 3 <= WITHIN.trailing_zeros());
