//! The packet filter's tables, and the decision on a packet.
//!
//! A filter has at most 64 rules. Each property of a packet (source, destination, protocol and
//! port) leads to a word with one bit for each rule that it fits; the lowest bit that all of them
//! have in common is the first rule that fits (the bit vectors of Lakshman and Stiliadis, "High-speed
//! policy-based packet forwarding using efficient multi-dimensional range matching", SIGCOMM 1998).
//! An address leads to a *class*, the addresses that are in the same sets of prefixes, and a class
//! to two words: one as a source, one as a destination.
//!
//! ```text
//! IPv4   first 16 bits ─▶ class, or node of a /16 ─▶ class, or entry ─▶ class, or node of a /24 ─▶ …
//! IPv6   a tree of the borders between classes, four to a record, at most eight records deep
//! ```
//! Everything lies in 64-byte records: those of the *front*, which is replaced as a whole and so
//! puts a filter in force, and those of the *arena*, which a front refers to by number and which do
//! not change while one does.

mod classes;
pub mod rates;

use self::{classes::class, rates::Rate};
use crate::layout::{Address, Layout, TCP, UDP, layouts};

/// Array of maps: the front in slot 0, the arena in chunks behind it. Each is an array of
/// [`CHUNK_RECORDS`] records; slots of the arena are filled as they are needed.
pub const FILTER_MAP: &str = "mp_filter_v2";
/// Rules of all filters together.
pub const RULES_MAX: usize = 64;
/// Numbers that rules keep their counters by: twice the rules, so that those of a new filter need
/// not be those of the old one.
pub const RULE_NUMBERS: usize = 2 * RULES_MAX;
/// Records of the front and of each chunk of the arena: 4 MiB. All have the same length, which
/// lets the kernel inline their lookup.
pub const CHUNK_RECORDS: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 16;
/// Chunks that IPv4 may take: 256 MiB. A million prefixes that lie as badly as they can need 15
/// for the /16s and 16 for the /24s, or 69 for half a million /24s of more than two classes each; while a
/// change of all of them is made, the old and the new stand beside each other.
pub const CHUNKS_V4: u32 = 64;
/// Chunks of one IPv6 tree of 262,144 borders: 81,926 records of borders and 8,193 of classes.
pub const CHUNKS_V6: u32 = 2;
/// Chunks of one bank: the IPv4 arena and two IPv6 trees, the one in force and the next.
pub const BANK_CHUNKS: u32 = CHUNKS_V4 + 2 * CHUNKS_V6;
/// Banks: a process begins in the one that the process before it has not used.
pub const BANKS: u32 = 2;
/// Slots of the map.
pub const FILTER_SLOTS: usize = 1 + (BANKS * BANK_CHUNKS) as usize;
/// `BPF_F_MMAPABLE` (include/uapi/linux/bpf.h): user space writes records through mappings.
pub const FILTER_FLAGS: usize = 1 << 10;

/// Value of [`Header::magic`].
pub const MAGIC: u16 = u16::from_le_bytes(*b"F2");
/// Classes of addresses.
pub const CLASSES_MAX: usize = 16_384;
/// Classes of ports: each of 64 rules with 32 ranges begins and ends two at most.
pub const PORT_CLASSES_MAX: usize = 8_192;
/// Levels of the IPv6 tree: 5^8 leaves are more than a tree of 262,144 borders has.
pub const DEPTH_MAX: usize = 8;
/// Borders in a record of the IPv6 tree.
pub const KEYS: usize = 4;
/// An entry of a table that stands for a record of the arena; a class otherwise.
pub const REFERENCE: u32 = 1 << 31;

/// Places of the front's tables, in records.
pub mod front {
    /// The [`super::Header`].
    pub const HEADER: u32 = 0;
    /// The [`super::Tree`].
    pub const TREE: u32 = 1;
    /// The [`super::Numbers`].
    pub const NUMBERS: u32 = 2;
    /// Entries by the first 16 bits of an IPv4 address, in [`super::Entries`].
    pub const FIRST: u32 = 16;
    /// Rules by class, in [`super::Classes`].
    pub const CLASSES: u32 = FIRST + 65_536 / 16;
    /// Classes of TCP ports, in [`super::Halves`].
    pub const TCP_PORTS: u32 = CLASSES + super::CLASSES_MAX as u32 / 4;
    /// Classes of UDP ports.
    pub const UDP_PORTS: u32 = TCP_PORTS + 65_536 / 32;
    /// Rules by class of port, in [`super::Masks`].
    pub const PORT_MASKS: u32 = UDP_PORTS + 65_536 / 32;
    /// The [`super::Rate`] of each rule, by its place.
    pub const RATES: u32 = PORT_MASKS + super::PORT_CLASSES_MAX as u32 / 8;
    /// Records in all.
    pub const LENGTH: u32 = RATES + super::RULES_MAX as u32;
}

/// What the rules look at, in [`Header::flags`].
pub mod flag {
    /// Sources.
    pub const SOURCES: u8 = 1;
    /// Destinations.
    pub const DESTINATIONS: u8 = 2;
    /// Ports.
    pub const PORTS: u8 = 4;
}

layouts!(Header, Tree, Numbers, Entries, Node, Classes, Halves, Masks, Keys, Rate);

/// The first record of a front.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u16,
    /// [`flag`]s.
    pub flags: u8,
    /// The bank of the arena that this front refers to.
    pub bank: u8,
    /// A number that fronts before and after it do not have; 0 when unknown.
    pub serial: u32,
    /// Rules that may drop: all that do not allow.
    pub drops: u64,
    /// Rules with a rate.
    pub rates: u64,
    /// Rules for TCP packets.
    pub tcp: u64,
    /// Rules for UDP packets.
    pub udp: u64,
    /// Rules for packets without a known port: other protocols, fragments, options.
    pub other: u64,
    /// Rules that sources in no set fit.
    pub unlisted_sources: u64,
    /// Rules that destinations in no set fit.
    pub unlisted_destinations: u64,
}

