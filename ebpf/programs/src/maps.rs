//! The maps.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray, ProgramArray, RingBuf, XskMap},
    macros::btf_map,
};
use ebpf_common::{
    claims::PLACES,
    event::FlowEvent,
    filter::{
        CHUNK_RECORDS, FILTER_FLAGS, FILTER_SLOTS, RULE_NUMBERS,
        rates::{RuleState, SOURCE_LINES, SourceLine},
    },
    layout::{
        CLAIM_BUCKETS, CONFIG_RECORDS, COUNTER_WORDS, Claims, Connection, CpuEndpoint,
        ENDPOINTS_MAX, EVENTS_BYTES, Endpoint, FLOW_BUCKETS, FLOW_SAMPLING_DEFAULT, FlowBucket,
        Handshakes, MMAPABLE, Record, SERVICES_MAX, STATS_WORDS, Told, VLANS_MAX, Vlan,
    },
    path::{Scratch, TASKS as TASKS_COUNT},
    qos::{Credit, LIMITER_WAYS, Spent, wait::PLACES as SOCKET_PLACES},
};

#[btf_map(name = "mp_config_v5")]
pub static CONFIG: Array<Record, CONFIG_RECORDS, MMAPABLE> = Array::new();

#[btf_map(name = "mp_conns_v7")]
pub static CONNECTIONS: Array<Connection, { (CLAIM_BUCKETS * PLACES) as usize }, MMAPABLE> =
    Array::new();

#[btf_map(name = "mp_claims_v4")]
pub static CLAIMS: Array<Claims, { CLAIM_BUCKETS as usize }, MMAPABLE> = Array::new();

#[btf_map(name = "mp_counters_v3")]
pub static COUNTERS: PerCpuArray<[u64; COUNTER_WORDS], SERVICES_MAX> = PerCpuArray::new();

#[btf_map(name = "mp_flows_v3")]
pub static FLOWS: Array<FlowBucket, { FLOW_BUCKETS as usize }> = Array::new();

#[btf_map(name = "mp_ends_v3")]
pub static ENDPOINTS: Array<Endpoint, ENDPOINTS_MAX, MMAPABLE> = Array::new();

#[btf_map(name = "mp_cpu_ends_v1")]
pub static CPU_ENDPOINTS: PerCpuArray<CpuEndpoint, ENDPOINTS_MAX> = PerCpuArray::new();

#[btf_map(name = "mp_stats_v5")]
static STATS: PerCpuArray<[u64; STATS_WORDS], 1> = PerCpuArray::new();

#[btf_map(name = "mp_events_v2")]
pub static EVENTS: RingBuf<FlowEvent, EVENTS_BYTES> = RingBuf::new();

// User space sets these when it loads the program.

/// Of how many packets one is told of; 0 when only what is told of anyway is.
#[unsafe(no_mangle)]
static FLOW_SAMPLING: u32 = FLOW_SAMPLING_DEFAULT;

/// Buckets of the table of flows less one.
#[unsafe(no_mangle)]
static FLOW_MASK: u32 = FLOW_BUCKETS - 1;

/// Buckets of the table of connections less one.
#[unsafe(no_mangle)]
static CLAIM_MASK: u32 = CLAIM_BUCKETS - 1;

/// Seed of the table of connections.
#[unsafe(no_mangle)]
static CONNECTION_SEED: u64 = 0;

/// The kernel's ticks in a second.
#[unsafe(no_mangle)]
static TICKS_PER_SECOND: u32 = 250;

#[btf_map(name = "mp_scratch")]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

#[btf_map(name = "mp_tasks_v8")]
pub static TASKS: ProgramArray<{ TASKS_COUNT + 1 }> = ProgramArray::new();

#[btf_map(name = "mp_vlans_v1")]
static VLANS: HashMap<u32, Vlan, VLANS_MAX> = HashMap::new();

#[btf_map(name = "mp_shakes_v2")]
static HANDSHAKES: Array<Handshakes, 1> = Array::new();

#[btf_map(name = "mp_told")]
pub static TOLD: PerCpuArray<Told, 1> = PerCpuArray::new();

/// The front of the packet filter, or a chunk of its arena.
pub type FilterRecords = Array<[Record; CHUNK_RECORDS], 1, FILTER_FLAGS>;

#[btf_map(name = "mp_filter_v3")]
pub static FILTER: ArrayOfMaps<FilterRecords, FILTER_SLOTS> = ArrayOfMaps::new();

#[btf_map(name = "mp_frules_v1")]
pub static FILTER_RULES: PerCpuArray<RuleState, RULE_NUMBERS> = PerCpuArray::new();

#[btf_map(name = "mp_fspent_v1")]
pub static FILTER_SPENT: Array<Spent, RULE_NUMBERS, MMAPABLE> = Array::new();

#[btf_map(name = "mp_sources_v1")]
pub static SOURCES: Array<SourceLine, SOURCE_LINES, MMAPABLE> = Array::new();

#[btf_map(name = "mp_spent_v3")]
pub static SPENT: Array<Spent, LIMITER_WAYS, MMAPABLE> = Array::new();

#[btf_map(name = "mp_credit_v2")]
pub static CREDIT: PerCpuArray<Credit, LIMITER_WAYS> = PerCpuArray::new();

#[btf_map(name = "xsks_map")]
pub static SOCKETS: XskMap<SOCKET_PLACES> = XskMap::new();

/// Returns the buckets of the table of flows, less one.
#[inline(always)]
pub fn flow_mask() -> u32 {
    constant(&raw const FLOW_MASK)
}

/// Returns the buckets of the table of connections, less one.
#[inline(always)]
pub fn claim_mask() -> u32 {
    constant(&raw const CLAIM_MASK)
}

/// Returns the seed of the table of connections.
#[inline(always)]
pub fn connection_seed() -> u64 {
    constant(&raw const CONNECTION_SEED)
}

/// Returns the kernel's ticks in a second.
#[inline(always)]
pub fn ticks_per_second() -> u32 {
    constant(&raw const TICKS_PER_SECOND)
}

/// Returns of how many packets one is told of.
#[inline(always)]
pub fn flow_sampling() -> u32 {
    constant(&raw const FLOW_SAMPLING)
}

/// Reads a constant as a value that is not known when this is compiled.
#[inline(always)]
fn constant<T>(of: *const T) -> T {
    // SAFETY: the callers give statics.
    unsafe { of.read_volatile() }
}

/// Returns what a VLAN's interface stands for.
#[inline(always)]
pub fn vlan(ifindex: u32) -> Option<Vlan> {
    // SAFETY: the entries are not removed while they are read, in the kernel's grace period.
    unsafe { VLANS.get(ifindex) }.copied()
}

/// Returns what SYN cookies need.
#[inline(always)]
pub fn handshakes() -> Option<*mut Handshakes> {
    HANDSHAKES.get_ptr_mut(0)
}

/// Returns this CPU's statistics.
#[inline(always)]
pub fn stats() -> Option<*mut u64> {
    STATS.get_ptr_mut(0).map(<*mut [u64; STATS_WORDS]>::cast)
}
