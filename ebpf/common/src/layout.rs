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

use crate::qos::Treatment;

/// Array of [`Record`]s: two copies of the configuration, of which one is in force.
pub const CONFIG_MAP: &str = "mp_config_v4";
/// Array of [`Connection`]s: the places of the table of connections, two of them a connection.
pub const CONNECTIONS_MAP: &str = "mp_conns_v5";
/// Array of [`Claims`]: who holds the places.
pub const CLAIMS_MAP: &str = "mp_claims_v4";
/// Array of [`FlowBucket`]s: the flows that are forwarded as they are. All CPUs share it, since a
/// flow may come to another CPU when interrupts are moved; places are written as a whole.
pub const FLOWS_MAP: &str = "mp_flows_v3";
/// Array of [`Endpoint`]s by their numbers, which flows refer to.
pub const ENDPOINTS_MAP: &str = "mp_ends_v3";
/// Per-CPU array of [`COUNTER_WORDS`] words a service slot.
pub const COUNTERS_MAP: &str = "mp_counters_v3";
/// Per-CPU array with one entry of [`STATS_WORDS`] words.
pub const STATS_MAP: &str = "mp_stats_v4";
/// Program array: those that a [`crate::path::Task`] is left to, by its number, and [`EVENT_TASK`].
pub const TASKS_MAP: &str = "mp_tasks_v7";
/// Ring buffer of [`crate::event::FlowEvent`]s.
pub const EVENTS_MAP: &str = "mp_events_v1";
/// Hash of a [`Vlan`] by the number of its interface.
pub const VLANS_MAP: &str = "mp_vlans_v1";
/// Interfaces of VLANs that there is room for: all that two interfaces can have.
pub const VLANS_MAX: usize = 1 << 13;
/// Name of the XDP program in the object.
pub const PROGRAM: &str = "marchproxy_l4";
/// Names of the programs in [`TASKS_MAP`].
pub const TASK_PROGRAMS: [&str; crate::path::TASKS + 1] =
    ["mp_connection", "mp_error", "mp_too_big", "mp_tagged", "mp_direct", "mp_event"];
/// Place in [`TASKS_MAP`] of the program that tells of a frame of which all is decided.
pub const EVENT_TASK: u32 = crate::path::TASKS as u32;

/// Connections with full NAT that the table has room for by default, in 34 MiB.
pub const CONNECTIONS: u32 = 1 << 17;
/// Buckets of the table of connections as the object has them, a power of two. User space may load
/// the program with another number.
pub const CLAIM_BUCKETS: u32 = CONNECTIONS * 2 / crate::claims::PLACES;
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

/// Value of [`Header::magic`].
pub const MAGIC: u32 = u32::from_le_bytes(*b"MPL4");
/// Record of a configuration at which the [`PortsRecord`]s of all ports begin.
pub const PORTS_START: u32 = 1;
/// Ports in one [`PortsRecord`].
pub const PORTS_PER_RECORD: u32 = 512;
/// Maglev entries in one [`MaglevRecord`].
pub const MAGLEV_PER_RECORD: u32 = 32;

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;

/// An IPv6 address, or an IPv4 one in mapped form, as four words of packet bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The words in packet order.
    pub words: [u32; 4],
}

impl Address {
    /// Maps the four packet bytes of an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn v4(word: u32) -> Self {
        Self { words: [0, 0, u32::from_be(0xffff), word] }
    }

    /// Makes an address from its octets.
    #[must_use]
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        let mut words = [0; 4];
        let mut i = 0;
        while i < 4 {
            words[i] = u32::from_ne_bytes([
                octets[4 * i],
                octets[4 * i + 1],
                octets[4 * i + 2],
                octets[4 * i + 3],
            ]);
            i += 1;
        }
        Self { words }
    }

    /// Compares word by word; a derived comparison would call `memcmp`.
    #[inline(always)]
    #[must_use]
    pub const fn same(&self, other: &Self) -> bool {
        self.words[0] == other.words[0]
            && self.words[1] == other.words[1]
            && self.words[2] == other.words[2]
            && self.words[3] == other.words[3]
    }

    /// Tells whether the address is an IPv4 one.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == u32::from_be(0xffff)
    }
}

impl From<core::net::IpAddr> for Address {
    fn from(ip: core::net::IpAddr) -> Self {
        Self::from_octets(match ip {
            core::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            core::net::IpAddr::V6(v6) => v6.octets(),
        })
    }
}

