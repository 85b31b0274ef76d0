//! The records of a configuration, kept in step service by service (pure).
//!
//! ```text
//! record 0    then, in any order
//! [Header]    [lookup table]  [backends][Maglev table]  [backends][Maglev table] …
//! ```
//! Services with the same backends share one pool of backends and Maglev table. What is freed is
//! reused at once: the kernel's copies follow the image, and the one in force is never written.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    ops::Range,
    sync::Arc,
};

use ebpf_common::layout::{
    Address, Backend, Entry, EntryKey, Header, MAGIC, MAGLEV_PER_RECORD, MaglevRecord, Pool,
    SNAT_PORT_FIRST, SNAT_PORT_LAST,
};
use range_alloc::RangeAllocator;

use super::{
    lookup::{self, Full, Lookup},
    maglev::{self, Weighted},
    plan::{Carried, Frontend, NodeView},
    record::{backend_key, local_key, of_backend, of_header, of_maglev, service_key, to_header},
    sheet::Sheet,
};

/// Records at first: the header, and room for a small configuration.
const RECORDS_FIRST: u32 = 256;

/// The image.
#[derive(Debug)]
pub struct Image {
    sheet: Sheet,
    free: RangeAllocator<u32>,
    lookup: Lookup,
    services: BTreeMap<Frontend, Service>,
    pools: HashMap<Vec<Weighted>, SharedPool>,
    node: NodeView,
    revision: u64,
}

#[derive(Debug)]
struct Service {
    slot: u32,
    carried: Option<Arc<Carried>>,
}

#[derive(Debug)]
struct SharedPool {
    pool: Pool,
    extent: Range<u32>,
    users: usize,
}

impl Default for Image {
    fn default() -> Self {
        let mut sheet = Sheet::default();
        sheet.grow(RECORDS_FIRST);
        let mut image = Self {
            sheet,
            free: RangeAllocator::new(1..RECORDS_FIRST),
            lookup: Lookup::default(),
            services: BTreeMap::new(),
            pools: HashMap::new(),
            node: NodeView::default(),
            revision: 0,
        };
        image.lay_out_lookup(None);
        image
    }
}

impl Image {
    /// Returns the records, to be copied; [`Self::stamp`] comes first.
    pub fn sheet(&mut self) -> &mut Sheet {
        &mut self.sheet
    }

