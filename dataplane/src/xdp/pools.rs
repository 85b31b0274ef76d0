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
    /// Whether its backends have numbers, which flows refer to.
    pub numbered: bool,
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
        let (pool, extent) = self.write(arena, &key, now);
        self.held.insert(key, Shared { pool, extent, users: 1 });
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
        if let Some(shared) = self.held.remove(key) {
            arena.free(shared.extent);
        }
        for backend in key.backends.iter().filter(|_| key.numbered) {
            self.numbers.release(backend.address, now);
        }
    }

    /// Tells whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn write(&mut self, arena: &mut Arena, key: &PoolKey, now: Instant) -> (Pool, Range<u32>) {
        let mut table = maglev::table(&key.backends);
        let backends = if key.numbered { &[][..] } else { &key.backends[..] };
        if key.numbered {
            let numbers: Vec<u16> = key.backends.iter().map(|it| self.number(it, now)).collect();
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
        for (place, backend) in extent.clone().zip(backends) {
            let record = Backend {
                address: backend.address.ip().into(),
                port_be: backend.address.port().to_be(),
                ..Backend::default()
            };
            arena.sheet.set(place, of_backend(record));
        }
        for (place, chunk) in (maglev_start..).zip(parts) {
            let mut part = MaglevRecord { backends: [0; MAGLEV_PER_RECORD as usize] };
            part.backends[..chunk.len()].copy_from_slice(chunk);
            arena.sheet.set(place, of_maglev(part));
        }
        let backends_start = if key.numbered { 0 } else { extent.start };
        (Pool { maglev_start, maglev_size: table.len() as u32, backends_start }, extent)
    }

    fn number(&mut self, backend: &Weighted, now: Instant) -> u16 {
        self.numbers.hold(backend.address, now).unwrap_or_else(|| {
            tracing::warn!(endpoint = %backend.address, "no number is left: its packets are dropped");
            0
        })
    }
}
