//! Reads outer headers without any code of the program under test.

use std::net::IpAddr;

use model::listener::Forwarding;

/// What is around a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outer {
    pub(crate) ethernet_destination: [u8; 6],
    pub(crate) ethernet_source: [u8; 6],
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) traffic_class: u8,
    /// The outer UDP source port.
    pub(crate) source_port: Option<u16>,
    /// The packet as it was, from its IP header on.
    pub(crate) inner: Vec<u8>,
}

/// Reads a frame that a listener with this forwarding should have sent, and verifies lengths,
/// protocols and checksums.
pub(crate) fn read(frame: &[u8], forwarding: Forwarding) -> Outer {
    let v6 = match frame[12..14] {
        [0x08, 0x00] => false,
        [0x86, 0xdd] => true,
        ref other => panic!("ethertype {other:02x?}"),
    };
    let ip = &frame[14..];
    let (header, length, protocol, source, destination, traffic_class): (
        _,
        _,
        _,
        IpAddr,
        IpAddr,
        _,
    ) = if v6 {
        assert_eq!(ip[0] >> 4, 6);
        assert_eq!([ip[1] & 0x0f, ip[2], ip[3]], [0; 3], "no flow label");
        assert_eq!(ip[7], 64, "hop limit");
        let length = 40 + usize::from(u16::from_be_bytes([ip[4], ip[5]]));
        let address = |at: usize| <[u8; 16]>::try_from(&ip[at..at + 16]).unwrap().into();
        (40, length, ip[6], address(8), address(24), ip[0] << 4 | ip[1] >> 4)
    } else {
        assert_eq!(ip[0], 0x45);
        assert_eq!(ip[4..8], [0, 0, 0x40, 0], "identification 0, don't fragment");
        assert_eq!(ip[8], 64, "TTL");
        let sum: u32 =
            ip[..20].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "header checksum");
        let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        let address = |at: usize| <[u8; 4]>::try_from(&ip[at..at + 4]).unwrap().into();
        (20, length, ip[9], address(12), address(16), ip[1])
    };
    assert_eq!(length, ip.len());
    let (source_port, inner) = match forwarding {
        Forwarding::Ipip => {
            assert_eq!(protocol, if v6 { 41 } else { 4 });
            (None, &ip[header..])
        }
        Forwarding::Gue => {
            assert_eq!(protocol, 17);
            let udp = &ip[header..];
            assert_eq!(udp[2..4], 6080u16.to_be_bytes());
            assert_eq!(usize::from(u16::from_be_bytes([udp[4], udp[5]])), udp.len());
            assert_eq!(udp[6..8], [0, 0], "no outer checksum");
            (Some(u16::from_be_bytes([udp[0], udp[1]])), &udp[8..])
        }
        other => panic!("{other:?} has no outer header"),
    };
    Outer {
        ethernet_destination: frame[..6].try_into().unwrap(),
        ethernet_source: frame[6..12].try_into().unwrap(),
        source,
        destination,
        traffic_class,
        source_port,
        inner: inner.to_vec(),
    }
}
