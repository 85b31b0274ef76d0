//! The records of a configuration.

use super::Address;
use crate::qos::Treatment;

/// Value of [`Header::magic`].
pub const MAGIC: u32 = u32::from_le_bytes(*b"MPL4");
/// Record of a configuration at which the [`PortsRecord`]s of all ports begin.
pub const PORTS_START: u32 = 1;
/// Ports in one [`PortsRecord`].
pub const PORTS_PER_RECORD: u32 = 512;
/// Maglev entries in one [`MaglevRecord`].
pub const MAGLEV_PER_RECORD: u32 = 32;

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

/// Record 0 of [`crate::layout::CONFIG_MAP`].
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

/// When SYNs are answered by cookies: [`Entry::cookies`].
pub mod cookies {
    /// Never.
    pub const NEVER: u8 = 0;
    /// Always.
    pub const ALWAYS: u8 = 1;
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
    /// [`crate::layout::TCP`], [`crate::layout::UDP`] or zero.
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
    /// One of [`cookies`]; for TCP with full NAT.
    pub cookies: u8,
    /// Zero.
    pub padding: u8,
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
    /// Number of its [`crate::layout::Endpoint`]; 0 when none was left.
    pub number: u16,
    /// Zero.
    pub padding: [u16; 22],
}

/// A piece of a Maglev table: numbers of [`crate::layout::Endpoint`]s, or with full NAT of
/// [`Backend`]s within the pool.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaglevRecord {
    /// The numbers.
    pub backends: [u16; MAGLEV_PER_RECORD as usize],
}
