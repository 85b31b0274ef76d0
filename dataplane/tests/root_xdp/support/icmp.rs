//! Builds and reads ICMP errors without any code of the program under test.

use std::net::IpAddr;

use crate::support::packets::{self, checksum, pseudo};

const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// An ICMP error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// The second half of its header: the MTU where that is what is wrong.
    pub(crate) detail: u32,
    /// The packet that it is about, from its IP header on.
    pub(crate) quoted: Vec<u8>,
    pub(crate) ethernet_destination: [u8; 6],
    pub(crate) ethernet_source: [u8; 6],
}

impl Error {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut message = vec![self.kind, self.code, 0, 0];
        message.extend(self.detail.to_be_bytes());
        message.extend(&self.quoted);
        let v6 = self.source.is_ipv6();
        let pseudo = if v6 {
            pseudo(self.source, self.destination, ICMP_V6, message.len())
        } else {
            Vec::new()
        };
        let sum = checksum(&[&pseudo, &message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let ethernet = (self.ethernet_destination, self.ethernet_source);
        let protocol = if v6 { ICMP_V6 } else { ICMP };
        packets::frame(ethernet, (self.source, self.destination), protocol, 64, &message)
    }

    /// Reads a frame that holds nothing but an ICMP error, and verifies lengths and checksums.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let ip = &bytes[14..];
        let (header, source, destination): (_, IpAddr, IpAddr) = match bytes[12..14] {
            [0x08, 0x00] => {
                assert_eq!((ip[0], ip[9]), (0x45, ICMP));
                assert_eq!(checksum(&[&ip[..20]]), 0, "header checksum");
                assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), ip.len());
                let address = |at: usize| <[u8; 4]>::try_from(&ip[at..at + 4]).unwrap().into();
                (20, address(12), address(16))
            }
            [0x86, 0xdd] => {
                assert_eq!((ip[0] >> 4, ip[6]), (6, ICMP_V6));
                assert_eq!(usize::from(u16::from_be_bytes([ip[4], ip[5]])) + 40, ip.len());
                let address = |at: usize| <[u8; 16]>::try_from(&ip[at..at + 16]).unwrap().into();
                (40, address(8), address(24))
            }
            ref other => panic!("ethertype {other:02x?}"),
        };
        let message = &ip[header..];
        let pseudo = if header == 40 {
            pseudo(source, destination, ICMP_V6, message.len())
        } else {
            Vec::new()
        };
        assert_eq!(checksum(&[&pseudo, message]), 0, "ICMP checksum");
        Self {
            source,
            destination,
            kind: message[0],
            code: message[1],
            detail: u32::from_be_bytes(message[4..8].try_into().unwrap()),
            quoted: message[8..].to_vec(),
            ethernet_destination: bytes[..6].try_into().unwrap(),
            ethernet_source: bytes[6..12].try_into().unwrap(),
        }
    }
}
