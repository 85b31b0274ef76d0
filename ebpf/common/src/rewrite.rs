//! Turns a parsed frame into what its connection says: addresses, ports, checksums, hop limit and
//! Ethernet addresses.
//!
//! All checksum work is one precomputed difference per connection ([`translation`]), so a packet
//! costs the same for IPv4 and IPv6.

use crate::{
    checksum::{Difference, apply, apply_udp},
    layout::{Hop, TCP, Translation, Tuple},
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
pub const fn translated(to: &Translation, protocol: u8) -> Tuple {
    Tuple {
        source: to.source,
        destination: to.destination,
        source_port_be: to.source_port_be,
        destination_port_be: to.destination_port_be,
        protocol,
        padding: 0,
        padding_end: 0,
    }
}

/// Makes the translation of `from` to `to`.
#[inline(always)]
#[must_use]
pub const fn translation(from: &Tuple, to: &Tuple) -> Translation {
    let addresses = Difference::new()
        .replace4(&from.source.words, &to.source.words)
        .replace4(&from.destination.words, &to.destination.words);
    let transport = addresses
        .replace(from.source_port_be as u32, to.source_port_be as u32)
        .replace(from.destination_port_be as u32, to.destination_port_be as u32);
    // The words that IPv4 addresses share in mapped form add up to zero: one difference serves
    // the IPv4 header and both pseudo headers.
    Translation {
        source: to.source,
        destination: to.destination,
        source_port_be: to.source_port_be,
        destination_port_be: to.destination_port_be,
        transport_delta: transport.fold(),
        header_delta: addresses.fold(),
    }
}

/// Rewrites the frame at `start..end` into what it becomes, for the next hop.
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
    to: &Translation,
    hop: &Hop,
) -> Result<(), Reason> {
    let ip = start + ETHERNET;
    if packet.v6 {
        if ip + IPV6 + UDP_HEADER > end {
            return Err(Reason::Malformed);
        }
        // SAFETY: the comparison above.
        unsafe {
            write(ip + 7, packet.hop_limit - 1);
            write_all(ip + 8, &to.source.words);
            write_all(ip + 24, &to.destination.words);
            transport(ip + IPV6, end, packet, to)?;
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
            let hops = Difference::new().replace(old as u32, new as u32).fold();
            let checksum = read::<u16>(ip + 10);
            write(ip + 10, apply(apply(checksum, to.header_delta), hops));
            write(ip + 12, to.source.words[3]);
            write(ip + 16, to.destination.words[3]);
            transport(ip + IPV4, end, packet, to)?;
        }
    }
    // SAFETY: the comparisons above.
    unsafe {
        write_all(start, &hop.destination);
        write_all(start + 6, &hop.source);
    }
    Ok(())
}

#[inline(always)]
unsafe fn transport(
    at: usize,
    end: usize,
    packet: &Packet,
    to: &Translation,
) -> Result<(), Reason> {
    if packet.tuple.protocol == TCP {
        if at + TCP_HEADER > end {
            return Err(Reason::Malformed);
        }
        // SAFETY: the comparison above.
        unsafe {
            let checksum = read::<u16>(at + TCP_CHECKSUM);
            write(at + TCP_CHECKSUM, apply(checksum, to.transport_delta));
        }
    } else if packet.has_checksum {
        // SAFETY: the caller has compared the UDP header with the end.
        unsafe {
            let checksum = read::<u16>(at + UDP_CHECKSUM);
            write(at + UDP_CHECKSUM, apply_udp(checksum, to.transport_delta));
        }
    }
    // SAFETY: as above; both headers are at least UDP_HEADER long.
    unsafe {
        write(at, to.source_port_be);
        write(at + 2, to.destination_port_be);
    }
    Ok(())
}