/// A packet's flow: key of the connection table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuple {
    /// Where the packet comes from.
    pub source: Address,
    /// Where it goes to.
    pub destination: Address,
    /// Source port.
    pub source_port_be: u16,
    /// Destination port.
    pub destination_port_be: u16,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// Zero. An array would be filled by a call of `memset`.
    pub padding: u8,
    /// Zero.
    pub padding_end: u16,
}

impl Tuple {
    /// Compares word by word, the words that differ most often first; a derived comparison would
    /// call `memcmp`.
    #[inline(always)]
    #[must_use]
    pub const fn same(&self, other: &Self) -> bool {
        self.source_port_be == other.source_port_be
            && self.destination_port_be == other.destination_port_be
            && self.source.words[3] == other.source.words[3]
            && self.protocol == other.protocol
            && self.source.same(&other.source)
            && self.destination.same(&other.destination)
    }
}

/// The next hop of a direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// Interface that the frame leaves by.
    pub ifindex: u32,
    /// Largest IP packet that the route takes; 0 when not known.
    pub mtu: u16,
    /// Ethernet destination, as it lies in the frame.
    pub destination: [u16; 3],
    /// Ethernet source, as it lies in the frame.
    pub source: [u16; 3],
    /// What the way leads through: [`link`], and the number of a VLAN.
    pub link: u16,
}

/// What the way to a next hop leads through: [`Hop::link`].
pub mod link {
    /// A gateway.
    pub const GATEWAY: u16 = 1 << 15;
    /// A VLAN, whose number is in [`VLAN`].
    pub const TAGGED: u16 = 1 << 14;
    /// The number of a VLAN.
    pub const VLAN: u16 = 0x0fff;
}

/// A VLAN's interface: what packets that are routed there leave by.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vlan {
    /// The interface that it stands on.
    pub ifindex: u32,
    /// [`link::TAGGED`] and its number.
    pub link: u16,
    /// Zero.
    pub padding: u16,
}

/// One flow: `tag | endpoint << 32 | seen << 48`; all zero when the place is empty.
///
/// The tag is a part of the flow's hash that does not choose the bucket. Two flows of a bucket
/// with the same tag (one pair in 2^32) go to the same endpoint.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow(pub u64);

/// The flows of a bucket: one cache line.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowBucket {
    /// In no order.
    pub flows: [Flow; 8],
}

/// An endpoint by its number.
///
/// Invariant: a number stands for one address until no flow can refer to it any more.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address; zero for a number that stands for nothing.
    pub address: Address,
    /// Its port.
    pub port_be: u16,
    /// Zero.
    pub padding: [u16; 23],
}

/// A CPU's next hop to an endpoint.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointHop {
    /// The next hop.
    pub hop: Hop,
    /// When and under which ways it was looked up, as [`crate::flows::looked_up`] has it.
    pub checked: u32,
}

/// How many senders a CPU has told that their packets are too big.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// When the count began, in [`crate::flows::hop_time`].
    pub since: u32,
    /// Messages since then.
    pub messages: u32,
}

/// What packets of a connection's direction become.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// Source that packets get.
    pub source: Address,
    /// Destination that packets get.
    pub destination: Address,
    /// Source port that packets get.
    pub source_port_be: u16,
    /// Destination port that packets get.
    pub destination_port_be: u16,
    /// One's-complement difference for the TCP or UDP checksum (RFC 1624).
    pub transport_delta: u16,
    /// One's-complement difference for the IPv4 header checksum, without the TTL.
    pub header_delta: u16,
}

/// One direction of a connection, in a place of its table: two cache lines.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// What packets of the direction have; protocol 0 in a place without an entry.
    pub key: Tuple,
    /// When this or the other direction was refreshed last, in the time of [`crate::state::Clock`].
    pub refreshed: u32,
    /// Service slot for the counters.
    pub slot: u32,
    /// Low half of the generation under which the backend was last seen to be in its service.
    pub generation: u32,
    /// [`crate::state`] flags that this direction set.
    pub own: u8,
    /// [`crate::state`] flags that the other direction set.
    pub peer: u8,
    /// 1 for packets from the backend, 0 for packets from the client.
    pub reply: u8,
    /// Zero.
    pub padding: u8,
    /// [`Selector::ways`] under which the next hop was looked up.
    pub ways: u32,
    /// Zero.
    pub padding_line: u32,
    /// What packets become.
    pub to: Translation,
    /// Where packets go.
    pub hop: Hop,
    /// Zero.
    pub padding_end: u32,
}

/// The words of a bucket of the table of connections: one cache line, see [`crate::claims`].
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// A [`crate::claims::Claim`] a place.
    pub words: [u64; crate::claims::PLACES as usize],
}

