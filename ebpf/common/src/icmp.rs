//! ICMP errors (RFC 792, RFC 4443): those about a flow, and the one that a packet is too big.
//!
//! An error quotes the packet that it is about, and goes to that packet's sender, as the packets of
//! the other direction do: the flow that it belongs to is the quoted one reversed. Quoted packets with options or extension headers are left to the kernel, as such packets are.

use crate::{
    checksum::{Difference, apply},
    layout::{Address, Hop, TCP, Translation, Tuple, UDP},
    parse::{ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Family, IPV4, IPV6, Packet, read},
    rewrite::{write, write_all},
    verdict::Reason,
};

/// IP protocol numbers.
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;
/// Length of an ICMP header.
pub const ICMP_HEADER: usize = 8;
/// Bytes of the transport header that every error quotes at least: the ports are among them.
const QUOTED_TRANSPORT: usize = 8;
/// Types of ICMP errors: destination unreachable, time exceeded, parameter problem (RFC 792).
const ERRORS_V4: [u8; 3] = [3, 11, 12];
/// Types of ICMPv6 errors, 1 to 4: as those, and packet too big (RFC 4443 section 2.1).
const ERROR_V6_LAST: u8 = 4;
/// Offset bits of IPv4's fragment field: the first fragment has the ports.
const FRAGMENT_OFFSET: u16 = 0x1fffu16.to_be();
/// Hop limit of messages: the value recommended for new datagrams (RFC 1700).
const HOPS: u8 = 64;
/// Bytes of a packet too big that are quoted: more than any receiver needs to know the flow, and
/// always there, since a smaller packet fits every link (RFC 791 section 3.2, 68 bytes).
pub const QUOTED: usize = 64;

/// Parses the ICMP error at `start..end` as a packet of the flow that it is about.
///
/// # Errors
/// [`Reason::NotTransport`] when it is no ICMP error, or not one about TCP or UDP; other reasons as
/// for other packets.
///
/// # Safety
/// `start..end` must be readable memory.
#[inline(always)]
pub unsafe fn parse_error(start: usize, end: usize, family: Family) -> Result<Packet, Reason> {
    // SAFETY: the caller's.
    unsafe {
        match family {
            Family::V4 => parse_v4(start, end),
            Family::V6 => parse_v6(start, end),
        }
    }
}

#[inline(always)]
unsafe fn parse_v4(start: usize, end: usize) -> Result<Packet, Reason> {
    const LEAST: usize = IPV4 + ICMP_HEADER + IPV4 + QUOTED_TRANSPORT;
    let ip = start + ETHERNET;
    if ip + LEAST > end {
        return Err(Reason::NotTransport);
    }
    let quoted = ip + IPV4 + ICMP_HEADER;
    // SAFETY: the comparison above covers every offset below LEAST.
    unsafe {
        let kind = read::<u8>(ip + IPV4);
        let is_error = kind == ERRORS_V4[0] || kind == ERRORS_V4[1] || kind == ERRORS_V4[2];
        if read::<u8>(ip) != 0x45 || read::<u8>(ip + 9) != ICMP || !is_error {
            return Err(Reason::NotTransport);
        }
        if read::<u8>(quoted) != 0x45 || read::<u16>(quoted + 6) & FRAGMENT_OFFSET != 0 {
            return Err(Reason::NotTransport);
        }
        let length = u16::from_be(read(ip + 2));
        if (length as usize) < LEAST || length as usize > end - ip {
            return Err(Reason::Malformed);
        }
        // An error goes to who sent the packet that it is about.
        let sender = read::<u32>(quoted + 12);
        if sender != read::<u32>(ip + 16) {
            return Err(Reason::NotTransport);
        }
        let addresses = (Address::v4(read(quoted + 16)), Address::v4(sender));
        let packet = Packet {
            tuple: Tuple::default(),
            length,
            traffic_class: read(ip + 1),
            hop_limit: read(ip + 8),
            tcp_flags: 0,
            v6: false,
            has_checksum: true,
        };
        about(packet, read(quoted + 9), quoted + IPV4, addresses)
    }
}

