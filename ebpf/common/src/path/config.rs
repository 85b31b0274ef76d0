//! Reads the configuration in force.

use super::kernel::Kernel;
use crate::{
    hash,
    layout::{
        Address, Backend, Entry, EntryKey, Header, Layout, MAGIC, MAGLEV_PER_RECORD, MaglevRecord,
        PORTS_PER_RECORD, PORTS_START, Pool, PortsRecord, Selector, Tuple, kind,
    },
    qos::{TREATMENTS_PER_RECORD, Treatment, Treatments},
    verdict::Reason,
};

/// The generation in force: where its records begin.
pub(super) struct Generation<'k, K> {
    kernel: &'k K,
    base: u32,
    /// [`Selector::ways`].
    pub(super) ways: u32,
}

/// One generation of the configuration, held for the time of a packet.
pub(super) struct Config<'k, K> {
    generation: Generation<'k, K>,
    /// Record 0.
    pub(super) header: &'k Header,
}

impl<'k, K: Kernel> Generation<'k, K> {
    /// Returns the generation in force; read once, a packet sees one.
    #[inline(always)]
    pub(super) fn current(kernel: &'k K) -> Result<Self, Reason> {
        let selector = read::<Selector, _>(kernel, 0).ok_or(Reason::NoConfiguration)?;
        // Once, since user space may change them at any time.
        // SAFETY: fields of a reference.
        let (base, ways) = unsafe {
            ((&raw const selector.base).read_volatile(), (&raw const selector.ways).read_volatile())
        };
        Ok(Self { kernel, base, ways })
    }

    /// Tells whether packets to a port can be for a service or part of a connection.
    #[inline(always)]
    pub(super) fn knows_port(&self, port: u16) -> bool {
        let port = u32::from(port);
        let Some(part) = self.record::<PortsRecord>(PORTS_START + port / PORTS_PER_RECORD) else {
            return false;
        };
        let within = (port % PORTS_PER_RECORD / u64::BITS) as usize;
        // SAFETY: `within` is below the length of the array, by the divisions just made.
        let bits = unsafe { *part.ports.as_ptr().add(within) };
        bits >> (port % u64::BITS) & 1 != 0
    }

    #[inline(always)]
    fn record<T: Layout>(&self, index: u32) -> Option<&'k T> {
        read(self.kernel, self.base.wrapping_add(index))
    }
}

impl<'k, K: Kernel> Config<'k, K> {
    /// Returns the configuration of a generation.
    #[inline(always)]
    pub(super) fn of(generation: Generation<'k, K>) -> Result<Self, Reason> {
        let header: &Header = generation.record(0).ok_or(Reason::NoConfiguration)?;
        if header.magic != MAGIC {
            return Err(Reason::NoConfiguration);
        }
        Ok(Self { generation, header })
    }

    /// Returns [`Selector::ways`].
    #[inline(always)]
    pub(super) fn ways(&self) -> u32 {
        self.generation.ways
    }

    /// Finds the service that a packet is for: by its address, or else by any local address.
    #[inline(always)]
    pub(super) fn service(&self, tuple: &Tuple) -> Option<&'k Entry> {
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
        if self.header.any_address == 0 {
            return None;
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
    pub(super) fn has_backend(
        &self,
        slot: u32,
        address: Address,
        port_be: u16,
        protocol: u8,
    ) -> bool {
        let key = EntryKey { address, owner: slot + 1, port_be, protocol, kind: kind::BACKEND };
        self.find(&key).is_some()
    }

    /// Chooses by Maglev: the number of an endpoint, or with full NAT of a backend of the pool.
    #[inline(always)]
    pub(super) fn choose(&self, pool: &Pool, flow_hash: u64) -> Result<u16, Reason> {
        let size = pool.maglev_size;
        if size == 0 {
            return Err(Reason::NoBackend);
        }
        let index = hash::maglev_index(flow_hash, size);
        let part: &MaglevRecord = self
            .record(pool.maglev_start + index / MAGLEV_PER_RECORD)
            .ok_or(Reason::BrokenConfiguration)?;
        let within = (index % MAGLEV_PER_RECORD) as usize;
        // SAFETY: `within` is below the length of the array, by the mask just applied.
        Ok(unsafe { *part.backends.as_ptr().add(within) })
    }

    /// Returns a backend of a pool with full NAT.
    #[inline(always)]
    pub(super) fn backend(&self, pool: &Pool, number: u16) -> Result<&'k Backend, Reason> {
        let record = self.record(pool.backends_start + u32::from(number));
        record.ok_or(Reason::BrokenConfiguration)
    }

    /// Returns what is done to packets to clients of the service in a slot.
    #[inline(always)]
    pub(super) fn egress(&self, slot: u32) -> Option<Treatment> {
        if slot >= self.header.egress_slots {
            return None;
        }
        let index = self.header.egress_start + slot / TREATMENTS_PER_RECORD;
        let part: &Treatments = self.record(index)?;
        let within = (slot % TREATMENTS_PER_RECORD) as usize;
        // SAFETY: `within` is below the length of the array, by the mask just applied.
        Some(unsafe { *part.slots.as_ptr().add(within) })
    }

    #[inline(always)]
    fn find(&self, key: &EntryKey) -> Option<&'k Entry> {
        let hash = hash::entry(key, self.header.seed);
        let first: &Entry = self.place(hash as u32)?;
        if first.key.same(key) {
            return Some(first);
        }
        let second: &Entry = self.place((hash >> 32) as u32)?;
        second.key.same(key).then_some(second)
    }

    #[inline(always)]
    fn place(&self, hash: u32) -> Option<&'k Entry> {
        self.record(self.header.table_start + (hash & self.header.table_mask))
    }

    /// Returns a record by its number.
    #[inline(always)]
    pub(super) fn record<T: Layout>(&self, index: u32) -> Option<&'k T> {
        self.generation.record(index)
    }
}

/// Reads a record as one of the layouts of its size.
#[inline(always)]
fn read<T: Layout, K: Kernel>(kernel: &K, index: u32) -> Option<&T> {
    // SAFETY: all layouts are `repr(C)` integers of the record's size, valid for any bytes; records
    // of the generation in force are not written.
    kernel.record(index).map(|pointer| unsafe { &*pointer.cast::<T>() })
}
