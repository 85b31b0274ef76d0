//! Connections that began by a SYN cookie: client and backend know the backend's octets by other
//! numbers.
//!
//! ```text
//! client                        node                       backend
//!                             WAITING ─── SYN n ──────────▶
//!       ◀── octet c, n + 1 ── JOINED  ◀── SYN-ACK b, n + 1
//!   ACK n + 1, c + 1 ─────────▶         ACK n + 1, b + 1 ─▶
//! ```
//! The backend's SYN-ACK becomes a segment to the client that opens the window and has an octet which
//! the client has already, in the place of the SYN. It answers that (RFC 9293 section 3.10.7.4), as it
//! does keep-alive segments (RFC 1122 section 4.2.3.6), or sends what it has to say; either is the
//! acknowledgement that the backend waits for, also of a client that waits for the backend to speak. A
//! SYN-ACK that comes again becomes the same again.
//!
//! From then on the backend's sequence numbers and the client's acknowledgement numbers differ by a
//! constant. Neither side has offered selective acknowledgements, whose numbers would too.

use super::{
    connection::{self, Found},
    kernel::Kernel,
    send::{self, Sent},
    task::Stop,
    too_big,
};
use crate::{
    checksum::{Difference, apply},
    cookie as cookies,
    layout::{Connection, Hop, TCP, splice},
    parse::{ETHERNET, IPV4, IPV6, Packet, TCP_CHECKSUM, TCP_HEADER, read},
    rewrite::{reversed, translated, write as write_at, write_all},
    segment::{Segment, Tail, frame_length, write_segment},
    state::{TCP_ACK, TCP_RST, TCP_SYN},
    verdict::Reason,
};

/// Offsets in a TCP header.
const SEQUENCE: usize = 4;
const ACKNOWLEDGEMENT: usize = 8;
/// Bits of a traffic class that are not the code point: congestion notification, which was not agreed on.
const ECN: u8 = 3;

/// Reads the cookie that a packet acknowledges, and begins the SYN that the client had sent by what it
/// says; returns 0 where the packet has no good one.
///
/// A function of its own, for the sake of the path's stack, and so that the verifier meets what comes
/// after it with one state. The bounds are given to it, since the compiler would give it halves of them.
#[inline(never)]
pub(super) fn acknowledged<K: Kernel>(
    kernel: &K,
    start: usize,
    end: usize,
    packet: &Packet,
    segment: &mut Segment,
) -> u32 {
    if packet.tcp_flags & (TCP_SYN | TCP_RST | TCP_ACK) != TCP_ACK {
        return 0;
    }
    // SAFETY: the kernel gives these as the bounds of the frame.
    if !unsafe { segment.read_numbers(start, end, packet.v6) } {
        return 0;
    }
    let Some(key) = kernel.cookie_key() else { return 0 };
    let cookie = segment.acknowledgement.wrapping_sub(1);
    let clock = connection::clock(kernel);
    match cookies::check(key, &packet.tuple, segment.sequence, cookie, clock) {
        Some(good) => {
            segment.sequence = good.first;
            segment.acknowledgement = cookie;
            segment.size = good.size;
            1
        }
        None => 0,
    }
}

