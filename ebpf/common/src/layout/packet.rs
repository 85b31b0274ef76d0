//! What a packet is known by, and where it goes.

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