    /// Tells whether something differs from what was last put in force.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.sheet.is_changed()
    }

    /// Takes over the node's addresses.
    pub fn set_node(&mut self, node: &NodeView) {
        let old: BTreeSet<IpAddr> = std::mem::take(&mut self.node.local);
        self.node = node.clone();
        for gone in old.difference(&node.local) {
            self.lookup.remove(&mut self.sheet, &local_key(*gone));
        }
        for address in node.local.difference(&old) {
            self.put_entry(Entry { key: local_key(*address), ..Entry::default() });
        }
        let header = Header { generation: self.header().generation, ..self.new_header() };
        self.sheet.set(0, of_header(header));
    }

    /// Adds or changes a service; without endpoints, only its established connections go on.
    pub fn put(&mut self, frontend: Frontend, slot: u32, carried: Option<Arc<Carried>>) {
        let old = self.services.remove(&frontend);
        let keys = |slot: u32, carried: &Option<Arc<Carried>>| -> Vec<EntryKey> {
            let backends = carried.iter().flat_map(|carried| carried.backends());
            backends.map(|backend| backend_key(slot, frontend.protocol, backend)).collect()
        };
        let wanted = keys(slot, &carried);
        if let Some(old) = &old {
            for key in keys(old.slot, &old.carried).iter().filter(|key| !wanted.contains(key)) {
                self.lookup.remove(&mut self.sheet, key);
            }
        }
        for key in wanted {
            self.put_entry(Entry { key, ..Entry::default() });
        }
        let mut entry = Entry {
            key: service_key(&frontend),
            slot,
            draining: u32::from(carried.is_none()),
            ..Entry::default()
        };
        if let Some(carried) = &carried {
            entry.v4 = self.hold_pool(&carried.v4);
            entry.v6 = self.hold_pool(&carried.v6);
        }
        self.put_entry(entry);
        // After the new pools are held, so that an unchanged one stays where it is.
        self.release_pools(old);
        self.services.insert(frontend, Service { slot, carried });
    }

    /// Removes a service.
    pub fn remove(&mut self, frontend: &Frontend) {
        let Some(old) = self.services.remove(frontend) else { return };
        for backend in old.carried.iter().flat_map(|carried| carried.backends()) {
            let key = backend_key(old.slot, frontend.protocol, backend);
            self.lookup.remove(&mut self.sheet, &key);
        }
        self.lookup.remove(&mut self.sheet, &service_key(frontend));
        self.release_pools(Some(old));
    }

    /// Writes the generation and the revision that the records are about to be put in force as.
    pub fn stamp(&mut self, generation: u64, revision: u64) {
        self.revision = revision;
        let header = Header { generation, ..self.new_header() };
        self.sheet.set(0, of_header(header));
    }

    fn header(&self) -> Header {
        to_header(self.sheet.get(0))
    }

    fn new_header(&self) -> Header {
        let source = |source: Option<IpAddr>| source.map(Address::from).unwrap_or_default();
        Header {
            generation: 0,
            revision: self.revision,
            magic: MAGIC,
            table_start: self.lookup.extent.start,
            table_mask: self.lookup.extent.len() as u32 - 1,
            source_v4: source(self.node.source_v4).words[3],
            source_v6: source(self.node.source_v6),
            seed: self.lookup.seed,
            port_first: SNAT_PORT_FIRST,
            port_last: SNAT_PORT_LAST,
            padding: [0; 2],
        }
    }

    fn put_entry(&mut self, entry: Entry) {
        if let Err(Full(homeless)) = self.lookup.put(&mut self.sheet, entry) {
            self.lay_out_lookup(Some(homeless));
        }
    }

    /// Lays the lookup table out anew, with room to grow.
    fn lay_out_lookup(&mut self, homeless: Option<Entry>) {
        let mut entries = self.lookup.entries(&self.sheet);
        entries.extend(homeless);
        let layout = lookup::lay_out(&entries);
        let extent = self.allocate(layout.1.len() as u32);
        let old = std::mem::take(&mut self.lookup).extent;
        self.lookup = Lookup::written(&mut self.sheet, extent, &entries, layout);
        if !old.is_empty() {
            self.free.free_range(old);
        }
    }

    fn hold_pool(&mut self, backends: &[Weighted]) -> Pool {
        if backends.is_empty() {
            return Pool::default();
        }
        if let Some(shared) = self.pools.get_mut(backends) {
            shared.users += 1;
            return shared.pool;
        }
        let table = maglev::table(backends);
        let parts = table.chunks(MAGLEV_PER_RECORD as usize);
        let extent = self.allocate((backends.len() + parts.len()) as u32);
        let maglev_start = extent.start + backends.len() as u32;
        for (place, backend) in extent.clone().zip(backends) {
            let backend = Backend {
                address: backend.address.ip().into(),
                port_be: backend.address.port().to_be(),
                ..Backend::default()
            };
            self.sheet.set(place, of_backend(backend));
        }
        for (place, chunk) in (maglev_start..).zip(parts) {
            let mut part = MaglevRecord { backends: [0; MAGLEV_PER_RECORD as usize] };
            part.backends[..chunk.len()].copy_from_slice(chunk);
            self.sheet.set(place, of_maglev(part));
        }
        let pool =
            Pool { maglev_start, maglev_size: table.len() as u32, backends_start: extent.start };
        self.pools.insert(backends.to_vec(), SharedPool { pool, extent, users: 1 });
        pool
    }

    fn release_pools(&mut self, service: Option<Service>) {
        let Some(carried) = service.and_then(|service| service.carried) else { return };
        for backends in [&carried.v4, &carried.v6] {
            let Some(shared) = self.pools.get_mut(backends) else { continue };
            shared.users -= 1;
            if shared.users == 0 {
                let extent = shared.extent.clone();
                self.pools.remove(backends);
                self.free.free_range(extent);
            }
        }
    }

    fn allocate(&mut self, length: u32) -> Range<u32> {
        loop {
            if let Ok(extent) = self.free.allocate_range(length) {
                return extent;
            }
            // A quarter more at least, so that growing, which copies everything, is rare.
            let old = self.sheet.records().len() as u32;
            let new = old + length.max(old / 4);
            self.sheet.grow(new);
            self.free.grow_to(new);
        }
    }
}

#[cfg(test)]
#[path = "image/tests.rs"]
mod tests;
