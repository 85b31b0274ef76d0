//! The table of IPv4 addresses: a /16 at a time is made anew (pure).

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
            stretches => block(high, stretches, arena, memory)?,
        };
        let old = std::mem::replace(&mut self.first[usize::from(high)], entry);
        leave(old, arena, memory);
        Ok(())
    }
}

fn block(
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
            stretches => node(start, stretches, arena, memory)? | REFERENCE,
        };
    }
    let index = arena.take(BLOCK, memory)?;
    for (at, part) in (index..).zip(entries.chunks(16)) {
        let entries = Entries { entries: part.try_into().expect("chunks of 16") };
        memory.write(at, &record(&entries));
    }
    Ok(index | REFERENCE)
}

/// Writes the node of a /24.
fn node(
    start: u128,
    stretches: &[Border],
    arena: &mut Arena,
    memory: &mut impl Memory,
) -> Result<u32, ArenaError> {
    let mut all = [0u32; 256];
    for (place, (begin, class)) in stretches.iter().enumerate() {
        let from = begin.saturating_sub(start) as usize;
        let to = stretches.get(place + 1).map_or(256, |(next, _)| (next - start) as usize);
        all[from..to].fill(*class);
    }
    let one = all[0];
    let other = all.iter().copied().find(|class| *class != one).unwrap_or(one);
    let mut node = Node { classes: [one, other], ..Node::default() };
    for (address, class) in all.iter().enumerate() {
        node.bits[address / 64] |= u64::from(*class != one) << (address % 64);
    }
    if all.iter().any(|class| *class != one && *class != other) {
        node.dense = arena.take(DENSE, memory)?;
        for (at, part) in (node.dense..).zip(all.chunks(32)) {
            let mut halves = Halves::default();
            for (half, class) in halves.halves.iter_mut().zip(part) {
                *half = *class as u16;
            }
            memory.write(at, &record(&halves));
        }
    }
    let index = arena.take(1, memory)?;
    memory.write(index, &record(&node));
    Ok(index)
}

/// Gives back what an entry of the first level refers to.
fn leave(entry: u32, arena: &mut Arena, memory: &impl Memory) {
    if entry & REFERENCE == 0 {
        return;
    }
    let block = entry & !REFERENCE;
    for at in block..block + BLOCK {
        let Entries { entries } = layout(&memory.read(at));
        for entry in entries.into_iter().filter(|entry| entry & REFERENCE != 0) {
            let index = entry & !REFERENCE;
            let node: Node = layout(&memory.read(index));
            if node.dense != 0 {
                arena.leave(node.dense, DENSE);
            }
            arena.leave(index, 1);
        }
    }
    arena.leave(block, BLOCK);
}
