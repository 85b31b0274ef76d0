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
//! IPv4   bit of the /24 ─▶ class 0, or what the /16 has ─▶ class, or the /24's entry ─▶ …      (v4)
//! IPv6   bits for a few lengths of prefixes ─▶ class 0, or a table of prefixes ─▶ class, or …   (v6)
//! ```
//! Most addresses are in no prefix, class 0, and a bit that is not set says so: one cache line.
//!
//! Everything lies in 64-byte records: those of the *front*, which is replaced as a whole and so
//! puts a filter in force, and those of the *arena*, which a front refers to by number and which do
//! not change while one does.

pub mod rates;
mod records;
pub mod v4;
pub mod v6;

pub use self::records::{ClassMasks, Classes, Entries, Halves, Header, Numbers, Words, flag};
use crate::layout::{Address, Layout, TCP, UDP};

/// Array of maps: the front in slot 0, the arena in chunks behind it. Each is an array with one
/// value, [`CHUNK_RECORDS`] records, so that a packet looks it up once; slots of the arena are filled
/// as they are needed.
pub const FILTER_MAP: &str = "mp_filter_v3";
/// Rules of all filters together.
pub const RULES_MAX: usize = 64;
/// Numbers that rules keep their counters by: twice the rules, so that those of a new filter need
/// not be those of the old one.
pub const RULE_NUMBERS: usize = 2 * RULES_MAX;
/// Records of the front and of each chunk of the arena: 4 MiB. All have the same length, as maps in
/// one array of maps must.
pub const CHUNK_RECORDS: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 16;
/// Chunks that IPv4 may take: 256 MiB. A million prefixes that lie as badly as they can need 16 for
/// the entries of /24s and 16 for nodes, or 72 for half a million /24s of more than two classes each;
/// while a change of all of them is made, the old and the new stand beside each other.
pub const CHUNKS_V4: u32 = 64;
/// Chunks of one IPv6 table of 131,072 prefixes: one of buckets, three of trees with three records
/// for two prefixes, and what tells where they are.
pub const CHUNKS_V6: u32 = 5;
/// Chunks of one bank: the IPv4 arena and two IPv6 tables, the one in force and the next.
pub const BANK_CHUNKS: u32 = CHUNKS_V4 + 2 * CHUNKS_V6;
/// Banks: a process begins in the one that the process before it has not used.
pub const BANKS: u32 = 2;
/// Slots of the map.
pub const FILTER_SLOTS: usize = 1 + (BANKS * BANK_CHUNKS) as usize;
/// `BPF_F_MMAPABLE` (include/uapi/linux/bpf.h): user space writes records through mappings.
pub const FILTER_FLAGS: usize = 1 << 10;

/// Value of [`Header::magic`].
pub const MAGIC: u16 = u16::from_le_bytes(*b"F3");
/// Classes of addresses.
pub const CLASSES_MAX: usize = 16_384;
/// Classes of ports: each of 64 rules with 32 ranges begins and ends two at most.
pub const PORT_CLASSES_MAX: usize = 8_192;
/// An entry of a table that stands for a record of the arena; a class otherwise.
pub const REFERENCE: u32 = 1 << 31;

/// Places of the front's tables, in records.
pub mod front {
    use super::{CLASSES_MAX, PORT_CLASSES_MAX, RULES_MAX, v6::BITS_WORDS};

