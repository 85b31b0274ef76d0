//! Makes a frame with correct checksums (RFC 791, RFC 8200, RFC 9293, RFC 768).

use std::net::{IpAddr, SocketAddr};

use crate::packet_filter::Transport;

/// The SYN flag.
pub(super) const SYN: u8 = 0x02;
/// The frame's Ethernet addresses: locally administered ones, which no decision looks at.
const ETHERNET: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

pub(super) fn make(
    from: SocketAddr,
    to: SocketAddr,
    protocol: Transport,
    flags: u8,
    hop_limit: u8,
    payload: u16,
) -> Vec<u8> {
    let number = match protocol {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    };
    let mut transport = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let at = match protocol {
        Transport::Tcp => {
            // Sequence and acknowledgement numbers, header length, flags, window.
            transport.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            16
        }
        Transport::Udp => {
            transport.extend((8 + payload).to_be_bytes());
            transport.extend([0, 0]);
            6
        }
    };
    transport.resize(transport.len() + usize::from(payload), 0);
    let sum = match checksum(&[&pseudo(from.ip(), to.ip(), number, transport.len()), &transport]) {
        0 if protocol == Transport::Udp => 0xffff,
        sum => sum,
    };
    transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ETHERNET.to_vec();
    let length = transport.len() as u16;
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([0x08, 0x00]);
            let mut ip = vec![0x45, 0];
            ip.extend((20 + length).to_be_bytes());
            // Identification 0, do not fragment.
            ip.extend([0, 0, 0x40, 0, hop_limit, number, 0, 0]);
            ip.extend(from.octets());
            ip.extend(to.octets());
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend(ip);
        }
        (from, to) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([number, hop_limit]);
            frame.extend(octets(from));
            frame.extend(octets(to));
        }
    }
    frame.extend(transport);
    frame
}

fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = [octets(from), octets(to)].concat();
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let words = bytes
        .chunks(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let mut sum: u32 = words.map(u32::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_known_ones_byte_by_byte() {
        let check = |from: &str, to: &str, protocol, payload, expected: &str| {
            let frame =
                make(from.parse().unwrap(), to.parse().unwrap(), protocol, SYN, 64, payload);
            assert_eq!(super::super::hex(&frame), expected.replace(' ', ""));
        };
        // Checksums reckoned by hand: see RFC 1071.
        check(
            "10.0.0.1:4242",
            "10.0.0.2:80",
            Transport::Udp,
            0,
            "020000000001 020000000002 0800 4500001c 00004000 4011 26cf 0a000001 0a000002 \
             10920050 0008 daf9",
        );
    }

    #[test]
    fn a_checksum_over_its_own_packet_is_zero() {
        for protocol in [Transport::Tcp, Transport::Udp] {
            for payload in [0, 1, 7, 1400] {
                for (from, to) in
                    [("10.0.0.1:1", "10.0.0.2:65535"), ("[fd00::1]:9", "[fd00::2]:80")]
                {
                    let (from, to): (SocketAddr, SocketAddr) =
                        (from.parse().unwrap(), to.parse().unwrap());
                    let frame = make(from, to, protocol, SYN, 64, payload);
                    let header = if from.is_ipv4() { 20 } else { 40 };
                    if from.is_ipv4() {
                        assert_eq!(checksum(&[&frame[14..34]]), 0);
                    }
                    let transport = &frame[14 + header..];
                    let number = if protocol == Transport::Tcp { 6 } else { 17 };
                    let pseudo = pseudo(from.ip(), to.ip(), number, transport.len());
                    assert_eq!(checksum(&[&pseudo, transport]), 0, "{protocol:?} {payload} {from}");
                }
            }
        }
    }
}
