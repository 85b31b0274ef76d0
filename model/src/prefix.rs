//! Address prefixes: an IPv4 or IPv6 network with the number of bits that count.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Serialize, Serializer};

/// The addresses that share their first bits; written `203.0.113.0/24`.
///
/// Invariant: the bits behind the length are zero, and no IPv6 prefix lies within the addresses
/// that stand for IPv4 (`::ffff:0:0/96`, RFC 4291 section 2.5.5.2). Ordered by family, address and
/// length, so that a prefix stands before those within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    network: IpAddr,
    length: u8,
}

/// Tells why an address and a length are no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrefix {
    /// The length is greater than that of an address.
    #[error("has a length above {most}")]
    Length {
        /// The greatest one.
        most: u8,
    },
    /// Bits behind the length are set.
    #[error("has bits set behind its length")]
    HostBits {
        /// The prefix that the address is in.
        meant: Prefix,
    },
    /// An IPv6 prefix of IPv4 addresses.
    #[error("is an IPv4 prefix written as IPv6")]
    Mapped,
}

impl Prefix {
    /// Makes a prefix.
    ///
    /// # Errors
    ///
    /// The length does not fit, bits behind it are set, or it stands for IPv4 addresses in IPv6.
    pub fn new(network: IpAddr, length: u8) -> Result<Self, InvalidPrefix> {
        let most = bits(network);
        if length > most {
            return Err(InvalidPrefix::Length { most });
        }
        if let IpAddr::V6(v6) = network
            && length >= 96
            && v6.to_ipv4_mapped().is_some()
        {
            return Err(InvalidPrefix::Mapped);
        }
        let meant = Self { network: cut(network, length), length };
        if meant.network == network { Ok(meant) } else { Err(InvalidPrefix::HostBits { meant }) }
    }

    /// Makes the prefix of one address.
    ///
    /// # Errors
    ///
    /// It stands for an IPv4 address in IPv6.
    pub fn of(address: IpAddr) -> Result<Self, InvalidPrefix> {
        Self::new(address, bits(address))
    }

    /// Returns the first address.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// Returns how many bits count.
    #[must_use]
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Tells whether it is an IPv4 prefix.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.network.is_ipv4()
    }

    /// Tells whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && cut(address, self.length) == self.network
    }

    /// Tells whether all addresses of another prefix are in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.length <= other.length && self.contains(other.network)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Sets the bits behind a length to zero.
pub(crate) fn cut(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Prefixes of which none is within another, in order: what a list of them says.
///
/// Invariant: sorted, and disjoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Prefixes(Vec<Prefix>);

impl Prefixes {
    /// Puts prefixes in order, without those that are within others.
    #[must_use]
    pub fn new(mut all: Vec<Prefix>) -> Self {
        all.sort_unstable();
        // Those within a prefix come right after it.
        all.dedup_by(|next, kept| kept.covers(next));
        Self(all)
    }

    /// Returns them in order: IPv4 first.
    #[must_use]
    pub fn as_slice(&self) -> &[Prefix] {
        &self.0
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns those of IPv4 and those of IPv6.
    #[must_use]
    pub fn by_family(&self) -> (&[Prefix], &[Prefix]) {
        self.0.split_at(self.0.partition_point(Prefix::is_ipv4))
    }

    /// Tells whether one of them has an address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let after = self.0.partition_point(|prefix| prefix.network <= address);
        self.0[..after].last().is_some_and(|prefix| prefix.contains(address))
    }
}
