//! Builds frames without any code of the program under test.

use std::net::{IpAddr, SocketAddr};

use crate::{
    naive::TCP,
    support::packets::{checksum, pseudo},
};

/// Ethernet address of the node's interface, and of where most frames come from.
const NODE: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A TCP or UDP packet.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) protocol: u8,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) class: u8,
    pub(super) hops: u8,
    pub(super) flags: u8,
    /// IPv4's identification and don't-fragment bit, or IPv6's flow label.
    pub(super) label: u32,
    /// TCP: sequence and acknowledgement number; by the label where there are none.
    pub(super) numbers: Option<(u32, u32)>,
    /// TCP: in whole words.
    pub(super) options: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) from: [u8; 6],
    /// UDP with a checksum.
    pub(super) checked: bool,
}

impl Segment {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut transport = self.source.port().to_be_bytes().to_vec();
        transport.extend(self.destination.port().to_be_bytes());
        if self.protocol == TCP {
            let by_label =
                || (self.label.wrapping_mul(0x9e37_79b9), self.label.wrapping_mul(0x85eb_ca6b));
            let (sequence, acknowledgement) = self.numbers.unwrap_or_else(by_label);
            transport.extend(sequence.to_be_bytes());
            transport.extend(acknowledgement.to_be_bytes());
            let header = (20 + self.options.len() as u8) << 2;
            transport.extend([header, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
            transport.extend(&self.options);
        } else {
            transport.extend((8 + self.payload.len() as u16).to_be_bytes());
            transport.extend([0, 0]);
        }
        transport.extend(&self.payload);
        let ends = (self.source.ip(), self.destination.ip());
        if self.checked || self.protocol == TCP {
            let pseudo = pseudo(ends.0, ends.1, self.protocol, transport.len());
            let sum = checksum(&[&pseudo, &transport]);
            let sum = if sum == 0 && self.protocol != TCP { 0xffff } else { sum };
            let at = if self.protocol == TCP { 16 } else { 6 };
            transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        let ip = packet(ends, self.protocol, self.class, self.hops, self.label, &transport);
        framed(self.from, ends.0.is_ipv6(), &ip)
    }
}

/// Puts an Ethernet header in front of a packet.
pub(super) fn framed(from: [u8; 6], v6: bool, ip: &[u8]) -> Vec<u8> {
    let ethertype: [u8; 2] = if v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    [&NODE[..], &from, &ethertype, ip].concat()
}

/// Puts an IP header in front of a payload.
pub(super) fn packet(
    ends: (IpAddr, IpAddr),
    protocol: u8,
    class: u8,
    hops: u8,
    label: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut ip;
    match ends {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ip = vec![0x45, class];
            ip.extend((20 + payload.len() as u16).to_be_bytes());
            ip.extend((label as u16).to_be_bytes());
            ip.extend([(label >> 16) as u8 & 0x40, 0, hops, protocol, 0, 0]);
            ip.extend(source.octets());
            ip.extend(destination.octets());
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ip = vec![0x60 | class >> 4, class << 4 | (label >> 16) as u8 & 0x0f];
            ip.extend((label as u16).to_be_bytes());
            ip.extend((payload.len() as u16).to_be_bytes());
            ip.extend([protocol, hops]);
            ip.extend(source.octets());
            ip.extend(destination.octets());
        }
        _ => panic!("two families in one packet"),
    }
    ip.extend(payload);
    ip
}

/// An ICMP message of a type and code, with what comes behind the checksum.
pub(super) fn icmp(
    from: [u8; 6],
    ends: (IpAddr, IpAddr),
    (kind, code): (u8, u8),
    rest: &[u8],
    (class, hops): (u8, u8),
) -> Vec<u8> {
    let v6 = ends.0.is_ipv6();
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    let protocol = if v6 { 58 } else { 1 };
    let pseudo = if v6 { pseudo(ends.0, ends.1, protocol, message.len()) } else { Vec::new() };
    let sum = checksum(&[&pseudo, &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    framed(from, v6, &packet(ends, protocol, class, hops, 0, &message))
}
