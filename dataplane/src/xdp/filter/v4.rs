//! The table of IPv4 addresses: a /16 at a time is made anew (pure).

use std::ops::Range;

use ebpf_common::filter::{
    Entries, Halves, REFERENCE,
    v4::{Node, WITHIN, Wide, within},
};

use super::{
    arena::{Arena, ArenaError, Memory, layout, record},
    classes::Border,
};

/// IPv4 /16s.
pub const WIDES: usize = 65_536;
/// Words of the bits of a /16's /24s.
const WORDS: usize = 4;
/// Entries in a record.
const ENTRIES: usize = 16;
/// Records of the classes of 256 addresses.
const DENSE: u32 = 8;

/// What the front has; the rest is in the arena.
#[derive(Clone, Debug)]
pub struct TableV4 {
    wide: Vec<Wide>,
    /// The bits of all /24s that are not wholly in class 0, [`WORDS`] a /16.
    bits: Vec<u64>,
}

impl Default for TableV4 {
    fn default() -> Self {
        Self { wide: vec![Wide::of_class(0); WIDES], bits: vec![0; WIDES * WORDS] }
    }
}

impl TableV4 {
    /// Returns what each /16 has.
    #[must_use]
    pub fn wide(&self) -> &[Wide] {
        &self.wide
    }

    /// Returns the bits of all /24s that are not wholly in class 0.
    #[must_use]
    pub fn bits(&self) -> &[u64] {
        &self.bits
    }

    /// Makes the addresses that begin with `high` anew, given the stretches that they consist of.
    ///
    /// # Errors
    /// The arena has no more records.
    pub fn paint(
        &mut self,
        high: u16,
        stretches: &[Border],
        arena: &mut Arena,
        memory: &mut impl Memory,
    ) -> Result<(), ArenaError> {
        let (wide, bits) = match stretches {
            [(_, class)] => {
                (Wide::of_class(*class), [if *class == 0 { 0 } else { u64::MAX }; WORDS])
            }
            stretches => {
                let (set, bits) = entries(high, stretches, arena, memory)?;
                let at = write_entries(&set, arena, memory)?;
                (Wide::of_entries(at, &bits), bits)
            }
        };
        let own = &mut self.bits[usize::from(high) * WORDS..][..WORDS];
        let count: u32 = own.iter().map(|word| word.count_ones()).sum();
        own.copy_from_slice(&bits);
        let old = std::mem::replace(&mut self.wide[usize::from(high)], wide);
        leave(old, count as usize, arena, memory);
        Ok(())
    }
}

/// Makes the entries of the /24s of a /16 that are not wholly in class 0, and the bits of those.
fn entries(
    high: u16,
    stretches: &[Border],
    arena: &mut Arena,
    memory: &mut impl Memory,
) -> Result<(Vec<u32>, [u64; WORDS]), ArenaError> {
    let (mut set, mut bits) = (Vec::new(), [0; WORDS]);
    let mut rest = stretches;
    for middle in 0..256usize {
        let start = u128::from(high) << 16 | (middle as u128) << 8;
        // The stretch that the first address is in, and those that begin within the /24.
        let passed = rest.partition_point(|(begin, _)| *begin <= start);
        rest = &rest[passed - 1..];
        let inside = 1 + rest[1..].partition_point(|(begin, _)| *begin <= start + 255);
        let entry = match &rest[..inside] {
            [(_, class)] => *class,
            stretches => narrow(start, stretches, arena, memory)?,
        };
        if entry != 0 {
            set.push(entry);
            bits[middle / 64] |= 1 << (middle % 64);
        }
    }
    Ok((set, bits))
}

/// Returns how many records entries take.
fn records_of(entries: usize) -> u32 {
    entries.div_ceil(ENTRIES).next_power_of_two() as u32
}

fn write_entries(
    set: &[u32],
    arena: &mut Arena,
    memory: &mut impl Memory,
) -> Result<u32, ArenaError> {
    let index = arena.take(records_of(set.len()), memory)?;
    for (at, part) in (index..).zip(set.chunks(ENTRIES)) {
        let mut entries = Entries::default();
        entries.entries[..part.len()].copy_from_slice(part);
        memory.write(at, &record(&entries));
    }
    Ok(index)
}

