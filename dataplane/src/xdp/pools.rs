//! Pools of backends with their Maglev tables, shared by all services that have the same (pure).

use std::{collections::HashMap, ops::Range, time::Instant};

use ebpf_common::layout::{Backend, MAGLEV_PER_RECORD, MaglevRecord, Pool};

use super::{
    arena::Arena,
    maglev::{self, Weighted},
    numbers::Numbers,
    record::{of_backend, of_maglev},
};

/// What makes a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// Whether flows refer to its backends by their numbers.
    pub by_number: bool,
    /// The backends, sorted.
    pub backends: Vec<Weighted>,
}

/// The pools.
#[derive(Debug, Default)]
pub struct Pools {
    held: HashMap<PoolKey, Shared>,
    /// The numbers of backends.
    pub numbers: Numbers,
}

#[derive(Debug)]
struct Shared {
    pool: Pool,
    extent: Range<u32>,
    users: usize,
    /// The numbers of the key's backends, in their order.
    numbers: Vec<u16>,
}

impl Pools {
    /// Returns a pool for one more user; the empty one when there are no backends.
    pub fn hold(&mut self, arena: &mut Arena, key: PoolKey, now: Instant) -> Pool {
        if key.backends.is_empty() {
            return Pool::default();
        }
        if let Some(shared) = self.held.get_mut(&key) {
            shared.users += 1;
            return shared.pool;
        }
        let numbers: Vec<u16> = key.backends.iter().map(|it| self.number(it, &key, now)).collect();
        let (pool, extent) = write(arena, &key, &numbers);
        self.held.insert(key, Shared { pool, extent, users: 1, numbers });
        pool
    }

    /// Returns a pool that is held; else the empty one.
    #[must_use]
    pub fn get(&self, key: &PoolKey) -> Pool {
        self.held.get(key).map(|shared| shared.pool).unwrap_or_default()
    }

    /// Ends one use; after the last one the records are free.
    pub fn release(&mut self, arena: &mut Arena, key: &PoolKey, now: Instant) {
        let Some(shared) = self.held.get_mut(key) else { return };
        shared.users -= 1;
        if shared.users > 0 {
            return;
        }
        let Some(shared) = self.held.remove(key) else { return };
        arena.free(shared.extent);
        for (backend, number) in key.backends.iter().zip(shared.numbers) {
            if number != 0 {
                self.numbers.release(backend.address, now);
            }
        }
    }

    /// Tells whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Gives a backend a number; 0 when none is left.
    fn number(&mut self, backend: &Weighted, key: &PoolKey, now: Instant) -> u16 {
        let endpoint = backend.address;
        let (number, lacks) = if key.by_number {
            (self.numbers.hold(endpoint, now), "its packets are dropped")
        } else {
            (self.numbers.hold_spare(endpoint, now), "its packets are not counted")
        };
        number.unwrap_or_else(|| {
            tracing::warn!(%endpoint, "no number is left: {lacks}");
            0
        })
    }
}

fn write(arena: &mut Arena, key: &PoolKey, numbers: &[u16]) -> (Pool, Range<u32>) {
    let mut table = maglev::table(&key.backends);
    let backends = if key.by_number { &[][..] } else { &key.backends[..] };
    if key.by_number {
        for entry in &mut table {
            *entry = numbers[usize::from(*entry)];
        }
    }
    let parts = table.chunks(MAGLEV_PER_RECORD as usize);
    let extent = match backends.len() + parts.len() {
        // Only numbers, of endpoints without a share.
        0 => 0..0,
        length => arena.allocate(length as u32),
    };
    let maglev_start = extent.start + backends.len() as u32;
    for ((place, backend), number) in extent.clone().zip(backends).zip(numbers) {
        let record = Backend {
            address: backend.address.ip().into(),
            port_be: backend.address.port().to_be(),
            number: *number,
            ..Backend::default()
        };
        arena.sheet.set(place, of_backend(record));
    }
    for (place, chunk) in (maglev_start..).zip(parts) {
        let mut part = MaglevRecord { backends: [0; MAGLEV_PER_RECORD as usize] };
        part.backends[..chunk.len()].copy_from_slice(chunk);
        arena.sheet.set(place, of_maglev(part));
    }
    let backends_start = if key.by_number { 0 } else { extent.start };
    (Pool { maglev_start, maglev_size: table.len() as u32, backends_start }, extent)
}
