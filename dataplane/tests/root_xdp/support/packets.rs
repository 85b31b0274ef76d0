//! Builds and reads frames without any code of the program under test: the independent model.

use std::net::{IpAddr, SocketAddr};

/// IP protocol numbers.
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
/// TCP flags.
pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const FIN: u8 = 0x01;
pub(crate) const RST: u8 = 0x04;

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) protocol: u8,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) hop_limit: u8,
    pub(crate) tcp_flags: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) ethernet_destination: [u8; 6],
    pub(crate) ethernet_source: [u8; 6],
    /// UDP: sent without a checksum.
    pub(crate) no_checksum: bool,
}

impl Frame {
    pub(crate) fn new(protocol: u8, source: &str, destination: &str) -> Self {
        Self {
            protocol,
            source: source.parse().expect("an address and port"),
            destination: destination.parse().expect("an address and port"),
            hop_limit: 64,
            tcp_flags: if protocol == TCP { SYN } else { 0 },
            payload: b"some payload".to_vec(),
            ethernet_destination: [2, 0, 0, 0, 0, 1],
            ethernet_source: [2, 0, 0, 0, 0, 0xcc],
            no_checksum: false,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut transport = self.source.port().to_be_bytes().to_vec();
        transport.extend(self.destination.port().to_be_bytes());
        if self.protocol == TCP {
            transport.extend(0x0102_0304u32.to_be_bytes());
            transport.extend(0x0506_0708u32.to_be_bytes());
            transport.extend([0x50, self.tcp_flags, 0xff, 0xff, 0, 0, 0, 0]);
        } else {
            transport.extend((8 + self.payload.len() as u16).to_be_bytes());
            transport.extend([0, 0]);
        }
        transport.extend(&self.payload);
        let at = if self.protocol == TCP { 16 } else { 6 };
        if !self.no_checksum {
            let mut sum = !checksum(&[
                &pseudo(self.source.ip(), self.destination.ip(), self.protocol, transport.len()),
                &transport,
            ]);
            sum = !sum;
            if sum == 0 && self.protocol == UDP {
                sum = 0xffff;
            }
            transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        let ends = (self.source.ip(), self.destination.ip());
        let ethernet = (self.ethernet_destination, self.ethernet_source);
        frame(ethernet, ends, self.protocol, self.hop_limit, &transport)
    }

    /// Reads a frame and verifies every checksum in full.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let (source, destination, protocol, hop_limit, transport) = match bytes[12..14] {
            [0x08, 0x00] => {
                let ip = &bytes[14..34];
                assert_eq!(checksum(&[ip]), 0, "IPv4 header checksum of {bytes:02x?}");
                let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
                let address =
                    |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap());
                (address(12), address(16), ip[9], ip[8], &bytes[34..14 + length])
            }
            [0x86, 0xdd] => {
                let ip = &bytes[14..54];
                let length = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
                let address =
                    |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).unwrap());
                (address(8), address(24), ip[6], ip[7], &bytes[54..54 + length])
            }
            ref other => panic!("ethertype {other:02x?}"),
        };
        let no_checksum = protocol == UDP && transport[6..8] == [0, 0];
        if !no_checksum {
            let pseudo = pseudo(source, destination, protocol, transport.len());
            assert_eq!(checksum(&[&pseudo, transport]), 0, "transport checksum of {bytes:02x?}");
        }
        let port = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
        let header = if protocol == TCP { 20 } else { 8 };
        Self {
            protocol,
            source: SocketAddr::new(source, port(0)),
            destination: SocketAddr::new(destination, port(2)),
            hop_limit,
            tcp_flags: if protocol == TCP { transport[13] } else { 0 },
            payload: transport[header..].to_vec(),
            ethernet_destination: bytes[..6].try_into().unwrap(),
            ethernet_source: bytes[6..12].try_into().unwrap(),
            no_checksum,
        }
    }

    /// Makes the answer that the receiver of this frame would send.
    pub(crate) fn answer(&self, payload: &[u8]) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            tcp_flags: if self.protocol == TCP { self.tcp_flags | ACK } else { 0 },
            payload: payload.to_vec(),
            hop_limit: 64,
            ethernet_destination: self.ethernet_source,
            ethernet_source: self.ethernet_destination,
            ..self.clone()
        }
    }
}

/// Puts Ethernet and IP headers before a payload.
pub(crate) fn frame(
    (ethernet_destination, ethernet_source): ([u8; 6], [u8; 6]),
    ends: (IpAddr, IpAddr),
    protocol: u8,
    hop_limit: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = ethernet_destination.to_vec();
    frame.extend(ethernet_source);
    match ends {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([0x08, 0x00]);
            let mut ip = vec![0x45, 0];
            ip.extend((20 + payload.len() as u16).to_be_bytes());
            ip.extend([0x12, 0x34, 0x40, 0, hop_limit, protocol, 0, 0]);
            ip.extend(source.octets());
            ip.extend(destination.octets());
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend(ip);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((payload.len() as u16).to_be_bytes());
            frame.extend([protocol, hop_limit]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => panic!("two families in one frame"),
    }
    frame.extend(payload);
    frame
}

pub(crate) fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for ip in [source, destination] {
        match ip {
            IpAddr::V4(v4) => bytes.extend(v4.octets()),
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

/// RFC 1071, by the definition: 16-bit big-endian words, carries added back, complemented.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !(sum as u16)
}
