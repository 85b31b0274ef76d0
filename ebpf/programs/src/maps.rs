//! The maps, and the counters in them.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use ebpf_common::{
    filter::{CHUNK_RECORDS, FILTER_FLAGS, FILTER_SLOTS, HITS_MAX},
    layout::{
        CONFIG_RECORDS, CONNECTIONS_MAX, COUNTER_WORDS, Connection, ENDPOINTS_MAX, Endpoint,
        EndpointHop, FLOW_BUCKETS, FlowBucket, MMAPABLE, Record, SERVICES_MAX, STATS_WORDS, Tuple,
    },
};

#[btf_map(name = "mp_config_v3")]
static CONFIG: Array<Record, CONFIG_RECORDS, MMAPABLE> = Array::new();

#[btf_map(name = "mp_conns_v3")]
pub static CONNECTIONS: LruHashMap<Tuple, Connection, CONNECTIONS_MAX> = LruHashMap::new();

#[btf_map(name = "mp_counters_v3")]
static COUNTERS: PerCpuArray<[u64; COUNTER_WORDS], SERVICES_MAX> = PerCpuArray::new();

#[btf_map(name = "mp_flows_v3")]
static FLOWS: Array<FlowBucket, { FLOW_BUCKETS as usize }> = Array::new();

#[btf_map(name = "mp_ends_v3")]
static ENDPOINTS: Array<Endpoint, ENDPOINTS_MAX, MMAPABLE> = Array::new();

#[btf_map(name = "mp_hops")]
static HOPS: PerCpuArray<EndpointHop, ENDPOINTS_MAX> = PerCpuArray::new();

#[btf_map(name = "mp_stats_v3")]
static STATS: PerCpuArray<[u64; STATS_WORDS], 1> = PerCpuArray::new();

/// Buckets of the table of flows less one; user space sets it when it loads the program.
#[unsafe(no_mangle)]
static FLOW_MASK: u32 = FLOW_BUCKETS - 1;

/// Values in the making that would crowd the 512-byte stack. A CPU handles one frame at a time.
#[repr(C)]
pub struct Scratch {
    pub forward: Connection,
    pub reply: Connection,
}

#[btf_map(name = "mp_scratch")]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// How many senders a CPU has told that their packets are too big.
#[repr(C)]
pub struct Told {
    /// When the count began, in [`ebpf_common::flows::hop_time`].
    pub since: u32,
    /// Messages since then.
    pub messages: u32,
}

#[btf_map(name = "mp_told")]
static TOLD: PerCpuArray<Told, 1> = PerCpuArray::new();

/// Returns how many senders this CPU has told.
#[inline(always)]
pub fn told() -> Option<&'static mut Told> {
    // SAFETY: the entry belongs to this CPU, which handles one frame at a time, and is asked for
    // once a frame.
    TOLD.get_ptr_mut(0).map(|pointer| unsafe { &mut *pointer })
}

/// The front of the packet filter, or a chunk of its arena.
pub type FilterRecords = Array<Record, CHUNK_RECORDS, FILTER_FLAGS>;

#[btf_map(name = "mp_filter_v1")]
static FILTER: ArrayOfMaps<FilterRecords, FILTER_SLOTS> = ArrayOfMaps::new();

#[btf_map(name = "mp_fhits_v1")]
static FILTER_HITS: PerCpuArray<u64, HITS_MAX> = PerCpuArray::new();

/// Returns the packet filter's front (slot 0) or a chunk of its arena.
#[inline(always)]
pub fn filter(slot: u32) -> Option<&'static FilterRecords> {
    FILTER.get(slot)
}

/// Counts a packet that a rule has dropped.
#[inline(always)]
pub fn count_filtered(counter: u8) {
    if let Some(hits) = FILTER_HITS.get_ptr_mut(u32::from(counter)) {
        // SAFETY: the entry belongs to this CPU, which handles one frame at a time.
        unsafe { *hits += 1 };
    }
}

/// Returns a record of the configurations.
#[inline(always)]
pub fn record(index: u32) -> Option<*const Record> {
    CONFIG.get_ptr(index)
}

/// Returns this CPU's scratch space.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: the entry belongs to this CPU, which handles one frame at a time, and is asked for
    // once a frame.
    SCRATCH.get_ptr_mut(0).map(|pointer| unsafe { &mut *pointer })
}

/// Returns the bucket that flows of a hash are in.
#[inline(always)]
pub fn flows(hash: u64) -> Option<*mut FlowBucket> {
    // SAFETY: a static. It is read as a value that is not known when this is compiled.
    let mask = unsafe { (&raw const FLOW_MASK).read_volatile() };
    FLOWS.get_ptr_mut(hash as u32 & mask)
}

/// Returns an endpoint by its number.
#[inline(always)]
pub fn endpoint(number: u16) -> Option<&'static Endpoint> {
    ENDPOINTS.get(u32::from(number))
}

/// Returns this CPU's next hop to an endpoint.
#[inline(always)]
pub fn hop(number: u16) -> Option<&'static mut EndpointHop> {
    // SAFETY: the entry belongs to this CPU, which handles one frame at a time, and is asked for
    // once a frame.
    HOPS.get_ptr_mut(u32::from(number)).map(|pointer| unsafe { &mut *pointer })
}

/// This CPU's statistics.
#[derive(Clone, Copy)]
pub struct Stats(*mut u64);

/// Returns this CPU's statistics.
#[inline(always)]
pub fn stats() -> Option<Stats> {
    STATS.get_ptr_mut(0).map(|pointer| Stats(pointer.cast()))
}

impl Stats {
    /// Adds one to a word.
    #[inline(always)]
    pub fn count(self, word: usize) {
        if word < STATS_WORDS {
            // SAFETY: the entry belongs to this CPU, and `word` is within it.
            unsafe { *self.0.add(word) += 1 };
        }
    }

    /// Sets a word.
    #[inline(always)]
    pub fn set(self, word: usize, value: u64) {
        if word < STATS_WORDS {
            // SAFETY: the entry belongs to this CPU, and `word` is within it.
            unsafe { *self.0.add(word) = value };
        }
    }
}

/// Adds one to a word of the statistics, off the paths that have them at hand.
#[inline(always)]
pub fn count(word: usize) {
    if let Some(stats) = stats() {
        stats.count(word);
    }
}

/// Returns this CPU's counters of a service.
#[inline(always)]
pub fn counters(slot: u32) -> Option<&'static mut [u64; COUNTER_WORDS]> {
    // SAFETY: the entry belongs to this CPU, which handles one frame at a time.
    COUNTERS.get_ptr_mut(slot).map(|pointer| unsafe { &mut *pointer })
}
