//! Lays a plan out as the records of a configuration (pure).
//!
//! ```text
//! record 0   1 ..= places      then, per service and family
//! [Header]   [lookup table]    [backends][Maglev table] …
//! ```
//! The lookup table is a two-choice cuckoo table with one entry a place, at most half full, so a
//! lookup reads at most two records. Services with the same backends share one Maglev table.

use std::{
    collections::{BTreeMap, HashMap},
    mem::transmute,
    net::IpAddr,
    sync::Arc,
};

use ebpf_common::{
    hash,
    layout::{
        Address, Backend, Entry, EntryKey, Header, MAGIC, MAGLEV_PER_RECORD, MaglevRecord, Pool,
        Record, SNAT_PORT_FIRST, SNAT_PORT_LAST, kind,
    },
};

use super::{
    maglev::{self, Weighted},
    plan::{Frontend, L4Plan, NodeView},
    slots::Slot,
};

/// Moves of one insertion before another seed is tried; a table that is half full needs a
/// logarithmic number (Pagh and Rodler, "Cuckoo Hashing", 2004).
const MOVES_MAX: usize = 512;
/// Seeds tried before the table is doubled.
const SEEDS_PER_SIZE: u32 = 4;

/// Maglev tables by their backends: most are unchanged from one generation to the next.
#[derive(Debug, Default)]
pub struct MaglevCache(HashMap<Vec<Weighted>, Arc<Vec<u16>>>);

impl MaglevCache {
    fn take(&mut self, older: &mut Self, backends: &[Weighted]) -> Arc<Vec<u16>> {
        if let Some(table) = self.0.get(backends) {
            return table.clone();
        }
        let table = older.0.remove(backends).unwrap_or_else(|| Arc::new(maglev::table(backends)));
        self.0.insert(backends.to_vec(), table.clone());
        table
    }
}

/// Builds the records of a configuration, with the generation left zero.
#[must_use]
pub fn build(
    plan: &L4Plan,
    slots: &[Slot],
    node: &NodeView,
    cache: &mut MaglevCache,
) -> Vec<Record> {
    let carried: BTreeMap<Frontend, _> =
        plan.carried.iter().map(|carried| (carried.frontend, carried)).collect();
    let mut entries = Vec::with_capacity(slots.len() * 4);
    let mut tail: Vec<Record> = Vec::new();
    let mut older = std::mem::take(cache);
    let mut pools: HashMap<&[Weighted], Pool> = HashMap::new();
    for slot in slots {
        let mut entry = Entry {
            key: service_key(&slot.frontend),
            slot: slot.slot,
            draining: u32::from(slot.draining),
            ..Entry::default()
        };
        if let Some(carried) = carried.get(&slot.frontend) {
            for (backends, pool) in [(&carried.v4, &mut entry.v4), (&carried.v6, &mut entry.v6)] {
                *pool = *pools
                    .entry(backends)
                    .or_insert_with(|| append_pool(backends, &mut tail, &mut older, cache));
                entries.extend(
                    backends.iter().map(|backend| Entry {
                        key: backend_key(slot, backend),
                        ..Entry::default()
                    }),
                );
            }
        }
        entries.push(entry);
    }
    entries.extend(
        node.local.iter().map(|local| Entry { key: local_key(*local), ..Entry::default() }),
    );

    let (seed, places) = cuckoo(&entries);
    let first = 1 + places.len() as u32;
    let source = |source: Option<IpAddr>| source.map(Address::from).unwrap_or_default();
    let header = Header {
        generation: 0,
        revision: plan.revision.0,
        magic: MAGIC,
        table_start: 1,
        table_mask: places.len() as u32 - 1,
        source_v4: source(node.source_v4).words[3],
        source_v6: source(node.source_v6),
        seed,
        port_first: SNAT_PORT_FIRST,
        port_last: SNAT_PORT_LAST,
        padding: [0; 2],
    };
    let mut records = Vec::with_capacity(first as usize + tail.len());
    records.push(header_record(header));
    for place in places {
        records.push(match place {
            Some(index) => entry_record(rebased(entries[index], first)),
            None => Record::EMPTY,
        });
    }
    records.append(&mut tail);
    records
}

/// Writes the generation into the header of finished records.
pub fn stamp(records: &mut [Record], generation: u64) {
    let header = Header { generation, ..read_header(&records[0]) };
    records[0] = header_record(header);
}

/// Reads a header.
#[must_use]
pub fn read_header(record: &Record) -> Header {
    // SAFETY: both are 64 bytes; a header is integers without padding.
    unsafe { transmute::<Record, Header>(*record) }
}

