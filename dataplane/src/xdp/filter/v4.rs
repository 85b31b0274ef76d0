//! The table of IPv4 addresses: a /16 at a time is made anew (pure).

use std::ops::Range;

use ebpf_common::filter::{Entries, Halves, Node, REFERENCE};

use super::{
    arena::{Arena, ArenaError, Memory, layout, record},
    classes::Border,
};

/// Entries by the first 16 bits of an address.
pub const FIRST: usize = 65_536;
/// Records of a block of 256 entries.
const BLOCK: u32 = 16;
/// Records of the classes of 256 addresses.
const DENSE: u32 = 8;

/// The first level; the others are in the arena.
#[derive(Clone, Debug)]
pub struct TableV4 {
    first: Vec<u32>,
}

impl Default for TableV4 {
    fn default() -> Self {
        Self { first: vec![0; FIRST] }
    }
}

impl TableV4 {
    /// Returns the entries of the first level.
    #[must_use]
    pub fn first(&self) -> &[u32] {
        &self.first
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
        let entry = match stretches {
            [(_, class)] => *class,
            stretches => wide(high, stretches, arena, memory)? | REFERENCE,
        };
        let old = std::mem::replace(&mut self.first[usize::from(high)], entry);
        leave(old, arena, memory);
        Ok(())
    }
}

/// Writes the node of a /16.
fn wide(
    high: u16,
    stretches: &[Border],
    arena: &mut Arena,
    memory: &mut impl Memory,
) -> Result<u32, ArenaError> {
    let mut entries = [0u32; 256];
    let mut rest = stretches;
    for (middle, entry) in entries.iter_mut().enumerate() {
        let start = u128::from(high) << 16 | (middle as u128) << 8;
        // The stretch that the first address is in, and those that begin within the /24.
        let passed = rest.partition_point(|(begin, _)| *begin <= start);
        rest = &rest[passed - 1..];
        let within = 1 + rest[1..].partition_point(|(begin, _)| *begin <= start + 255);
        *entry = match &rest[..within] {
            [(_, class)] => *class,
            stretches => narrow(start, stretches, arena, memory)? | REFERENCE,
        };
    }
    node(&entries, arena, memory, |arena, memory| {
        let index = arena.take(BLOCK, memory)?;
        for (at, part) in (index..).zip(entries.chunks(16)) {
            let entries = Entries { entries: part.try_into().expect("chunks of 16") };
            memory.write(at, &record(&entries));
        }
        Ok(index)
    })
}

/// Writes the node of a /24.
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
    if let Some(node) = of_two_classes(parts.clone()) {
        let index = arena.take(1, memory)?;
        memory.write(index, &record(&node));
        return Ok(index);
    }
    let mut classes = [0u32; 256];
    parts.for_each(|(addresses, class)| classes[addresses].fill(class));
    node(&classes, arena, memory, |arena, memory| {
        let index = arena.take(DENSE, memory)?;
        for (at, part) in (index..).zip(classes.chunks(32)) {
            let mut halves = Halves::default();
            for (half, class) in halves.halves.iter_mut().zip(part) {
                *half = *class as u16;
            }
            memory.write(at, &record(&halves));
        }
        Ok(index)
    })
}

/// Returns the node of a /24 that consists of two classes, as nearly all do.
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

/// Writes a node of 256 parts, and their table by `write` when two classes do not say all.
fn node<M: Memory>(
    parts: &[u32; 256],
    arena: &mut Arena,
    memory: &mut M,
    write: impl FnOnce(&mut Arena, &mut M) -> Result<u32, ArenaError>,
) -> Result<u32, ArenaError> {
    let most = most_common(parts);
    let mut node = Node { classes: [most, 0], ..Node::default() };
    let mut others = parts.iter().enumerate().filter(|(_, part)| **part != most).peekable();
    let other = others.peek().map_or(most, |(_, part)| **part);
    let mut alike = other & REFERENCE == 0;
    for (place, part) in others {
        node.bits[place / 64] |= 1 << (place % 64);
        alike &= *part == other;
    }
    if alike {
        node.classes[1] = other;
    } else {
        node.table = write(arena, memory)?;
    }
    let index = arena.take(1, memory)?;
    memory.write(index, &record(&node));
    Ok(index)
}

/// Returns the class that most parts are in; 0 when none is in one as a whole.
fn most_common(parts: &[u32; 256]) -> u32 {
    // Mostly one class has more than half of them, and the first.
    let first = parts[0];
    if first & REFERENCE == 0 && parts.iter().filter(|part| **part == first).count() > 128 {
        return first;
    }
    let mut sorted = *parts;
    sorted.sort_unstable();
    let runs = sorted.chunk_by(|a, b| a == b).filter(|run| run[0] & REFERENCE == 0);
    runs.max_by_key(|run| run.len()).map_or(0, |run| run[0])
}

/// Gives back what an entry of the first level refers to.
fn leave(entry: u32, arena: &mut Arena, memory: &impl Memory) {
    if entry & REFERENCE == 0 {
        return;
    }
    let index = entry & !REFERENCE;
    let wide: Node = layout(&memory.read(index));
    arena.leave(index, 1);
    if wide.table == 0 {
        return;
    }
    arena.leave(wide.table, BLOCK);
    for at in wide.table..wide.table + BLOCK {
        let Entries { entries } = layout(&memory.read(at));
        for entry in entries.into_iter().filter(|entry| entry & REFERENCE != 0) {
            let index = entry & !REFERENCE;
            let narrow: Node = layout(&memory.read(index));
            arena.leave(index, 1);
            if narrow.table != 0 {
                arena.leave(narrow.table, DENSE);
            }
        }
    }
}
