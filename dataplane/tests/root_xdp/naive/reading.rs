//! Reads a frame as the RFCs have it.

use std::net::{IpAddr, SocketAddr};

use ebpf_common::verdict::Reason;

use super::{TCP, UDP};

const ETHERNET: usize = 14;
/// Headers behind IPv6's that are extensions (RFC 8200 section 4), but for fragments.
const EXTENSIONS: [u8; 4] = [0, 43, 51, 60];
const FRAGMENT: u8 = 44;

/// A whole TCP or UDP packet.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) protocol: u8,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    /// Length of the IP packet.
    pub(super) length: usize,
    /// Where the transport header begins in the frame.
    pub(super) transport: usize,
    pub(super) class: u8,
    pub(super) hops: u8,
    pub(super) flags: u8,
    /// UDP without a checksum.
    pub(super) unchecked: bool,
}

impl Packet {
    pub(super) fn v6(&self) -> bool {
        self.source.is_ipv6()
    }
}

/// A frame that is no whole TCP or UDP packet.
#[derive(Clone, Debug)]
pub(super) struct Other {
    pub(super) reason: Reason,
    pub(super) ends: Option<(IpAddr, IpAddr)>,
}

impl Other {
    /// Tells whether the packet filter looks at it (docs/configuration.md, `PacketFilter`).
    pub(super) fn is_filtered(&self) -> bool {
        matches!(self.reason, Reason::NotTransport | Reason::IpOptions | Reason::Fragment)
    }
}

pub(super) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn address_v4(bytes: &[u8], at: usize) -> IpAddr {
    IpAddr::from(<[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap())
}

pub(super) fn address_v6(bytes: &[u8], at: usize) -> IpAddr {
    IpAddr::from(<[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap())
}

/// Takes a VLAN tag off (IEEE 802.1Q clause 9.6), in front of IP: its control information, and the
/// frame without it.
pub(super) fn untagged(frame: &[u8]) -> Option<(u16, Vec<u8>)> {
    let is_tagged = frame.len() >= 18
        && word(frame, 12) == 0x8100
        && [0x0800, 0x86dd].contains(&word(frame, 16));
    is_tagged.then(|| (word(frame, 14), [&frame[..12], &frame[16..]].concat()))
}

pub(super) fn read(frame: &[u8]) -> Result<Packet, Other> {
    let nothing = |reason| Other { reason, ends: None };
    if frame.len() < ETHERNET {
        return Err(nothing(Reason::Malformed));
    }
    match word(frame, 12) {
        0x0800 => read_v4(&frame[ETHERNET..]),
        0x86dd => read_v6(&frame[ETHERNET..]),
        _ => Err(nothing(Reason::NotIp)),
    }
}

fn read_v4(ip: &[u8]) -> Result<Packet, Other> {
    if ip.len() < 20 || ip[0] >> 4 != 4 || ip[0] & 0x0f < 5 {
        return Err(Other { reason: Reason::Malformed, ends: None });
    }
    let ends = (address_v4(ip, 12), address_v4(ip, 16));
    let other = |reason| Err(Other { reason, ends: Some(ends) });
    let protocol = ip[9];
    if protocol != TCP && protocol != UDP {
        return other(Reason::NotTransport);
    }
    if ip[0] & 0x0f > 5 {
        return other(Reason::IpOptions);
    }
    // More fragments, or an offset.
    if word(ip, 6) & 0x3fff != 0 {
        return other(Reason::Fragment);
    }
    transport(ip, 20, usize::from(word(ip, 2)), protocol, ends, (ip[1], ip[8]))
}

fn read_v6(ip: &[u8]) -> Result<Packet, Other> {
    if ip.len() < 40 || ip[0] >> 4 != 6 {
        return Err(Other { reason: Reason::Malformed, ends: None });
    }
    let ends = (address_v6(ip, 8), address_v6(ip, 24));
    let other = |reason| Err(Other { reason, ends: Some(ends) });
    let protocol = ip[6];
    if protocol == FRAGMENT {
        return other(Reason::Fragment);
    }
    if EXTENSIONS.contains(&protocol) {
        return other(Reason::IpOptions);
    }
    if protocol != TCP && protocol != UDP {
        return other(Reason::NotTransport);
    }
    let is_mapped = |ip| matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    if is_mapped(ends.0) || is_mapped(ends.1) {
        return other(Reason::Malformed);
    }
    let class = ip[0] << 4 | ip[1] >> 4;
    transport(ip, 40, 40 + usize::from(word(ip, 4)), protocol, ends, (class, ip[7]))
}

fn transport(
    ip: &[u8],
    header: usize,
    length: usize,
    protocol: u8,
    ends: (IpAddr, IpAddr),
    (class, hops): (u8, u8),
) -> Result<Packet, Other> {
    let least = header + if protocol == TCP { 20 } else { 8 };
    if ip.len() < least || length < least || length > ip.len() {
        return Err(Other { reason: Reason::Malformed, ends: None });
    }
    Ok(Packet {
        protocol,
        source: SocketAddr::new(ends.0, word(ip, header)),
        destination: SocketAddr::new(ends.1, word(ip, header + 2)),
        length,
        transport: ETHERNET + header,
        class,
        hops,
        flags: if protocol == TCP { ip[header + 13] } else { 0 },
        unchecked: protocol == UDP && word(ip, header + 6) == 0,
    })
}
