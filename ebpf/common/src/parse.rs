//! Parses a frame into what the packet path needs: Ethernet, IPv4 or IPv6, TCP or UDP.
//!
//! Does not follow VLAN tags (see [`crate::path`]), IP options, extension headers or fragments: those have a
//! [`Reason`]. Invariant: what [`parse`] returns lies within the frame, at the constant offsets of
//! this file, so that the verifier (and [`crate::rewrite`]) can check it by one comparison.

use crate::{
    layout::{Address, TCP, Tuple, UDP},
    verdict::Reason,
};

/// Length of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Length of an IPv4 header without options.
pub const IPV4: usize = 20;
/// Length of an IPv6 header without extensions.
pub const IPV6: usize = 40;
/// Length of a TCP header without options.
pub const TCP_HEADER: usize = 20;
/// Length of a UDP header.
pub const UDP_HEADER: usize = 8;
/// Offset of the checksum in a TCP header.
pub const TCP_CHECKSUM: usize = 16;
/// Offset of the checksum in a UDP header.
pub const UDP_CHECKSUM: usize = 6;

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86ddu16.to_be();
/// More-fragments bit and fragment offset of IPv4 (RFC 791 section 3.1).
const IPV4_FRAGMENT: u16 = 0x3fffu16.to_be();
/// Next headers of IPv6 that are extensions: hop-by-hop, routing, AH, destination options.
const IPV6_EXTENSIONS: [u8; 4] = [0, 43, 51, 60];
const IPV6_FRAGMENT: u8 = 44;

/// What the packet path needs of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The flow.
    pub tuple: Tuple,
    /// Length of the IP packet in bytes.
    pub length: u16,
    /// Traffic class: DSCP and ECN (RFC 2474, RFC 3168).
    pub traffic_class: u8,
    /// Hop limit or TTL.
    pub hop_limit: u8,
    /// TCP flags byte; 0 for UDP.
    pub tcp_flags: u8,
    /// Whether it is IPv6.
    pub v6: bool,
    /// Whether the transport header has a checksum.
    pub has_checksum: bool,
}

/// Reads a value at an offset of the frame.
///
/// # Safety
/// `at + size_of::<T>()` must be within the frame.
#[inline(always)]
pub(crate) unsafe fn read<T: Copy>(at: usize) -> T {
    // SAFETY: the caller has compared `at` with the end of the frame. The BPF machine takes
    // loads from any address (the verifier sees to machines that do not); `read_unaligned` would
    // be compiled to single bytes there.
    unsafe {
        if cfg!(target_arch = "bpf") {
            (at as *const T).read_volatile()
        } else {
            (at as *const T).read_unaligned()
        }
    }
}

/// Reads the four words of an IPv6 address.
///
/// # Safety
/// `at + 16` must be within the frame.
#[inline(always)]
unsafe fn read_words(at: usize) -> [u32; 4] {
    // SAFETY: the caller's.
    unsafe { [read(at), read(at + 4), read(at + 8), read(at + 12)] }
}

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Returns the IP version of the packet in the frame at `start..end`.
///
/// # Errors
/// Returns why the packet path does not take the frame.
///
/// # Safety
/// `start..end` must be readable memory.
#[inline(always)]
pub unsafe fn family(start: usize, end: usize) -> Result<Family, Reason> {
    if start + ETHERNET > end {
        return Err(Reason::Malformed);
    }
    // SAFETY: the comparison above.
    match unsafe { read::<u16>(start + 12) } {
        ETHERTYPE_IPV4 => Ok(Family::V4),
        ETHERTYPE_IPV6 => Ok(Family::V6),
        _ => Err(Reason::NotIp),
    }
}

/// Parses the frame at `start..end`, of a [`family`].
///
/// # Errors
/// Returns why the packet path does not take the frame.
///
/// # Safety
/// `start..end` must be readable memory.
#[inline(always)]
pub unsafe fn parse(start: usize, end: usize, family: Family) -> Result<Packet, Reason> {
    // SAFETY: the caller's.
    unsafe {
        match family {
            Family::V4 => parse_v4(start, end),
            Family::V6 => parse_v6(start, end),
        }
    }
}

/// Returns source and destination of the IP packet in the frame at `start..end`, and whether it is
/// IPv6; also where [`parse`] has a [`Reason`] to go no further.
///
/// # Safety
/// `start..end` must be readable memory.
#[inline(always)]
#[must_use]
pub unsafe fn addresses(start: usize, end: usize) -> Option<(Address, Address, bool)> {
    let ip = start + ETHERNET;
    if ip + IPV4 > end {
        return None;
    }
    // SAFETY: the comparison above.
    let ethertype = unsafe { read::<u16>(start + 12) };
    if ethertype == ETHERTYPE_IPV4 {
        // SAFETY: the comparison above.
        let (source, destination) = unsafe { (read(ip + 12), read(ip + 16)) };
        return Some((Address::v4(source), Address::v4(destination), false));
    }
    if ethertype != ETHERTYPE_IPV6 || ip + IPV6 > end {
        return None;
    }
    // SAFETY: the comparison above.
    let (source, destination) = unsafe { (read_words(ip + 8), read_words(ip + 24)) };
    Some((Address { words: source }, Address { words: destination }, true))
}