/// Where the IPv6 tree is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Record at which each level begins, that of the root first.
    pub levels: [u32; DEPTH_MAX],
    /// Levels; 0 when all addresses are in class 0.
    pub depth: u32,
    /// Record at which the classes between the borders begin.
    pub classes: u32,
    /// Zero.
    pub padding: [u32; 6],
}

/// The number of each rule.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// By the rule's place.
    pub numbers: [u8; RULES_MAX],
}

/// Entries of a table of IPv4.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Classes, or records of the arena with [`REFERENCE`].
    pub entries: [u32; 16],
}

/// The 256 parts of an IPv4 /16 or /24 that are not all in the same class.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Which of the parts are not in the class that most are in.
    pub bits: [u64; 4],
    /// The class of most, and the class of all others when there is no table.
    pub classes: [u32; 2],
    /// Record at which the parts' table begins, 0 when there is none: of a /16, 16 [`Entries`]; of
    /// a /24, eight [`Halves`].
    pub table: u32,
    /// Zero.
    pub padding: [u32; 5],
}

/// The rules that the addresses of a class fit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassMasks {
    /// As sources.
    pub sources: u64,
    /// As destinations.
    pub destinations: u64,
}

/// Rules of classes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// By the class's low bits.
    pub classes: [ClassMasks; 4],
}

/// Classes in 16 bits each.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Halves {
    /// By the low bits of what they are the classes of.
    pub halves: [u16; 32],
}

/// Rules of classes of ports.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    /// By the class's low bits.
    pub masks: [u64; 8],
}

/// Borders between classes of IPv6 addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// In order, as high and low half; all ones where there is none.
    pub keys: [[u64; 2]; KEYS],
}

/// The records of a filter.
pub trait Tables {
    /// Returns a record of the front.
    fn front<T: Layout>(&self, index: u32) -> Option<&T>;
    /// Returns a record of the arena.
    fn arena<T: Layout>(&self, index: u32) -> Option<&T>;
}

/// Returns the slot of the map and the place there of a record of the arena.
#[inline(always)]
#[must_use]
pub const fn place(index: u32) -> (u32, u32) {
    (1 + (index >> CHUNK_BITS), index & (CHUNK_RECORDS as u32 - 1))
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Where the packet comes from.
    pub source: Address,
    /// Where it goes to.
    pub destination: Address,
    /// Whether it is IPv6.
    pub v6: bool,
    /// [`TCP`] or [`UDP`] when it is whole and has no options, else 0.
    pub protocol: u8,
    /// Destination port, 0 without a protocol.
    pub port_be: u16,
}

/// What rules say of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The rules whose rates it must be within, in order from the lowest bit.
    pub rates: u64,
    /// The bit of the rule that decides on what is within them; 0 when none does.
    pub rule: u64,
}

impl Header {
    /// Returns what the rules that fit a packet say of it.
    #[inline(always)]
    #[must_use]
    pub const fn decision(&self, fitting: u64) -> Decision {
        let deciding = fitting & !self.rates;
        let rule = deciding & deciding.wrapping_neg();
        // Those before it, or all where none decides.
        Decision { rates: fitting & self.rates & rule.wrapping_sub(1), rule }
    }
}

/// Returns the rules that fit, a bit each; `None` when the tables contradict themselves.
#[inline(always)]
pub fn fitting<T: Tables>(tables: &T, header: &Header, subject: &Subject) -> Option<u64> {
    let mut fitting = if subject.protocol == TCP {
        header.tcp
    } else if subject.protocol == UDP {
        header.udp
    } else {
        header.other
    };
    if header.flags & flag::PORTS != 0 && subject.protocol != 0 {
        let port = u32::from(u16::from_be(subject.port_be));
        let table = if subject.protocol == TCP { front::TCP_PORTS } else { front::UDP_PORTS };
        let class = half(tables.front(table + (port >> 5))?, port);
        let masks: &Masks = tables.front(front::PORT_MASKS + (class >> 3))?;
        // SAFETY: the mask keeps the place within the array.
        fitting &= unsafe { *masks.masks.as_ptr().add((class & 7) as usize) };
    }
    fitting &= if header.flags & flag::SOURCES != 0 {
        match class(tables, &subject.source, subject.v6)? {
            0 => header.unlisted_sources,
            class => masks(tables, class)?.sources,
        }
    } else {
        header.unlisted_sources
    };
    // Most packets fit no rule by here.
    if fitting != 0 {
        fitting &= if header.flags & flag::DESTINATIONS != 0 {
            match class(tables, &subject.destination, subject.v6)? {
                0 => header.unlisted_destinations,
                class => masks(tables, class)?.destinations,
            }
        } else {
            header.unlisted_destinations
        };
    }
    Some(fitting)
}

#[inline(always)]
fn masks<T: Tables>(tables: &T, class: u32) -> Option<&ClassMasks> {
    let classes: &Classes = tables.front(front::CLASSES + (class >> 2))?;
    // SAFETY: the mask keeps the place within the array.
    Some(unsafe { &*classes.classes.as_ptr().add((class & 3) as usize) })
}

#[inline(always)]
fn half(halves: &Halves, low: u32) -> u32 {
    // SAFETY: the mask keeps the place within the array.
    u32::from(unsafe { *halves.halves.as_ptr().add((low & 31) as usize) })
}

const _: () = assert!(front::LENGTH as usize <= CHUNK_RECORDS && RULE_NUMBERS <= 256);
