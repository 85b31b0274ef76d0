//! Layout of the maps that the XDP program and the data plane share.
//!
//! Every map carries the version of its layout in its name: maps of the same name have the same
//! layout, so a restarted process takes over what is pinned, and a new layout starts with new maps.
//! Invariants: all types are `repr(C)` without implicit padding; addresses are IPv6, with IPv4
//! mapped (RFC 4291 section 2.5.5.2); fields that end in `_be` hold the bytes of the packet.
//!
//! A configuration is an array of 64-byte [`Record`]s: record 0 is the [`Header`]; the ports, the
//! lookup table, the backends and the Maglev tables follow. [`CONFIG_MAP`] has room for two:
//! ```text
//! [Selector]  [records of one copy]  [records of the other]
//! ```
//! The one that the [`Selector`] names is in force and never written; changing the selector
//! replaces everything at once, so one packet sees one generation.

mod config;
mod packet;
mod statistics;
mod tables;

pub(crate) use self::config::layouts;
pub use self::{
    config::{
        Backend, Entry, EntryKey, Header, Layout, MAGIC, MAGLEV_PER_RECORD, MaglevRecord,
        PORTS_PER_RECORD, PORTS_START, Pool, PortsRecord, Record, Selector, cookies, forwarding,
        kind,
    },
    packet::{Address, Hop, TCP, Tuple, UDP, Vlan, link},
    statistics::{COUNTER_WORDS, STATS_WORDS, counter, note, stat},
    tables::{
        Claims, Connection, CpuEndpoint, Endpoint, Flow, FlowBucket, Handshakes, Told, Translation,
        splice,
    },
};

/// Array of [`Record`]s: two copies of the configuration, of which one is in force.
pub const CONFIG_MAP: &str = "mp_config_v5";
/// Array of [`Connection`]s: the places of the table of connections, two of them a connection.
pub const CONNECTIONS_MAP: &str = "mp_conns_v7";
/// Array of [`Claims`]: who holds the places.
pub const CLAIMS_MAP: &str = "mp_claims_v4";
/// Array of [`FlowBucket`]s: the flows that are forwarded as they are. All CPUs share it, since a
/// flow may come to another CPU when interrupts are moved; places are written as a whole.
pub const FLOWS_MAP: &str = "mp_flows_v3";
/// Array of [`Endpoint`]s by their numbers, which flows refer to.
pub const ENDPOINTS_MAP: &str = "mp_ends_v3";
/// Per-CPU array of [`CpuEndpoint`]s by the numbers of their endpoints.
pub const CPU_ENDPOINTS_MAP: &str = "mp_cpu_ends_v1";
/// Per-CPU array of [`COUNTER_WORDS`] words a service slot.
pub const COUNTERS_MAP: &str = "mp_counters_v3";
/// Per-CPU array with one entry of [`STATS_WORDS`] words.
pub const STATS_MAP: &str = "mp_stats_v5";
/// Program array: those that a [`crate::path::Task`] is left to, by its number, and [`EVENT_TASK`].
pub const TASKS_MAP: &str = "mp_tasks_v8";
/// Array with one [`Handshakes`].
pub const HANDSHAKES_MAP: &str = "mp_shakes_v1";
/// Ring buffer of [`crate::event::FlowEvent`]s.
pub const EVENTS_MAP: &str = "mp_events_v2";
/// Hash of a [`Vlan`] by the number of its interface.
pub const VLANS_MAP: &str = "mp_vlans_v1";
/// Interfaces of VLANs that there is room for: all that two interfaces can have.
pub const VLANS_MAX: usize = 1 << 13;
/// Name of the XDP program in the object.
pub const PROGRAM: &str = "marchproxy_l4";
/// Names of the programs in [`TASKS_MAP`].
pub const TASK_PROGRAMS: [&str; crate::path::TASKS + 1] = [
    "mp_connection",
    "mp_error",
    "mp_too_big",
    "mp_tagged",
    "mp_direct",
    "mp_cookie",
    "mp_spliced",
    "mp_event",
];
/// Place in [`TASKS_MAP`] of the program that tells of a frame of which all is decided.
pub const EVENT_TASK: u32 = crate::path::TASKS as u32;

/// Connections with full NAT that the table has room for by default, in 34 MiB.
pub const CONNECTIONS: u32 = 3 << 15;
/// Buckets of the table of connections as the object has them, a power of two. User space may load
/// the program with another number.
pub const CLAIM_BUCKETS: u32 = 1 << 15;
/// Name of the program's constant that holds those buckets less one.
pub const CLAIM_MASK: &str = "CLAIM_MASK";
/// Name of the program's constant that holds the seed of the table of connections.
pub const CONNECTION_SEED: &str = "CONNECTION_SEED";
/// Name of the program's constant that tells of how many packets one is told of.
pub const FLOW_SAMPLING: &str = "FLOW_SAMPLING";
/// Of how many packets one is told of by default.
pub const FLOW_SAMPLING_DEFAULT: u32 = 1_024;
/// Bytes of the ring of events, a power of two: some 9,000 events, of which a CPU makes at most
/// [`crate::event::BUDGET`] of each kind in 64 ticks, and which is emptied ten times a second.
pub const EVENTS_BYTES: usize = 1 << 20;
/// Name of the program's constant that holds the kernel's ticks in a second.
pub const TICKS_PER_SECOND: &str = "TICKS_PER_SECOND";
/// Flow buckets as the object has them, a power of two: room for [`FLOWS`] flows in 8 MiB. User
/// space may load the program with another number.
pub const FLOW_BUCKETS: u32 = FLOWS / 8;
/// Flows that the table of flows has room for by default.
pub const FLOWS: u32 = 1 << 20;
/// Name of the program's constant that holds the buckets less one.
pub const FLOW_MASK: &str = "FLOW_MASK";
/// Numbers of endpoints. Number 0 is none.
pub const ENDPOINTS_MAX: usize = 1 << 16;
/// UDP port of Generic UDP Encapsulation (IANA service name `gue`).
pub const GUE_PORT: u16 = 6080;
/// Service slots: half for listeners that XDP carries, half for those that it drains.
pub const SERVICES_MAX: usize = 1 << 15;
/// Records of [`CONFIG_MAP`] when the program is loaded first: the selector and two copies of
/// 8 MiB, which hold some 10,000 services of a few endpoints. User space loads the program again
/// with more when a configuration needs them.
pub const CONFIG_RECORDS: usize = 1 + 2 * (1 << 17);
/// `BPF_F_MMAPABLE` (include/uapi/linux/bpf.h): user space writes a map through one mapping.
pub const MMAPABLE: usize = 1 << 10;

/// First port that connections to backends leave from; above Linux's default ephemeral range
/// (32768 to 60999, Documentation/networking/ip-sysctl.rst).
pub const SNAT_PORT_FIRST: u16 = 61_000;
/// Last port that connections to backends leave from.
pub const SNAT_PORT_LAST: u16 = 65_535;

const _: () = {
    assert!(size_of::<Record>() == 64 && align_of::<Record>() == 8);
    assert!(size_of::<Tuple>() == 40 && size_of::<Connection>() == 128);
    assert!(size_of::<Translation>() == 40 && size_of::<Claims>() == 64);
    assert!(size_of::<Hop>() == 20 && size_of::<EntryKey>() == 24);
    assert!(size_of::<Endpoint>() == 64 && size_of::<FlowBucket>() == 64);
    assert!(size_of::<CpuEndpoint>() == 64);
};
