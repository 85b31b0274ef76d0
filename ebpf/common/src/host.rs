//! The packet path in plain memory, for tests: [`Tables`] are the maps that all CPUs share, a [`Cpu`]
//! is one of them with a frame.
//!
//! Takes the records that the planner writes for the kernel as they are. Invariants: a frame lies
//! against a page that nobody may touch ([`frame`]), so a load or store beyond it ends the process; a
//! table's entry that is not there is `None`, as in the kernel; words are exchanged atomically, so
//! several threads may be CPUs of the same tables.

mod cpu;
pub mod frame;
mod table;

#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicU64, Ordering};
use std::{boxed::Box, vec::Vec};

pub use self::cpu::{Cpu, Own};
use self::table::Table;
use crate::{
    filter::{
        RULE_NUMBERS,
        rates::{SOURCE_LINES, SourceLine},
    },
    layout::{Claims, Connection, Endpoint, FlowBucket, Hop, Record, Tuple},
    qos::{LIMITER_WAYS, Spent},
    siphash::Key,
    verdict::Reason,
};

/// Where packets of a flow go; stands for the kernel's routes and neighbours.
pub type Routes = Box<dyn Fn(&Tuple) -> Result<Hop, Reason> + Send + Sync>;

/// How large tables are; buckets are powers of two.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Buckets of the table of flows.
    pub flow_buckets: u32,
    /// Buckets of the table of connections.
    pub claim_buckets: u32,
    /// Numbers of endpoints.
    pub endpoints: u32,
}

/// What all CPUs share.
pub struct Tables {
    sizes: Sizes,
    config: Vec<Record>,
    /// By slot of the filter's map, the front first.
    filter: Vec<Vec<Record>>,
    flows: Table<FlowBucket>,
    endpoints: Table<Endpoint>,
    claims: Table<Claims>,
    connections: Table<Connection>,
    spent: Table<Spent>,
    /// By the number of a filter's rule.
    rules_spent: Table<Spent>,
    sources: Table<SourceLine>,
    routes: Routes,
    vlans: bool,
    ticks: AtomicU64,
    ticks_per_second: u32,
    cookie_key: Key,
    /// One word.
    half_open: Table<u64>,
}

impl Tables {
    /// Makes empty tables.
    #[must_use]
    pub fn new(sizes: Sizes, ticks_per_second: u32, routes: Routes) -> Self {
        assert!(sizes.flow_buckets.is_power_of_two() && sizes.claim_buckets.is_power_of_two());
        Self {
            sizes,
            config: Vec::new(),
            filter: Vec::new(),
            flows: Table::new(sizes.flow_buckets as usize),
            endpoints: Table::new(sizes.endpoints as usize),
            claims: Table::new(sizes.claim_buckets as usize),
            connections: Table::new((sizes.claim_buckets * crate::claims::PLACES) as usize),
            spent: Table::new(LIMITER_WAYS),
            rules_spent: Table::new(RULE_NUMBERS),
            sources: Table::new(SOURCE_LINES),
            routes,
            vlans: false,
            ticks: AtomicU64::new(0),
            ticks_per_second,
            cookie_key: Key([0x0c00_c1e0, 0x5eed]),
            half_open: Table::new(1),
        }
    }

    /// Returns how large they are.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Puts the records of a configuration in force: the whole map, the selector first.
    pub fn set_config(&mut self, records: &[Record]) {
        self.config.clear();
        self.config.extend_from_slice(records);
    }

    /// Takes over the endpoints by their numbers, as many as there is room for.
    pub fn set_endpoints(&mut self, endpoints: &[Record]) {
        let endpoints = &endpoints[..endpoints.len().min(self.endpoints.len())];
        for (number, record) in endpoints.iter().enumerate() {
            // SAFETY: both are 64 bytes of integers.
            let endpoint: Endpoint = unsafe { core::mem::transmute_copy(record) };
            self.endpoints.set(number, endpoint);
        }
    }

    /// Puts a packet filter in force: the records of each slot of its map, none for no filter.
    pub fn set_filter(&mut self, slots: Vec<Vec<Record>>) {
        self.filter = slots;
    }

    /// Takes over what rules of the packet filter have spent, by their numbers.
    pub fn set_rules_spent(&mut self, spent: &[Record]) {
        assert_eq!(spent.len(), self.rules_spent.len());
        for (number, record) in spent.iter().enumerate() {
            // SAFETY: both are 64 bytes of integers.
            let spent: Spent = unsafe { core::mem::transmute_copy(record) };
            self.rules_spent.set(number, spent);
        }
    }

    /// Tells whether the host has VLANs: without, nothing takes tags off.
    pub fn set_vlans(&mut self, vlans: bool) {
        self.vlans = vlans;
    }

    /// Sets the key of SYN cookies.
    pub fn set_cookie_key(&mut self, key: Key) {
        self.cookie_key = key;
    }

    /// Forgets all flows and connections, and what rules and sources have spent.
    pub fn forget(&mut self) {
        self.flows.clear();
        self.claims.clear();
        self.connections.clear();
        self.half_open.clear();
        self.rules_spent.clear();
        self.sources.clear();
    }

    /// Sets the time.
    pub fn set_ticks(&self, ticks: u64) {
        self.ticks.store(ticks, Ordering::SeqCst);
    }

    /// Returns the time.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::SeqCst)
    }

    /// Copies the entries of the table of connections that are in force, with their indices.
    #[must_use]
    pub fn connections(&self) -> Vec<(u32, Connection)> {
        let all = (0..self.connections.len()).filter_map(|index| {
            // SAFETY: the index is within the table; the caller lets no CPU run.
            Some((index as u32, unsafe { *self.connections.at(index)? }))
        });
        all.filter(|(_, connection)| connection.key.protocol != 0).collect()
    }
}