#[inline(always)]
unsafe fn parse_v4(start: usize, end: usize) -> Result<Packet, Reason> {
    let ip = start + ETHERNET;
    if ip + IPV4 > end {
        return Err(Reason::Malformed);
    }
    // SAFETY: the comparison above covers every offset below IPV4.
    let (version, traffic_class, length, fragment, hop_limit, protocol, source, destination) = unsafe {
        (
            read::<u8>(ip),
            read::<u8>(ip + 1),
            u16::from_be(read(ip + 2)),
            read::<u16>(ip + 6),
            read::<u8>(ip + 8),
            read::<u8>(ip + 9),
            read::<u32>(ip + 12),
            read::<u32>(ip + 16),
        )
    };
    if version >> 4 != 4 || version & 0x0f < 5 {
        return Err(Reason::Malformed);
    }
    if protocol != TCP && protocol != UDP {
        return Err(Reason::NotTransport);
    }
    if version & 0x0f > 5 {
        return Err(Reason::IpOptions);
    }
    if fragment & IPV4_FRAGMENT != 0 {
        return Err(Reason::Fragment);
    }
    let addresses = (Address::v4(source), Address::v4(destination));
    // SAFETY: the caller's; the transport header is checked there.
    unsafe {
        transport(ip, IPV4, end, length, (traffic_class, hop_limit), protocol, addresses, false)
    }
}

#[inline(always)]
unsafe fn parse_v6(start: usize, end: usize) -> Result<Packet, Reason> {
    let ip = start + ETHERNET;
    if ip + IPV6 > end {
        return Err(Reason::Malformed);
    }
    // SAFETY: the comparison above covers every offset below IPV6.
    let (version, class_low, payload, protocol, hop_limit, source, destination) = unsafe {
        (
            read::<u8>(ip),
            read::<u8>(ip + 1),
            u16::from_be(read(ip + 4)),
            read::<u8>(ip + 6),
            read::<u8>(ip + 7),
            Address { words: read_words(ip + 8) },
            Address { words: read_words(ip + 24) },
        )
    };
    if version >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    if protocol != TCP && protocol != UDP {
        return Err(if protocol == IPV6_FRAGMENT {
            Reason::Fragment
        } else if protocol == IPV6_EXTENSIONS[0]
            || protocol == IPV6_EXTENSIONS[1]
            || protocol == IPV6_EXTENSIONS[2]
            || protocol == IPV6_EXTENSIONS[3]
        {
            Reason::IpOptions
        } else {
            Reason::NotTransport
        });
    }
    // A mapped address on the wire would share keys with IPv4 (RFC 4942 section 2.2).
    if source.is_v4() || destination.is_v4() {
        return Err(Reason::Malformed);
    }
    // A jumbogram has a payload length of 0 and is refused as too short for its transport header.
    let length = payload.saturating_add(IPV6 as u16);
    let traffic_class = version << 4 | class_low >> 4;
    let addresses = (source, destination);
    // SAFETY: the caller's; the transport header is checked there.
    unsafe {
        transport(ip, IPV6, end, length, (traffic_class, hop_limit), protocol, addresses, true)
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "inlined; a struct would go through the BPF stack")]
unsafe fn transport(
    ip: usize,
    ip_header: usize,
    end: usize,
    length: u16,
    (traffic_class, hop_limit): (u8, u8),
    protocol: u8,
    (source, destination): (Address, Address),
    v6: bool,
) -> Result<Packet, Reason> {
    let at = ip + ip_header;
    let (tcp_flags, has_checksum, header) = if protocol == TCP {
        if at + TCP_HEADER > end {
            return Err(Reason::Malformed);
        }
        // SAFETY: the comparison above.
        (unsafe { read::<u8>(at + 13) }, true, TCP_HEADER)
    } else {
        if at + UDP_HEADER > end {
            return Err(Reason::Malformed);
        }
        // SAFETY: the comparison above.
        (0, unsafe { read::<u16>(at + UDP_CHECKSUM) } != 0, UDP_HEADER)
    };
    // As a difference of numbers: from pointers that grow by a variable the compiler would learn
    // what the comparisons above tell the verifier, and leave those out.
    if (length as usize) < ip_header + header || length as usize > end - ip {
        return Err(Reason::Malformed);
    }
    // SAFETY: both headers are at least UDP_HEADER long.
    let (source_port_be, destination_port_be) = unsafe { (read::<u16>(at), read::<u16>(at + 2)) };
    let tuple = Tuple {
        source,
        destination,
        source_port_be,
        destination_port_be,
        protocol,
        padding: 0,
        padding_end: 0,
    };
    Ok(Packet { tuple, length, traffic_class, hop_limit, tcp_flags, v6, has_checksum })
}