#[inline(always)]
unsafe fn parse_v6(start: usize, end: usize) -> Result<Packet, Reason> {
    const LEAST: usize = IPV6 + ICMP_HEADER + IPV6 + QUOTED_TRANSPORT;
    let ip = start + ETHERNET;
    if ip + LEAST > end {
        return Err(Reason::NotTransport);
    }
    let quoted = ip + IPV6 + ICMP_HEADER;
    // SAFETY: the comparison above covers every offset below LEAST.
    unsafe {
        let kind = read::<u8>(ip + IPV6);
        let (first, second) = (read::<u8>(ip), read::<u8>(ip + 1));
        let is_error = kind != 0 && kind <= ERROR_V6_LAST;
        if first >> 4 != 6 || read::<u8>(ip + 6) != ICMP_V6 || !is_error {
            return Err(Reason::NotTransport);
        }
        if read::<u8>(quoted) >> 4 != 6 {
            return Err(Reason::NotTransport);
        }
        let payload = u16::from_be(read(ip + 4));
        let length = payload.saturating_add(IPV6 as u16);
        if (length as usize) < LEAST || length as usize > end - ip {
            return Err(Reason::Malformed);
        }
        let sender = address(quoted + 8);
        if !sender.same(&address(ip + 24)) {
            return Err(Reason::NotTransport);
        }
        let packet = Packet {
            tuple: Tuple::default(),
            length,
            traffic_class: first << 4 | second >> 4,
            hop_limit: read(ip + 7),
            tcp_flags: 0,
            v6: true,
            has_checksum: true,
        };
        about(packet, read(quoted + 6), quoted + IPV6, (address(quoted + 24), sender))
    }
}

/// Rewrites an ICMP error for the connection of the flow that it is about, as [`parse_error`] gives
/// it: the error goes where the flow's packets go, and quotes what their receiver had sent.
///
/// A quoted transport checksum stays as it was: most errors quote too little to have it (RFC 5508
/// section 3.2 lets it be).
///
/// # Errors
/// Returns [`Reason::Malformed`] when the frame is not the one that `packet` was parsed from.
///
/// # Safety
/// `start..end` must be writable memory.
#[inline(always)]
pub unsafe fn rewrite_error<const V6: bool>(
    start: usize,
    end: usize,
    packet: &Packet,
    becomes: &Translation,
    hop: &Hop,
) -> Result<(), Reason> {
    let ip = start + ETHERNET;
    let icmp = ip + if V6 { IPV6 } else { IPV4 };
    let quoted = icmp + ICMP_HEADER;
    let transport = quoted + if V6 { IPV6 } else { IPV4 };
    if start + ETHERNET + const { headers(V6) + headers(V6) - ICMP_HEADER } + QUOTED_TRANSPORT > end
    {
        return Err(Reason::Malformed);
    }
    let (to, from) = (&becomes.destination, &becomes.source);
    let (old_to, old_from) = (&packet.tuple.destination, &packet.tuple.source);
    let ports = Difference::new()
        .replace(packet.tuple.source_port_be as u32, becomes.source_port_be as u32)
        .replace(packet.tuple.destination_port_be as u32, becomes.destination_port_be as u32);
    // SAFETY: the comparison above.
    unsafe {
        let difference = if V6 {
            let router = address(ip + 8);
            write(ip + 7, packet.hop_limit - 1);
            write_all(ip + 8, &from.words);
            write_all(ip + 24, &to.words);
            write_all(quoted + 8, &to.words);
            write_all(quoted + 24, &from.words);
            // The pseudo header, and the addresses that are quoted.
            ports
                .replace4(&router.words, &from.words)
                .replace4(&old_to.words, &to.words)
                .replace4(&old_to.words, &to.words)
                .replace4(&old_from.words, &from.words)
        } else {
            let ends = Difference::new().replace(old_to.words[3], to.words[3]);
            // The TTL shares a word with the protocol.
            let hops = read::<u16>(ip + 8);
            write(ip + 8, packet.hop_limit - 1);
            let header = ends
                .replace(read(ip + 12), from.words[3])
                .replace(u32::from(hops), u32::from(read::<u16>(ip + 8)));
            write(ip + 10, apply(read(ip + 10), header.fold()));
            write(ip + 12, from.words[3]);
            write(ip + 16, to.words[3]);
            let ends = ends.replace(old_from.words[3], from.words[3]);
            let old: u16 = read(quoted + 10);
            let new = apply(old, ends.fold());
            write(quoted + 10, new);
            write(quoted + 12, to.words[3]);
            write(quoted + 16, from.words[3]);
            ports
                .replace(old_to.words[3], to.words[3])
                .replace(old_from.words[3], from.words[3])
                .replace(u32::from(old), u32::from(new))
        };
        write(icmp + 2, apply(read(icmp + 2), difference.fold()));
        write(transport, becomes.destination_port_be);
        write(transport + 2, becomes.source_port_be);
        write_all(start, &hop.destination);
        write_all(start + 6, &hop.source);
    }
    Ok(())
}

/// Adds to the sequence number that an error quotes, of a TCP segment.
///
/// # Errors
/// Returns [`Reason::Malformed`] when the frame is too short for one.
///
/// # Safety
/// `start..end` must be writable memory.
#[inline(always)]
pub unsafe fn renumber_quoted<const V6: bool>(
    start: usize,
    end: usize,
    delta: u32,
) -> Result<(), Reason> {
    let icmp = start + ETHERNET + if V6 { IPV6 } else { IPV4 };
    let transport = icmp + ICMP_HEADER + if V6 { IPV6 } else { IPV4 };
    if transport + QUOTED_TRANSPORT > end {
        return Err(Reason::Malformed);
    }
    // SAFETY: the comparison above.
    unsafe {
        let old: u32 = read(transport + 4);
        let new = u32::from_be(old).wrapping_add(delta).to_be();
        write(transport + 4, new);
        let difference = Difference::new().replace(old, new).fold();
        write(icmp + 2, apply(read(icmp + 2), difference));
    }
    Ok(())
}