/// The smallest unit of a configuration.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Bytes of one of the layouts of this size, such as a [`Header`] or an [`Entry`].
    pub bytes: [u8; 64],
}

impl Record {
    /// A record of zeros: an empty place of the lookup table.
    pub const EMPTY: Self = Self { bytes: [0; 64] };
}

/// A layout of a [`Record`]: `repr(C)` integers of its size, valid for any bytes.
///
/// # Safety
/// What is implemented must be that.
pub unsafe trait Layout: Copy {}

macro_rules! layouts {
    ($($layout:ty),*) => {
        $(
            // SAFETY: checked here, and `repr(C)` integers all of them.
            unsafe impl Layout for $layout {}
            const _: () = assert!(size_of::<$layout>() == 64 && align_of::<$layout>() <= 8);
        )*
    };
}
pub(crate) use layouts;
layouts!(Selector, Header, PortsRecord, Entry, Backend, MaglevRecord);

/// Record 0 of [`CONFIG_MAP`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Record at which the copy in force begins; 0 when none is in force.
    pub base: u32,
    /// Counts the changes of routes, links and neighbours. Next hops that were looked up under
    /// another count are looked up again.
    pub ways: u32,
    /// Zero.
    pub padding: [u32; 14],
}

/// Record 0 of a configuration.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Counts the configurations that were put in force.
    pub generation: u64,
    /// Configuration revision that it was made from.
    pub revision: u64,
    /// [`MAGIC`].
    pub magic: u32,
    /// Record at which the lookup table begins.
    pub table_start: u32,
    /// Places of the lookup table less one; the places are a power of two.
    pub table_mask: u32,
    /// The node's IPv4 address for connections to backends, zero when there is none.
    pub source_v4: u32,
    /// The node's IPv6 address for connections to backends, zero when there is none.
    pub source_v6: Address,
    /// Seed of the lookup table's hash.
    pub seed: u32,
    /// Services of any local address.
    pub any_address: u32,
    /// Record at which the [`crate::qos::Treatments`] of packets to clients begin.
    pub egress_start: u32,
    /// Slots that have one there.
    pub egress_slots: u32,
}

/// Which of [`PORTS_PER_RECORD`] ports are some service's or connections to backends leave from.
/// What goes to another port is for no service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortsRecord {
    /// A bit a port, the lowest first.
    pub ports: [u64; 8],
}

/// What an [`Entry`] stands for.
pub mod kind {
    /// A service: any protocol, port and address (zero for any local address).
    pub const SERVICE: u8 = 1;
    /// An address of this node; port, protocol and owner are zero.
    pub const LOCAL: u8 = 2;
    /// A backend of the UDP service in slot `owner - 1`.
    pub const BACKEND: u8 = 3;
}

/// How the packets of a service get to a backend: [`Entry::forwarding`].
pub mod forwarding {
    /// Full NAT.
    pub const NAT: u8 = 0;
    /// By another Ethernet address.
    pub const L2: u8 = 1;
    /// Through an IP tunnel.
    pub const IPIP: u8 = 2;
    /// Through UDP.
    pub const GUE: u8 = 3;
}

/// Key of the lookup table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryKey {
    /// The address; zero for any local one.
    pub address: Address,
    /// Service slot plus one for backends, else zero.
    pub owner: u32,
    /// The port.
    pub port_be: u16,
    /// [`TCP`], [`UDP`] or zero.
    pub protocol: u8,
    /// One of [`kind`]; zero marks an empty place.
    pub kind: u8,
}

/// The backends of a service of one address family.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Record at which the Maglev table begins.
    pub maglev_start: u32,
    /// Maglev entries; 0 when the family has no backend.
    pub maglev_size: u32,
    /// Record of the first backend; 0 in a service that is not NAT.
    pub backends_start: u32,
}

impl EntryKey {
    /// Compares word by word; a derived comparison would call `memcmp`.
    #[inline(always)]
    #[must_use]
    pub const fn same(&self, other: &Self) -> bool {
        self.address.same(&other.address)
            && self.owner == other.owner
            && self.port_be == other.port_be
            && self.protocol == other.protocol
            && self.kind == other.kind
    }
}

/// A place of the lookup table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What it is found by.
    pub key: EntryKey,
    /// Counter slot of a service.
    pub slot: u32,
    /// 1 when established connections go on and new ones do not begin.
    pub draining: u8,
    /// One of [`forwarding`].
    pub forwarding: u8,
    /// Zero.
    pub padding: u16,
    /// IPv4 backends of a service.
    pub v4: Pool,
    /// IPv6 backends of a service. A service that is not NAT has one family only, and the other
    /// family's pool holds the backends that it had before the last change.
    pub v6: Pool,
    /// What is done to packets from clients.
    pub treatment: Treatment,
}