/// Forwards a packet of a spliced connection.
///
/// # Errors
/// Returns why it cannot go on.
#[inline(always)]
pub(super) fn forward<K: Kernel>(kernel: &K, packet: &Packet, ways: u32) -> Result<Sent, Stop> {
    connection::check(packet)?;
    // Who left it to this task has found it, so it has made way since.
    let mut found = connection::find(kernel, &packet.tuple).ok_or(Reason::TableRefused)?;
    if found.connection.splice == splice::NONE || packet.tuple.protocol != TCP {
        return Err(Reason::TableRefused.into());
    }
    let clock = connection::clock(kernel);
    if found.is_due(packet, clock, ways) {
        if !connection::refresh(kernel, packet, &mut found, clock) {
            return Err(Reason::TableRefused.into());
        }
        connection::look_up(kernel, found.connection, ways)?;
    }
    let scratch = kernel.scratch().ok_or(Reason::NoTask)?;
    // SAFETY: this CPU's, and no other reference to it is held.
    let segment = unsafe { &mut (*scratch).segment };
    if found.connection.reply == 1 {
        // SAFETY: the kernel gives these as the bounds of the frame.
        if !unsafe { segment.read_numbers(kernel.start(), kernel.end(), packet.v6) } {
            return Err(Reason::Malformed.into());
        }
        from_backend(kernel, packet, found, segment)
    } else if found.connection.splice == splice::JOINED {
        let delta =
            if packet.tcp_flags & TCP_ACK != 0 { found.connection.generation_or_delta } else { 0 };
        translate(kernel, packet, found.connection, ACKNOWLEDGEMENT, delta)
    } else {
        // A probe of the closed window: the SYN or its answer was lost.
        let (start, end) = (kernel.start(), kernel.end());
        let is_good = acknowledged(kernel, start, end, packet, segment) != 0;
        if !is_good || segment.acknowledgement != found.connection.cookie {
            return Err(Reason::BackendPending.into());
        }
        open(packet, found.connection, segment);
        write(kernel, packet.v6, segment, Tail::Size, &found.connection.hop)?;
        send::count(kernel, packet, found.connection);
        Ok(send::leave(kernel, &found.connection.hop)?)
    }
}

#[inline(always)]
fn from_backend<K: Kernel>(
    kernel: &K,
    packet: &Packet,
    found: Found<'_>,
    segment: &mut Segment,
) -> Result<Sent, Stop> {
    let connection = found.connection;
    let flags = packet.tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST);
    if flags == TCP_SYN | TCP_ACK {
        if join(kernel, connection, segment.sequence) == 0 {
            return Err(Reason::TableRefused.into());
        }
        return poke(kernel, packet, connection, segment);
    }
    if connection.splice == splice::JOINED {
        return translate(kernel, packet, connection, SEQUENCE, connection.generation_or_delta);
    }
    if flags & TCP_RST != 0 {
        // It has no number of its own, or none that the client knows: it gets the one that is due.
        let delta = connection.cookie.wrapping_add(1).wrapping_sub(segment.sequence);
        return translate(kernel, packet, connection, SEQUENCE, delta);
    }
    if flags & TCP_ACK != 0 {
        return reset(kernel, packet, segment);
    }
    Err(Reason::BackendPending.into())
}

/// Makes of what [`acknowledged`] has read the SYN to the connection's backend.
#[inline(always)]
pub(super) fn open(packet: &Packet, connection: &Connection, segment: &mut Segment) {
    translate_ends(segment, connection, packet);
    segment.acknowledgement = 0;
    segment.flags = TCP_SYN;
}

/// Notes in both entries by how much the numbers differ; returns 0 where they are not both there.
///
/// A function of its own, for the sake of the path's stack.
#[inline(never)]
fn join<K: Kernel>(kernel: &K, connection: &mut Connection, first: u32) -> u32 {
    let other = connection::find(kernel, &connection::partner(connection));
    let Some(Found { connection: other, .. }) = other else { return 0 };
    if !connection::partner(other).same(&connection.key) || other.cookie != connection.cookie {
        return 0;
    }
    let ahead = first.wrapping_sub(connection.cookie);
    for (entry, delta) in [(other, ahead), (connection, ahead.wrapping_neg())] {
        // SAFETY: fields of references. In this order: who sees the one must see the other.
        unsafe {
            (&raw mut entry.generation_or_delta).write_volatile(delta);
            (&raw mut entry.splice).write_volatile(splice::JOINED);
        }
    }
    1
}

/// Turns the backend's SYN-ACK into what opens the client's window, and makes it answer.
#[inline(always)]
fn poke<K: Kernel>(
    kernel: &K,
    packet: &Packet,
    connection: &Connection,
    segment: &mut Segment,
) -> Result<Sent, Stop> {
    translate_ends(segment, connection, packet);
    segment.sequence = connection.cookie;
    segment.flags = TCP_ACK;
    write(kernel, packet.v6, segment, Tail::Octet, &connection.hop)?;
    send::count(kernel, packet, connection);
    Ok(send::leave(kernel, &connection.hop)?)
}