/// Makes the entry of a /24 of more than one class.
fn narrow(
    start: u128,
    stretches: &[Border],
    arena: &mut Arena,
    memory: &mut impl Memory,
) -> Result<u32, ArenaError> {
    let parts = stretches.iter().enumerate().map(|(place, (begin, class))| {
        let next = stretches.get(place + 1).map_or(256, |(next, _)| next - start);
        (begin.saturating_sub(start) as usize..next as usize, *class)
    });
    if let Some(entry) = one_prefix(parts.clone()) {
        return Ok(entry);
    }
    let node = match of_two_classes(parts.clone()) {
        Some(node) => node,
        None => of_many_classes(parts, arena, memory)?,
    };
    let index = arena.take(1, memory)?;
    memory.write(index, &record(&node));
    Ok(index | REFERENCE)
}

/// Returns the entry of a /24 with class 0 around one prefix, as nearly all are.
fn one_prefix(parts: impl Iterator<Item = (Range<usize>, u32)>) -> Option<u32> {
    let mut others = parts.filter(|(_, class)| *class != 0);
    let (addresses, class) = others.next()?;
    let (first, count) = (addresses.start, addresses.len());
    let is_prefix = count.is_power_of_two() && first.is_multiple_of(count);
    (is_prefix && others.next().is_none())
        .then(|| within(class, first as u8, count.trailing_zeros()))
}

/// Returns the node of a /24 that consists of two classes.
fn of_two_classes(parts: impl Iterator<Item = (Range<usize>, u32)> + Clone) -> Option<Node> {
    let (_, one) = parts.clone().next()?;
    let (_, other) = parts.clone().find(|(_, class)| *class != one)?;
    let mut ones = 0;
    for (addresses, class) in parts.clone() {
        match class {
            class if class == one => ones += addresses.len(),
            class if class == other => {}
            _ => return None,
        }
    }
    let (most, rest) = if ones >= 128 { (one, other) } else { (other, one) };
    let mut node = Node { classes: [most, rest], ..Node::default() };
    for address in parts.filter(|(_, class)| *class == rest).flat_map(|(addresses, _)| addresses) {
        node.bits[address / 64] |= 1 << (address % 64);
    }
    Some(node)
}

/// Makes the node of a /24 of more than two classes, and writes their table.
fn of_many_classes(
    parts: impl Iterator<Item = (Range<usize>, u32)>,
    arena: &mut Arena,
    memory: &mut impl Memory,
) -> Result<Node, ArenaError> {
    let mut classes = [0u32; 256];
    parts.for_each(|(addresses, class)| classes[addresses].fill(class));
    let mut sorted = classes;
    sorted.sort_unstable();
    let most = sorted.chunk_by(|a, b| a == b).max_by_key(|run| run.len()).map_or(0, |run| run[0]);
    let table = arena.take(DENSE, memory)?;
    let mut node = Node { classes: [most, 0], table, ..Node::default() };
    for (address, _) in classes.iter().enumerate().filter(|(_, class)| **class != most) {
        node.bits[address / 64] |= 1 << (address % 64);
    }
    for (at, part) in (table..).zip(classes.chunks(32)) {
        let mut halves = Halves::default();
        for (half, class) in halves.halves.iter_mut().zip(part) {
            *half = *class as u16;
        }
        memory.write(at, &record(&halves));
    }
    Ok(node)
}

/// Gives back what a /16 with so many entries refers to.
fn leave(wide: Wide, count: usize, arena: &mut Arena, memory: &impl Memory) {
    let entry = wide.entry();
    if entry & REFERENCE == 0 {
        return;
    }
    let index = entry & !REFERENCE;
    arena.leave(index, records_of(count));
    for at in index..index + count.div_ceil(ENTRIES) as u32 {
        let Entries { entries } = layout(&memory.read(at));
        for entry in entries.into_iter().filter(|entry| entry & REFERENCE != 0) {
            let index = entry & !REFERENCE;
            let node: Node = layout(&memory.read(index));
            arena.leave(index, 1);
            if node.table != 0 {
                arena.leave(node.table, DENSE);
            }
        }
    }
}

/// An entry that is a class is neither of the others.
const _: () = assert!((ebpf_common::filter::CLASSES_MAX as u32) <= WITHIN && WITHIN < REFERENCE);
