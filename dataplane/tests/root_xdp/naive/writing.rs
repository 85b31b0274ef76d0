//! Writes frames, with checksums over the whole of what they cover.
//!
//! A checksum that was right is right again. One that was wrong stays as wrong as it was: a node must
//! not make good what was damaged before it (RFC 1624 section 5 has the reason).

use std::net::{IpAddr, SocketAddr};

use super::{
    Outcome, TCP, UDP,
    network::NextHop,
    reading::{Packet, word},
};

/// The one's-complement sum, as a number modulo 65,535.
fn sum(parts: &[&[u8]]) -> u32 {
    let all = parts.concat();
    let words = all.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(*it.get(1).unwrap_or(&0)));
    words.fold(0, |sum, word| (sum + word) % 65_535)
}

/// RFC 1071 by the definition.
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let all = parts.concat();
    let mut sum: u64 = 0;
    for pair in all.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A checksum in a frame, and what it covers beside the frame's bytes before and after a change.
pub(super) struct Covered {
    /// Where it is.
    pub(super) at: usize,
    /// What it covers of the frame.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) pseudo_before: Vec<u8>,
    pub(super) pseudo_after: Vec<u8>,
    /// UDP: zero stands for no checksum (RFC 768).
    pub(super) udp: bool,
}

impl Covered {
    /// Brings the checksum up to date; `before` is the frame before all changes.
    pub(super) fn refit(&self, before: &[u8], after: &mut [u8], seen: &Outcome) {
        let without = |frame: &[u8]| {
            let mut part = frame[self.from..self.to].to_vec();
            part[self.at - self.from..self.at - self.from + 2].fill(0);
            part
        };
        let as_udp = |sum: u16| if self.udp && sum == 0 { 0xffff } else { sum };
        let (old_part, new_part) = (without(before), without(after));
        let old = word(before, self.at);
        let right = as_udp(checksum(&[&self.pseudo_before, &old_part]));
        let new = if old == right {
            as_udp(checksum(&[&self.pseudo_after, &new_part]))
        } else {
            let total = u32::from(old) + sum(&[&self.pseudo_before, &old_part]);
            let wanted = (total + 65_535 - sum(&[&self.pseudo_after, &new_part])) % 65_535;
            // One's complement has two zeros, of which either will do.
            let there = seen.frame.get(self.at..self.at + 2).map_or(0, |it| word(it, 0));
            let will_do = u32::from(there) % 65_535 == wanted && !(self.udp && there == 0);
            if will_do { there } else { as_udp(wanted as u16) }
        };
        after[self.at..self.at + 2].copy_from_slice(&new.to_be_bytes());
    }
}

pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1); all have the same sum.
pub(super) fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = [octets(source), octets(destination)].concat();
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

/// The checksum of an IPv4 header.
pub(super) fn header_v4() -> Covered {
    header_at(14)
}

/// The checksum of an IPv4 header that begins there.
pub(super) fn header_at(at: usize) -> Covered {
    let (pseudo_before, pseudo_after) = (Vec::new(), Vec::new());
    Covered { at: at + 10, from: at, to: at + 20, pseudo_before, pseudo_after, udp: false }
}

pub(super) fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(super) fn ethernet(frame: &mut [u8], hop: &NextHop) {
    put(frame, 0, &hop.to);
    put(frame, 6, &hop.from);
}

/// Gives a frame the tag that it came with.
pub(super) fn tagged(frame: &[u8], tag: Option<u16>) -> Vec<u8> {
    match tag {
        Some(tag) => [&frame[..12], &[0x81, 0x00], &tag.to_be_bytes(), &frame[12..]].concat(),
        None => frame.to_vec(),
    }
}

/// Gives a packet a code point; the bits of congestion notification stay (RFC 2474, RFC 3168).
pub(super) fn marked(frame: &[u8], packet: &Packet, dscp: Option<u8>, seen: &Outcome) -> Vec<u8> {
    let mut after = frame.to_vec();
    let Some(dscp) = dscp else { return after };
    let class = dscp << 2 | packet.class & 3;
    if packet.v6() {
        after[14] = 0x60 | class >> 4;
        after[15] = class << 4 | frame[15] & 0x0f;
    } else {
        after[15] = class;
        header_v4().refit(frame, &mut after, seen);
    }
    after
}

/// Gives a packet other ends, one hop less, and the Ethernet addresses of the way. `before` is the
/// frame as it came in, `marked` with its code point.
pub(super) fn translated(
    before: &[u8],
    marked: &[u8],
    packet: &Packet,
    (source, destination): (SocketAddr, SocketAddr),
    hop: &NextHop,
    seen: &Outcome,
) -> Vec<u8> {
    let mut after = marked.to_vec();
    let at = packet.transport;
    let end = 14 + packet.length;
    if packet.v6() {
        after[21] = packet.hops - 1;
        put(&mut after, 22, &octets(source.ip()));
        put(&mut after, 38, &octets(destination.ip()));
    } else {
        after[22] = packet.hops - 1;
        put(&mut after, 26, &octets(source.ip()));
        put(&mut after, 30, &octets(destination.ip()));
        header_v4().refit(before, &mut after, seen);
    }
    put(&mut after, at, &source.port().to_be_bytes());
    put(&mut after, at + 2, &destination.port().to_be_bytes());
    if !packet.unchecked {
        let length = end - at;
        let of = |source: SocketAddr, destination: SocketAddr| {
            pseudo(source.ip(), destination.ip(), packet.protocol, length)
        };
        let covered = Covered {
            at: at + if packet.protocol == TCP { 16 } else { 6 },
            from: at,
            to: end,
            pseudo_before: of(packet.source, packet.destination),
            pseudo_after: of(source, destination),
            udp: packet.protocol == UDP,
        };
        covered.refit(before, &mut after, seen);
    }
    ethernet(&mut after, hop);
    after
}
