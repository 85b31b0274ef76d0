//! The maps, and the counters in them.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use ebpf_common::layout::{
    CONFIG_INNER_FLAGS, CONFIG_TEMPLATE_RECORDS, CONNECTIONS_MAX, COUNTER_WORDS, Connection,
    ENDPOINTS_FLAGS, ENDPOINTS_MAX, Endpoint, EndpointHop, FLOW_BUCKETS, FlowBucket, Record,
    SERVICES_MAX, STATS_WORDS, Tuple,
};

/// A configuration.
pub type Records = Array<Record, CONFIG_TEMPLATE_RECORDS, CONFIG_INNER_FLAGS>;

#[btf_map(name = "mp_config_v2")]
static CONFIG: ArrayOfMaps<Records, 1> = ArrayOfMaps::new();

#[btf_map(name = "mp_conns_v2")]
pub static CONNECTIONS: LruHashMap<Tuple, Connection, CONNECTIONS_MAX> = LruHashMap::new();

#[btf_map(name = "mp_counters_v2")]
static COUNTERS: PerCpuArray<[u64; COUNTER_WORDS], SERVICES_MAX> = PerCpuArray::new();

#[btf_map(name = "mp_flows_v2")]
static FLOWS: Array<FlowBucket, { FLOW_BUCKETS as usize }> = Array::new();

#[btf_map(name = "mp_ends_v2")]
static ENDPOINTS: Array<Endpoint, ENDPOINTS_MAX, ENDPOINTS_FLAGS> = Array::new();

#[btf_map(name = "mp_hops")]
static HOPS: PerCpuArray<EndpointHop, ENDPOINTS_MAX> = PerCpuArray::new();

#[btf_map(name = "mp_stats_v2")]
static STATS: PerCpuArray<[u64; STATS_WORDS], 1> = PerCpuArray::new();

/// Values in the making that would crowd the 512-byte stack. A CPU handles one frame at a time.
#[repr(C)]
pub struct Scratch {
    pub forward: Connection,
    pub reply: Connection,
}

#[btf_map(name = "mp_scratch")]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Returns the configuration in force.
#[inline(always)]
pub fn records() -> Option<&'static Records> {
    CONFIG.get(0)
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
    FLOWS.get_ptr_mut(hash as u32 & (FLOW_BUCKETS - 1))
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

/// Adds to a word of the statistics.
#[inline(always)]
pub fn count(word: usize, by: u64) {
    if word < STATS_WORDS
        && let Some(stats) = STATS.get_ptr_mut(0)
    {
        // SAFETY: the entry belongs to this CPU, and `word` is within it.
        unsafe { *stats.cast::<u64>().add(word) += by };
    }
}

/// Sets a word of the statistics.
#[inline(always)]
pub fn set(word: usize, value: u64) {
    if word < STATS_WORDS
        && let Some(stats) = STATS.get_ptr_mut(0)
    {
        // SAFETY: the entry belongs to this CPU, and `word` is within it.
        unsafe { *stats.cast::<u64>().add(word) = value };
    }
}

/// Returns this CPU's counters of a service.
#[inline(always)]
pub fn counters(slot: u32) -> Option<&'static mut [u64; COUNTER_WORDS]> {
    // SAFETY: the entry belongs to this CPU, which handles one frame at a time.
    COUNTERS.get_ptr_mut(slot).map(|pointer| unsafe { &mut *pointer })
}