/// Completes a packet by the flow that the quoted one answers.
///
/// # Safety
/// [`QUOTED_TRANSPORT`] bytes at `transport` must be within the frame.
#[inline(always)]
unsafe fn about(
    mut packet: Packet,
    protocol: u8,
    transport: usize,
    (source, destination): (Address, Address),
) -> Result<Packet, Reason> {
    if protocol != TCP && protocol != UDP {
        return Err(Reason::NotTransport);
    }
    packet.tuple.source = source;
    packet.tuple.destination = destination;
    packet.tuple.protocol = protocol;
    // SAFETY: the caller's.
    unsafe {
        packet.tuple.source_port_be = read(transport + 2);
        packet.tuple.destination_port_be = read(transport);
    }
    Ok(packet)
}

/// Reads an IPv6 address.
///
/// # Safety
/// Sixteen bytes at `at` must be within the frame.
#[inline(always)]
unsafe fn address(at: usize) -> Address {
    // SAFETY: the caller's.
    unsafe { Address { words: [read(at), read(at + 4), read(at + 8), read(at + 12)] } }
}

/// Returns how many bytes the headers of an ICMP message take behind Ethernet's.
#[inline(always)]
#[must_use]
pub const fn headers(v6: bool) -> usize {
    let ip = if v6 { IPV6 } else { IPV4 };
    ip + ICMP_HEADER
}

/// Writes the message that a packet is larger than `mtu`, to its sender, in front of the first
/// [`QUOTED`] bytes of the packet: fragmentation needed (RFC 1191) or packet too big (RFC 4443
/// section 3.2).
///
/// `start` is where the message's Ethernet header comes; the packet's own lies [`headers`] behind.
///
/// # Safety
/// [`ETHERNET`], [`headers`] and [`QUOTED`] bytes must be within the frame, and the frame writable.
#[inline(always)]
pub unsafe fn write_too_big<const V6: bool>(start: usize, mtu: u16) {
    let ip = start + ETHERNET;
    let icmp = ip + if V6 { IPV6 } else { IPV4 };
    let quoted = icmp + ICMP_HEADER;
    // SAFETY: the caller's.
    unsafe {
        let old = start + headers(V6);
        let (destination, source): ([u16; 3], [u16; 3]) = (
            [read(old), read(old + 2), read(old + 4)],
            [read(old + 6), read(old + 8), read(old + 10)],
        );
        write_all(start, &source);
        write_all(start + 6, &destination);
        write(start + 12, if V6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 });
        let mut sum = 0u64;
        let mut word = 0;
        while word < QUOTED / 4 {
            sum += u64::from(read::<u32>(quoted + word * 4));
            word += 1;
        }
        let kind = if V6 { [2, 0] } else { [3, 4] };
        let first = u32::from(u16::from_ne_bytes(kind));
        let second = u32::from(mtu).to_be();
        sum += u64::from(first) + u64::from(second);
        if V6 {
            let (to, from) = (address(quoted + 8), address(quoted + 24));
            let payload = (ICMP_HEADER + QUOTED) as u16;
            sum += sum_of(&from) + sum_of(&to);
            sum += u64::from(u32::from(payload).to_be()) + u64::from(u32::from(ICMP_V6).to_be());
            write(ip, 0x60u8);
            write(ip + 1, 0u8);
            write(ip + 2, 0u16);
            write(ip + 4, payload.to_be());
            write(ip + 6, ICMP_V6);
            write(ip + 7, HOPS);
            write_all(ip + 8, &from.words);
            write_all(ip + 24, &to.words);
        } else {
            let (to, from) = (read::<u32>(quoted + 12), read::<u32>(quoted + 16));
            let length = ((IPV4 + ICMP_HEADER + QUOTED) as u16).to_be();
            let ttl = u16::from_ne_bytes([HOPS, ICMP]);
            let version = u16::from_ne_bytes([0x45, 0]);
            let header = [u32::from(version), u32::from(length), u32::from(ttl), from, to];
            write(ip, version);
            write(ip + 2, length);
            write(ip + 4, 0u32);
            write(ip + 8, ttl);
            write(ip + 10, !Difference::sum_of(&header));
            write(ip + 12, from);
            write(ip + 16, to);
        }
        write(icmp, first as u16);
        write(icmp + 2, !Difference::of(sum).fold());
        write(icmp + 4, second);
    }
}

/// Adds the words of an address.
#[inline(always)]
const fn sum_of(address: &Address) -> u64 {
    let words = &address.words;
    words[0] as u64 + words[1] as u64 + words[2] as u64 + words[3] as u64
}
