//! Outer headers: an IP tunnel (RFC 2003, RFC 2473) and Generic UDP Encapsulation, variant 1, which
//! is IP directly in UDP (draft-ietf-intarea-gue section 3.2).
//!
//! The outer traffic class is the inner one, ECN included (RFC 6040 section 4.1, normal mode).
//! The outer IPv4 header forbids fragmentation, so its identification is zero (RFC 6864 section 4).

use crate::{
    checksum::Difference,
    layout::{Address, GUE_PORT, Hop, UDP},
    parse::{ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4, IPV6, Packet, UDP_HEADER},
    rewrite::{write, write_all},
    verdict::Reason,
};

/// IP protocol number of IPv4 in IP.
const IPV4_IN_IP: u8 = 4;
/// IP protocol number of IPv6 in IP.
const IPV6_IN_IP: u8 = 41;
/// TTL of outer headers: the value recommended for new datagrams (RFC 1700).
const OUTER_TTL: u8 = 64;
/// Don't-fragment bit of IPv4.
const DONT_FRAGMENT: u16 = 0x4000u16.to_be();
/// First of the source ports that flows are spread over (RFC 6335 section 6, dynamic ports).
const GUE_SOURCE_FIRST: u16 = 49_152;

/// Returns how many bytes a tunnel adds.
#[inline(always)]
#[must_use]
pub const fn overhead(v6: bool, gue: bool) -> usize {
    let ip = if v6 { IPV6 } else { IPV4 };
    if gue { ip + UDP_HEADER } else { ip }
}

/// Where a tunnel begins and ends.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// The node.
    pub source: &'a Address,
    /// The endpoint.
    pub destination: &'a Address,
}

/// Writes the Ethernet header: the addresses, and the type when the IP version is given.
///
/// # Errors
/// Returns [`Reason::Malformed`] when the frame is shorter than that.
///
/// # Safety
/// `start..end` must be writable memory.
#[inline(always)]
pub unsafe fn write_ethernet(
    start: usize,
    end: usize,
    hop: &Hop,
    v6: Option<bool>,
) -> Result<(), Reason> {
    if start + ETHERNET > end {
        return Err(Reason::Malformed);
    }
    // SAFETY: the comparison above.
    unsafe {
        write_all(start, &hop.destination);
        write_all(start + 6, &hop.source);
        if let Some(v6) = v6 {
            write(start + 12, if v6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 });
        }
    }
    Ok(())
}

/// Writes the outer headers at `at`, in front of the packet.
///
/// # Safety
/// [`overhead`] bytes at `at` must be within the frame, and the frame writable.
#[inline(always)]
pub unsafe fn write_outer<const V6: bool, const GUE: bool>(
    at: usize,
    packet: &Packet,
    ends: Ends<'_>,
    flow_hash: u64,
) {
    // SAFETY: the caller's.
    unsafe {
        if V6 {
            write_v6(at, packet, ends, GUE);
        } else {
            write_v4(at, packet, ends, GUE);
        }
        if GUE {
            let ip = if V6 { IPV6 } else { IPV4 };
            let port = GUE_SOURCE_FIRST | (flow_hash >> 48) as u16 >> 2;
            write(at + ip, port.to_be());
            write(at + ip + 2, GUE_PORT.to_be());
            write(at + ip + 4, (packet.length + UDP_HEADER as u16).to_be());
            // No checksum: the inner packet has its own (RFC 6935 and 6936 for IPv6).
            write(at + ip + 6, 0u16);
        }
    }
}

#[inline(always)]
unsafe fn write_v4(at: usize, packet: &Packet, ends: Ends<'_>, gue: bool) {
    let length = packet.length + overhead(false, gue) as u16;
    let protocol = if gue { UDP } else { IPV4_IN_IP };
    let first = u16::from_ne_bytes([0x45, packet.traffic_class]);
    let ttl = u16::from_ne_bytes([OUTER_TTL, protocol]);
    let (source, destination) = (ends.source.words[3], ends.destination.words[3]);
    let sum = Difference::sum_of(&[
        first as u32,
        length.to_be() as u32,
        DONT_FRAGMENT as u32,
        ttl as u32,
        source,
        destination,
    ]);
    // SAFETY: the caller's.
    unsafe {
        write(at, first);
        write(at + 2, length.to_be());
        write(at + 4, 0u16);
        write(at + 6, DONT_FRAGMENT);
        write(at + 8, ttl);
        write(at + 10, !sum);
        write(at + 12, source);
        write(at + 16, destination);
    }
}

#[inline(always)]
unsafe fn write_v6(at: usize, packet: &Packet, ends: Ends<'_>, gue: bool) {
    let payload = packet.length + if gue { UDP_HEADER as u16 } else { 0 };
    let protocol = if gue { UDP } else { IPV6_IN_IP };
    // SAFETY: the caller's.
    unsafe {
        write(at, 0x60 | packet.traffic_class >> 4);
        write(at + 1, packet.traffic_class << 4);
        write(at + 2, 0u16);
        write(at + 4, payload.to_be());
        write(at + 6, protocol);
        write(at + 7, OUTER_TTL);
        write_all(at + 8, &ends.source.words);
        write_all(at + 24, &ends.destination.words);
    }
}