/// Turns the answer of a backend that takes its port's connection for an older one into what ends
/// that, as the client would (RFC 9293 section 3.5.3); the SYN goes out again when the client probes.
#[inline(always)]
fn reset<K: Kernel>(kernel: &K, packet: &Packet, segment: &mut Segment) -> Result<Sent, Stop> {
    segment.tuple = reversed(&packet.tuple);
    segment.sequence = segment.acknowledgement;
    segment.acknowledgement = 0;
    segment.flags = TCP_RST;
    segment.window = 0;
    segment.class = 0;
    let hop = connection::way_back(kernel).ok_or(Reason::Malformed)?;
    write(kernel, packet.v6, segment, Tail::Nothing, &hop)?;
    Ok(send::leave(kernel, &hop)?)
}

/// Gives a segment the ends and the class of what a packet of the connection becomes.
#[inline(always)]
pub(super) fn translate_ends(segment: &mut Segment, connection: &Connection, packet: &Packet) {
    segment.tuple = translated(&connection.to, TCP);
    segment.class = packet.traffic_class & !ECN;
}

/// Changes one of the two numbers of a packet, and sends it as its connection says.
#[inline(always)]
fn translate<K: Kernel>(
    kernel: &K,
    packet: &Packet,
    connection: &Connection,
    offset: usize,
    delta: u32,
) -> Result<Sent, Stop> {
    // Whom it came from is told in its own numbers.
    let mtu = connection.hop.mtu;
    if mtu != 0 && packet.length > mtu {
        return Err(too_big::later(kernel, mtu));
    }
    let (start, end) = (kernel.start(), kernel.end());
    // SAFETY: the kernel gives these as the bounds of the frame.
    unsafe {
        if packet.v6 {
            renumber::<true>(start, end, offset, delta)?;
        } else {
            renumber::<false>(start, end, offset, delta)?;
        }
    }
    send::send(kernel, packet, connection)
}

/// Replaces a number of a TCP header.
#[inline(always)]
unsafe fn renumber<const V6: bool>(
    start: usize,
    end: usize,
    offset: usize,
    delta: u32,
) -> Result<(), Reason> {
    let at = start + ETHERNET + if V6 { IPV6 } else { IPV4 };
    if at + TCP_HEADER > end {
        return Err(Reason::Malformed);
    }
    // SAFETY: the comparison above; both offsets are below the header's length.
    unsafe {
        let old: u32 = read(at + offset);
        let new = u32::from_be(old).wrapping_add(delta).to_be();
        let difference = Difference::new().replace(old, new).fold();
        write_at(at + offset, new);
        write_at(at + TCP_CHECKSUM, apply(read(at + TCP_CHECKSUM), difference));
    }
    Ok(())
}

/// Turns the frame into a segment to a next hop.
///
/// # Errors
/// Returns why it cannot.
#[inline(always)]
pub(super) fn write(
    kernel: &impl Kernel,
    v6: bool,
    segment: &Segment,
    tail: Tail,
    hop: &Hop,
) -> Result<(), Reason> {
    if v6 {
        write_for::<true, _>(kernel, segment, tail, hop)
    } else {
        write_for::<false, _>(kernel, segment, tail, hop)
    }
}

#[inline(always)]
fn write_for<const V6: bool, K: Kernel>(
    kernel: &K,
    segment: &Segment,
    tail: Tail,
    hop: &Hop,
) -> Result<(), Reason> {
    let wanted = frame_length(V6, tail);
    // The difference of two pointers is a number only as a whole: 32-bit arithmetic is refused.
    let length = core::hint::black_box(kernel.end() - kernel.start());
    if !kernel.grow_tail(wanted as i32 - length as i32) {
        return Err(Reason::Malformed);
    }
    let (start, end) = (kernel.start(), kernel.end());
    if start + wanted > end {
        return Err(Reason::Malformed);
    }
    // SAFETY: the comparison above.
    unsafe {
        write_segment::<V6>(start, segment, tail);
        write_all(start, &hop.destination);
        write_all(start + 6, &hop.source);
    }
    Ok(())
}
