//! Reads the configuration in force.

use ebpf_common::{
    hash,
    layout::{
        Address, Backend, Entry, EntryKey, Header, MAGIC, MAGLEV_PER_RECORD, MaglevRecord, Pool,
        Tuple, kind,
    },
    verdict::Reason,
};

use crate::maps::{self, Records};

/// One generation of the configuration, held for the time of a packet.
pub struct Config {
    records: &'static Records,
    /// Record 0.
    pub header: &'static Header,
}

impl Config {
    /// Returns the generation in force.
    #[inline(always)]
    pub fn current() -> Result<Self, Reason> {
        let records = maps::records().ok_or(Reason::NoConfiguration)?;
        let header: &Header = record(records, 0).ok_or(Reason::NoConfiguration)?;
        if header.magic != MAGIC {
            return Err(Reason::NoConfiguration);
        }
        Ok(Self { records, header })
    }

    /// Finds the service that a packet is for: by its address, or else by any local address.
    #[inline(always)]
    pub fn service(&self, tuple: &Tuple) -> Option<&'static Entry> {
        let mut key = EntryKey {
            address: tuple.destination,
            owner: 0,
            port_be: tuple.destination_port_be,
            protocol: tuple.protocol,
            kind: kind::SERVICE,
        };
        if let Some(entry) = self.find(&key) {
            return Some(entry);
        }
        key.address = Address { words: [0; 4] };
        let entry = self.find(&key)?;
        let local = EntryKey {
            address: tuple.destination,
            owner: 0,
            port_be: 0,
            protocol: 0,
            kind: kind::LOCAL,
        };
        self.find(&local)?;
        Some(entry)
    }

    /// Tells whether a backend still belongs to the service of a slot.
    #[inline(always)]
    pub fn has_backend(&self, slot: u32, address: Address, port_be: u16, protocol: u8) -> bool {
        let key = EntryKey { address, owner: slot + 1, port_be, protocol, kind: kind::BACKEND };
        self.find(&key).is_some()
    }

    /// Chooses a backend by Maglev.
    #[inline(always)]
    pub fn choose(&self, pool: &Pool, flow_hash: u64) -> Result<&'static Backend, Reason> {
        let size = pool.maglev_size;
        if size == 0 {
            return Err(Reason::NoBackend);
        }
        let index = hash::maglev_index(flow_hash, size);
        let part: &MaglevRecord =
            record(self.records, pool.maglev_start + index / MAGLEV_PER_RECORD)
                .ok_or(Reason::BrokenConfiguration)?;
        let within = (index % MAGLEV_PER_RECORD) as usize;
        // SAFETY: `within` is below the length of the array, by the mask just applied.
        let number = unsafe { *part.backends.as_ptr().add(within) };
        record(self.records, pool.backends_start + u32::from(number))
            .ok_or(Reason::BrokenConfiguration)
    }

    #[inline(always)]
    fn find(&self, key: &EntryKey) -> Option<&'static Entry> {
        let hash = hash::entry(key, self.header.seed);
        let first: &Entry = self.place(hash as u32)?;
        if first.key.same(key) {
            return Some(first);
        }
        let second: &Entry = self.place((hash >> 32) as u32)?;
        second.key.same(key).then_some(second)
    }

    #[inline(always)]
    fn place(&self, hash: u32) -> Option<&'static Entry> {
        record(self.records, self.header.table_start + (hash & self.header.table_mask))
    }
}

/// Reads a record as one of the layouts of its size.
#[inline(always)]
fn record<T>(records: &'static Records, index: u32) -> Option<&'static T> {
    const { assert!(size_of::<T>() == 64 && align_of::<T>() <= 8) };
    // SAFETY: all layouts are `repr(C)` integers of the record's size, valid for any bytes.
    records.get_ptr(index).map(|pointer| unsafe { &*pointer.cast::<T>() })
}
