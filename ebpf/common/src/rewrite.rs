//! Turns a parsed frame into what its connection says: addresses, ports, checksums, hop limit and
//! Ethernet addresses.
//!
//! All checksum work is one precomputed difference per connection ([`translation`]), so a packet
//! costs the same for IPv4 and IPv6.

use crate::{
    checksum::{Difference, add, apply, apply_udp},
    layout::{Connection, TCP, Tuple},
    parse::{
        ETHERNET, IPV4, IPV6, Packet, TCP_CHECKSUM, TCP_HEADER, UDP_CHECKSUM, UDP_HEADER, read,
    },
    verdict::Reason,
};

/// Writes a value at an offset of the frame.
///
/// # Safety
/// `at + size_of::<T>()` must be within the frame, and the frame writable.
#[inline(always)]
pub(crate) unsafe fn write<T: Copy>(at: usize, value: T) {
    // SAFETY: the caller has compared `at` with the end of the frame; see `read` for BPF.
    unsafe {
        if cfg!(target_arch = "bpf") {
            (at as *mut T).write_volatile(value);
        } else {
            (at as *mut T).write_unaligned(value);
        }
    }
}

/// Writes consecutive words.
///
/// # Safety
/// As for [`write()`], for all of them.
#[inline(always)]
pub(crate) unsafe fn write_all<T: Copy, const N: usize>(at: usize, words: &[T; N]) {
    let mut n = 0;
    while n < N {
        // SAFETY: the caller's; `n` is below `N`.
        unsafe { write(at + n * size_of::<T>(), *words.as_ptr().add(n)) };
        n += 1;
    }
}

/// Returns the tuple of the packets that come back when `tuple` was sent.
#[inline(always)]
#[must_use]
pub const fn reversed(tuple: &Tuple) -> Tuple {
    Tuple {
        source: tuple.destination,
        destination: tuple.source,
        source_port_be: tuple.destination_port_be,
        destination_port_be: tuple.source_port_be,
        protocol: tuple.protocol,
        padding: 0,
        padding_end: 0,
    }
}

/// Returns the tuple that packets of a connection's direction have after the rewrite.
#[inline(always)]
#[must_use]
pub const fn translated(connection: &Connection, protocol: u8) -> Tuple {
    Tuple {
        source: connection.source,
        destination: connection.destination,
        source_port_be: connection.source_port_be,
        destination_port_be: connection.destination_port_be,
        protocol,
        padding: 0,
        padding_end: 0,
    }
}

/// Fills a direction of a connection that makes `to` out of `from`; the rest is zero.
#[inline(always)]
#[must_use]
pub fn translation(from: &Tuple, to: &Tuple) -> Connection {
    let addresses = Difference::new()
        .replace4(&from.source.words, &to.source.words)
        .replace4(&from.destination.words, &to.destination.words);
    let transport = addresses
        .replace(from.source_port_be as u32, to.source_port_be as u32)
        .replace(from.destination_port_be as u32, to.destination_port_be as u32);
    // The words that IPv4 addresses share in mapped form add up to zero: one difference serves
    // the IPv4 header and both pseudo headers.
    Connection {
        source: to.source,
        destination: to.destination,
        source_port_be: to.source_port_be,
        destination_port_be: to.destination_port_be,
        transport_delta: transport.fold(),
        header_delta: addresses.fold(),
        ..Connection::default()
    }
}

/// Gives a direction made for source port 0 its real source port.
#[inline(always)]
pub const fn set_source_port(connection: &mut Connection, port_be: u16) {
    let later = Difference::new().replace(0, port_be as u32).fold();
    connection.source_port_be = port_be;
    connection.transport_delta = add(connection.transport_delta, later);
}

/// Takes the transport difference of a direction made for packets to port 0, and returns that for
/// packets to the real port.
#[inline(always)]
#[must_use]
pub const fn delta_for_port(transport_delta: u16, port_be: u16) -> u16 {
    add(transport_delta, Difference::new().replace(port_be as u32, 0).fold())
}

/// Rewrites the frame at `start..end` for its connection.
///
/// # Errors
/// Returns [`Reason::Malformed`] when the frame is not the one that `packet` was parsed from.
///
/// # Safety
/// `start..end` must be writable memory.
#[inline(always)]
pub unsafe fn rewrite(
    start: usize,
    end: usize,
    packet: &Packet,
    connection: &Connection,
) -> Result<(), Reason> {
    let ip = start + ETHERNET;
    if packet.v6 {
        if ip + IPV6 + UDP_HEADER > end {
            return Err(Reason::Malformed);
        }
        // SAFETY: the comparison above.
        unsafe {
            write(ip + 7, packet.hop_limit - 1);
            write_all(ip + 8, &connection.source.words);
            write_all(ip + 24, &connection.destination.words);
            transport(ip + IPV6, end, packet, connection)?;
        }
    } else {
        if ip + IPV4 + UDP_HEADER > end {
            return Err(Reason::Malformed);
        }
        // SAFETY: the comparison above.
        unsafe {
            // The TTL shares a word with the protocol (RFC 791 section 3.1).
            let old = read::<u16>(ip + 8);
            write(ip + 8, packet.hop_limit - 1);
            let new = read::<u16>(ip + 8);
            let hop = Difference::new().replace(old as u32, new as u32).fold();
            let checksum = read::<u16>(ip + 10);
            write(ip + 10, apply(apply(checksum, connection.header_delta), hop));
            write(ip + 12, connection.source.words[3]);
            write(ip + 16, connection.destination.words[3]);
            transport(ip + IPV4, end, packet, connection)?;
        }
    }
    // SAFETY: the comparisons above.
    unsafe {
        write_all(start, &connection.hop.destination);
        write_all(start + 6, &connection.hop.source);
    }
    Ok(())
}

#[inline(always)]
unsafe fn transport(
    at: usize,
    end: usize,
    packet: &Packet,
    connection: &Connection,
) -> Result<(), Reason> {
    if packet.tuple.protocol == TCP {
        if at + TCP_HEADER > end {
            return Err(Reason::Malformed);
        }
        // SAFETY: the comparison above.
        unsafe {
            let checksum = read::<u16>(at + TCP_CHECKSUM);
            write(at + TCP_CHECKSUM, apply(checksum, connection.transport_delta));
        }
    } else if packet.has_checksum {
        // SAFETY: the caller has compared the UDP header with the end.
        unsafe {
            let checksum = read::<u16>(at + UDP_CHECKSUM);
            write(at + UDP_CHECKSUM, apply_udp(checksum, connection.transport_delta));
        }
    }
    // SAFETY: as above; both headers are at least UDP_HEADER long.
    unsafe {
        write(at, connection.source_port_be);
        write(at + 2, connection.destination_port_be);
    }
    Ok(())
}
