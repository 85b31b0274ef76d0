//! Records of a filter that both families of addresses share.

use super::{
    RULES_MAX,
    rates::Rate,
    v4::Node,
    v6::{Bucket, Cuts, Keys, Leaf, Table},
};
use crate::layout::{Layout, layouts};

/// What the rules look at, in [`Header::flags`].
pub mod flag {
    /// Sources.
    pub const SOURCES: u8 = 1;
    /// Destinations.
    pub const DESTINATIONS: u8 = 2;
    /// Ports.
    pub const PORTS: u8 = 4;
}

layouts!(Header, Numbers, Words, Entries, Classes, Halves);
layouts!(Rate, Node, Table, Cuts, Bucket, Keys, Leaf);

/// The first record of a front.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// [`super::MAGIC`].
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
    /// Rules for TCP packets to ports that no rule names.
    pub tcp: u64,
    /// Rules for UDP packets to ports that no rule names.
    pub udp: u64,
    /// Rules for packets without a known port: other protocols, fragments, options.
    pub other: u64,
    /// Rules that sources in no set fit.
    pub unlisted_sources: u64,
    /// Rules that destinations in no set fit.
    pub unlisted_destinations: u64,
}

/// The number of each rule.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// By the rule's place.
    pub numbers: [u8; RULES_MAX],
}

/// Words by a number, or 512 bits by one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// By the number's low bits.
    pub words: [u64; 8],
}

/// Entries of the /24s of an IPv4 /16, see [`super::v4`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// In order.
    pub entries: [u32; 16],
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
