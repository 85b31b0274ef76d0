//! TCP segments with their numbers and options, built and read without any code of the program under
//! test.

use std::net::{IpAddr, SocketAddr};

use crate::support::packets::{ACK, SYN, TCP, checksum, frame, pseudo};

/// A segment in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Destination and source.
    pub(crate) ethernet: ([u8; 6], [u8; 6]),
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// As they lie in the header, in whole words.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) hop_limit: u8,
}

impl Segment {
    /// A SYN of a client, with the options that Linux sends.
    pub(crate) fn syn(source: &str, destination: &str, sequence: u32, size: u16) -> Self {
        let [high, low] = size.to_be_bytes();
        let timestamps = [4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0];
        let options = [&[2, 4, high, low][..], &timestamps, &[1, 3, 3, 7]].concat();
        Self {
            ethernet: ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 0x64]),
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            sequence,
            acknowledgement: 0,
            flags: SYN,
            window: 64_240,
            options,
            payload: Vec::new(),
            hop_limit: 64,
        }
    }

    /// What the receiver of this one sends: its next number, and an acknowledgement of all of it.
    pub(crate) fn answer(&self, sequence: u32, flags: u8, payload: &[u8]) -> Self {
        let counts = u32::from(self.flags & SYN != 0) + self.payload.len() as u32;
        Self {
            ethernet: (self.ethernet.1, self.ethernet.0),
            source: self.destination,
            destination: self.source,
            sequence,
            acknowledgement: self.sequence.wrapping_add(counts),
            flags: flags | ACK,
            window: 64_240,
            options: Vec::new(),
            payload: payload.to_vec(),
            hop_limit: 64,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut transport = self.source.port().to_be_bytes().to_vec();
        transport.extend(self.destination.port().to_be_bytes());
        transport.extend(self.sequence.to_be_bytes());
        transport.extend(self.acknowledgement.to_be_bytes());
        transport.extend([(20 + self.options.len() as u8) << 2, self.flags]);
        transport.extend(self.window.to_be_bytes());
        transport.extend([0; 4]);
        transport.extend(&self.options);
        transport.extend(&self.payload);
        let ends = (self.source.ip(), self.destination.ip());
        let sum = checksum(&[&pseudo(ends.0, ends.1, TCP, transport.len()), &transport]);
        transport[16..18].copy_from_slice(&sum.to_be_bytes());
        frame(self.ethernet, ends, TCP, self.hop_limit, &transport)
    }

    /// Reads a frame and verifies its checksums in full.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let v4 = bytes[12..14] == [0x08, 0x00];
        let (at, length) = if v4 { (34, 16) } else { (54, 18) };
        let length = usize::from(u16::from_be_bytes([bytes[length], bytes[length + 1]]));
        let end = if v4 { 14 + length } else { 54 + length };
        let ip = |from: usize| -> IpAddr {
            if v4 {
                <[u8; 4]>::try_from(&bytes[from..from + 4]).unwrap().into()
            } else {
                <[u8; 16]>::try_from(&bytes[from..from + 16]).unwrap().into()
            }
        };
        let ends = if v4 { (ip(26), ip(30)) } else { (ip(22), ip(38)) };
        assert!(!v4 || checksum(&[&bytes[14..34]]) == 0, "IPv4 checksum of {bytes:02x?}");
        let transport = &bytes[at..end];
        let pseudo = pseudo(ends.0, ends.1, TCP, transport.len());
        assert_eq!(checksum(&[&pseudo, transport]), 0, "TCP checksum of {bytes:02x?}");
        let word = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
        let long = |at: usize| u32::from(word(at)) << 16 | u32::from(word(at + 2));
        let header = usize::from(transport[12] >> 4) * 4;
        Self {
            ethernet: (bytes[..6].try_into().unwrap(), bytes[6..12].try_into().unwrap()),
            source: SocketAddr::new(ends.0, word(0)),
            destination: SocketAddr::new(ends.1, word(2)),
            sequence: long(4),
            acknowledgement: long(8),
            flags: transport[13],
            window: word(14),
            options: transport[20..header].to_vec(),
            payload: transport[header..].to_vec(),
            hop_limit: bytes[if v4 { 22 } else { 21 }],
        }
    }
}