/// Reads which frontends have which slots out of a configuration in force.
#[must_use]
pub fn read_slots(records: &[Record]) -> Vec<Slot> {
    let Some(header) = records.first().map(read_header).filter(|header| header.magic == MAGIC)
    else {
        return Vec::new();
    };
    let start = header.table_start as usize;
    let end = start + header.table_mask as usize + 1;
    records
        .get(start..end)
        .unwrap_or_default()
        .iter()
        // SAFETY: both are 64 bytes; an entry is integers without padding.
        .map(|record| unsafe { transmute::<Record, Entry>(*record) })
        .filter(|entry| entry.key.kind == kind::SERVICE)
        .map(|entry| Slot {
            frontend: Frontend {
                address: to_ip(entry.key.address),
                port: u16::from_be(entry.key.port_be),
                protocol: entry.key.protocol,
            },
            slot: entry.slot,
            draining: entry.draining != 0,
        })
        .collect()
}

fn append_pool(
    backends: &[Weighted],
    tail: &mut Vec<Record>,
    older: &mut MaglevCache,
    cache: &mut MaglevCache,
) -> Pool {
    if backends.is_empty() {
        return Pool::default();
    }
    let table = cache.take(older, backends);
    let backends_start = tail.len() as u32;
    tail.extend(backends.iter().map(|backend| {
        backend_record(Backend {
            address: backend.address.ip().into(),
            port_be: backend.address.port().to_be(),
            ..Backend::default()
        })
    }));
    let maglev_start = tail.len() as u32;
    tail.extend(table.chunks(MAGLEV_PER_RECORD as usize).map(|chunk| {
        let mut part = MaglevRecord { backends: [0; MAGLEV_PER_RECORD as usize] };
        part.backends[..chunk.len()].copy_from_slice(chunk);
        maglev_record(part)
    }));
    Pool { maglev_start, maglev_size: table.len() as u32, backends_start }
}

/// Moves a service's record numbers behind the lookup table, whose size is known last.
fn rebased(mut entry: Entry, first: u32) -> Entry {
    for pool in [&mut entry.v4, &mut entry.v6] {
        if pool.maglev_size > 0 {
            pool.maglev_start += first;
            pool.backends_start += first;
        }
    }
    entry
}

/// Returns a seed and, for each place, which entry lies there.
fn cuckoo(entries: &[Entry]) -> (u32, Vec<Option<usize>>) {
    let mut size = (entries.len() * 2).next_power_of_two().max(2);
    for attempt in 0u32.. {
        if attempt > 0 && attempt.is_multiple_of(SEEDS_PER_SIZE) {
            size *= 2;
        }
        let seed = attempt.wrapping_mul(0x9e37_79b9).wrapping_add(1);
        if let Some(places) = try_cuckoo(entries, size, seed) {
            return (seed, places);
        }
    }
    unreachable!("some size holds every set of different keys")
}

fn try_cuckoo(entries: &[Entry], size: usize, seed: u32) -> Option<Vec<Option<usize>>> {
    let mask = size - 1;
    let choices = |index: usize| {
        let hash = hash::entry(&entries[index].key, seed);
        [hash as u32 as usize & mask, (hash >> 32) as usize & mask]
    };
    let mut places: Vec<Option<usize>> = vec![None; size];
    for index in 0..entries.len() {
        let mut moving = index;
        let mut place = choices(moving)[0];
        let mut moves = 0;
        while let Some(resident) = places[place].replace(moving) {
            moves += 1;
            if moves > MOVES_MAX {
                return None;
            }
            moving = resident;
            let [first, second] = choices(moving);
            place = if place == first { second } else { first };
        }
    }
    Some(places)
}

fn service_key(frontend: &Frontend) -> EntryKey {
    EntryKey {
        address: frontend.address.map(Address::from).unwrap_or_default(),
        owner: 0,
        port_be: frontend.port.to_be(),
        protocol: frontend.protocol,
        kind: kind::SERVICE,
    }
}

fn backend_key(slot: &Slot, backend: &Weighted) -> EntryKey {
    EntryKey {
        address: backend.address.ip().into(),
        owner: slot.slot + 1,
        port_be: backend.address.port().to_be(),
        protocol: slot.frontend.protocol,
        kind: kind::BACKEND,
    }
}

fn local_key(address: IpAddr) -> EntryKey {
    EntryKey { address: address.into(), kind: kind::LOCAL, ..EntryKey::default() }
}

fn to_ip(address: Address) -> Option<IpAddr> {
    if address == Address::default() {
        return None;
    }
    let mut octets = [0; 16];
    for (chunk, word) in octets.chunks_mut(4).zip(address.words) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    Some(std::net::Ipv6Addr::from(octets).to_canonical())
}

macro_rules! into_record {
    ($($name:ident: $layout:ty),*) => {$(
        fn $name(value: $layout) -> Record {
            // SAFETY: both are 64 bytes; the layout is integers without padding.
            unsafe { transmute::<$layout, Record>(value) }
        }
    )*};
}
into_record!(
    header_record: Header,
    entry_record: Entry,
    backend_record: Backend,
    maglev_record: MaglevRecord
);

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