/// A backend of a service with full NAT.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Its address.
    pub address: Address,
    /// Its port.
    pub port_be: u16,
    /// Zero.
    pub padding: [u16; 23],
}

/// A piece of a Maglev table: numbers of [`Endpoint`]s, or with full NAT of [`Backend`]s within the
/// pool.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaglevRecord {
    /// The numbers.
    pub backends: [u16; MAGLEV_PER_RECORD as usize],
}

/// Words of a service's counters.
pub const COUNTER_WORDS: usize = 5;
/// Indices into a service's counters.
pub mod counter {
    /// Packets from clients.
    pub const PACKETS_IN: usize = 0;
    /// IP bytes from clients.
    pub const BYTES_IN: usize = 1;
    /// Packets to clients.
    pub const PACKETS_OUT: usize = 2;
    /// IP bytes to clients.
    pub const BYTES_OUT: usize = 3;
    /// Connections begun.
    pub const CONNECTIONS: usize = 4;
}

/// Words of the statistics: one a [`crate::verdict::Reason`], then those of [`stat`] and [`note`].
pub const STATS_WORDS: usize = 56;
/// Indices into the statistics, behind the reasons.
pub mod stat {
    /// Generation that the CPU last saw.
    pub const GENERATION: usize = 31;
    /// Packets sent out of the interface that they came in by.
    pub const TRANSMITTED: usize = 30;
    /// Packets sent out of another interface.
    pub const REDIRECTED: usize = 29;
    /// Connections that took the port of one that had ended.
    pub const PORTS_REUSED: usize = 28;
    /// UDP flows moved because their backend left the service.
    pub const FLOWS_MOVED: usize = 27;
    /// ICMP errors forwarded to the endpoint or client of the flow that they are about.
    pub const ERRORS_FORWARDED: usize = 26;
    /// Packets too big of which the sender was told.
    pub const TOO_BIG_TOLD: usize = 25;
    /// Events for which the ring had no room.
    pub const EVENTS_LOST: usize = 32;
    /// Events that were not made, since the CPU had made as many as it may.
    pub const EVENTS_HELD_BACK: usize = 33;
}

/// Indices into the statistics behind the counters: what is noted of the packet on its way. A word
/// is a store; nobody reads it, unless the packet is told of.
pub mod note {
    /// [`crate::event::why`] the packet is to be told of.
    pub const WANTED: usize = 34;
    /// Packets until the next one that is told of.
    pub const LEFT: usize = 35;
    /// Service slot plus one, 0 for none; bit 32 is set for packets to clients.
    pub const SERVICE: usize = 36;
    /// Number of the endpoint of direct server return, 0 for none; [`CHOSEN`] when the
    /// [`crate::path::Scratch`] has the one of full NAT.
    pub const ENDPOINT: usize = 37;
    /// Bit of the packet filter's rule that fits, 0 for none.
    pub const RULE: usize = 38;
    /// Number of the packet filter, see [`crate::filter::Header::serial`].
    pub const FILTER: usize = 39;
    /// What became of the packet: XDP action, [`crate::verdict::Reason`] plus one in the second
    /// byte, and the interface that it leaves by in the high half.
    pub const VERDICT: usize = 40;
    /// Events of each kind in these ticks: `ticks << 16 | events`.
    pub const BUDGETS: usize = 41;
    /// The five words of the packet's [`super::Tuple`] as it came.
    pub const TUPLE: usize = 44;
    /// Length of the IP packet and, in the second half, TCP flags.
    pub const PACKET: usize = 49;

    /// Value of [`ENDPOINT`], above all numbers.
    pub const CHOSEN: u64 = 1 << 32;
    /// Bit of [`SERVICE`].
    pub const REPLY: u64 = 1 << 32;
}

const _: () = {
    assert!(size_of::<Record>() == 64 && align_of::<Record>() == 8);
    assert!(size_of::<Tuple>() == 40 && size_of::<Connection>() == 128);
    assert!(size_of::<Translation>() == 40 && size_of::<Claims>() == 64);
    assert!(size_of::<Hop>() == 20 && size_of::<EntryKey>() == 24);
    assert!(size_of::<Endpoint>() == 64 && size_of::<FlowBucket>() == 64);
    assert!(size_of::<EndpointHop>() == 24);
};