    /// The [`super::Header`].
    pub const HEADER: u32 = 0;
    /// The [`super::Numbers`].
    pub const NUMBERS: u32 = 1;
    /// The [`super::v6::Table`].
    pub const V6: u32 = 2;
    /// The lengths of IPv6 prefixes, in [`super::v6::Cuts`].
    pub const CUTS: u32 = 3;
    /// The [`super::rates::Rate`] of each rule, by its place.
    pub const RATES: u32 = 16;
    /// Rules by class, in [`super::Classes`].
    pub const CLASSES: u32 = RATES + RULES_MAX as u32;
    /// TCP ports that a rule names, a bit each, in [`super::Words`].
    pub const TCP_BITS: u32 = CLASSES + CLASSES_MAX as u32 / 4;
    /// UDP ports that a rule names.
    pub const UDP_BITS: u32 = TCP_BITS + 65_536 / 512;
    /// Classes of TCP ports, in [`super::Halves`].
    pub const TCP_PORTS: u32 = UDP_BITS + 65_536 / 512;
    /// Classes of UDP ports.
    pub const UDP_PORTS: u32 = TCP_PORTS + 65_536 / 32;
    /// Rules by class of port, in [`super::Words`].
    pub const PORT_MASKS: u32 = UDP_PORTS + 65_536 / 32;
    /// IPv4 /24s that are not wholly in class 0, a bit each, in [`super::Words`].
    pub const V4_BITS: u32 = PORT_MASKS + PORT_CLASSES_MAX as u32 / 8;
    /// What each IPv4 /16 has, a [`super::v4::Wide`] in a word, in [`super::Words`].
    pub const WIDE: u32 = V4_BITS + (1 << 24) / 512;
    /// IPv6 prefixes, three bits each, in [`super::Words`].
    pub const V6_BITS: u32 = WIDE + 65_536 / 8;
    /// Records in all.
    pub const LENGTH: u32 = V6_BITS + BITS_WORDS / 8;
}

/// The records of a filter.
pub trait Tables {
    /// Returns a record of the front.
    fn front<T: Layout>(&self, index: u32) -> Option<&T>;
    /// Returns a record of the arena.
    fn arena<T: Layout>(&self, index: u32) -> Option<&T>;

    /// Does what [`v6::find`] does. The kernel's is a function that the verifier checks by itself.
    #[inline(always)]
    fn find_v6(&self, at: u32, address: [u64; 2], from: u32) -> Option<u32>
    where
        Self: Sized,
    {
        v6::find(self, at, address, from)
    }
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
        let (bits, classes) = if subject.protocol == TCP {
            (front::TCP_BITS, front::TCP_PORTS)
        } else {
            (front::UDP_BITS, front::UDP_PORTS)
        };
        if word(tables, bits, port >> 6)? >> (port & 63) & 1 != 0 {
            let class = half(tables.front(classes + (port >> 5))?, port);
            fitting = word(tables, front::PORT_MASKS, class & (PORT_CLASSES_MAX as u32 - 1))?;
        }
    }
    // Most packets fit no rule by here, or by the next.
    if fitting == 0 {
        return Some(0);
    }
    fitting &= if header.flags & flag::SOURCES != 0 {
        match class(tables, &subject.source, subject.v6)? {
            0 => header.unlisted_sources,
            class => masks(tables, class)?.sources,
        }
    } else {
        header.unlisted_sources
    };
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

/// Returns the class of an address.
#[inline(always)]
fn class<T: Tables>(tables: &T, address: &Address, v6: bool) -> Option<u32> {
    if v6 { v6::class(tables, address) } else { v4::class(tables, u32::from_be(address.words[3])) }
}

#[inline(always)]
fn masks<T: Tables>(tables: &T, class: u32) -> Option<&ClassMasks> {
    let class = class & (CLASSES_MAX as u32 - 1);
    let classes: &Classes = tables.front(front::CLASSES + (class >> 2))?;
    // SAFETY: the mask keeps the place within the array.
    Some(unsafe { &*classes.classes.as_ptr().add((class & 3) as usize) })
}

/// Returns a word of the [`Words`] of the front from a record on.
#[inline(always)]
fn word<T: Tables>(tables: &T, start: u32, number: u32) -> Option<u64> {
    let words: &Words = tables.front(start + (number >> 3))?;
    // SAFETY: the mask keeps the place within the array.
    Some(unsafe { *words.words.as_ptr().add((number & 7) as usize) })
}

/// Returns one of the [`Halves`] of a record, by its low bits.
#[inline(always)]
fn half(halves: &Halves, low: u32) -> u32 {
    // SAFETY: the mask keeps the place within the array.
    u32::from(unsafe { *halves.halves.as_ptr().add((low & 31) as usize) })
}

const _: () = assert!(front::LENGTH as usize <= CHUNK_RECORDS && RULE_NUMBERS <= 256);
