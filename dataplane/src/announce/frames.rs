//! What tells neighbours that an address has moved: frames for the link (pure).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const BROADCAST: [u8; 6] = [0xff; 6];
/// The Ethernet address of `ff02::1` (RFC 2464 section 7).
const ALL_NODES_ETHERNET: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ICMPV6: u8 = 58;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// Replace what is known (RFC 4861 section 4.4).
const OVERRIDE: u8 = 0x20;
/// The sender's link-layer address comes as an option (RFC 4861 section 4.6.1).
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;

/// Makes the frame that says of an address that this Ethernet address has it.
pub(super) fn announcement(address: IpAddr, ethernet: [u8; 6]) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => arp(v4, ethernet),
        IpAddr::V6(v6) => neighbor(v6, ethernet),
    }
}

/// An ARP announcement: a request with the address as sender and target (RFC 5227 section 3).
fn arp(address: Ipv4Addr, ethernet: [u8; 6]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend_from_slice(&BROADCAST);
    frame.extend_from_slice(&ethernet);
    // Ethernet type; then: Ethernet, IPv4, lengths of their addresses, request.
    frame.extend_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend_from_slice(&ethernet);
    frame.extend_from_slice(&address.octets());
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&address.octets());
    frame
}

/// An unsolicited neighbor advertisement (RFC 4861 section 7.2.6).
fn neighbor(address: Ipv6Addr, ethernet: [u8; 6]) -> Vec<u8> {
    let mut message = vec![NEIGHBOR_ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    message.extend_from_slice(&address.octets());
    message.extend_from_slice(&[TARGET_LINK_LAYER_ADDRESS, 1]);
    message.extend_from_slice(&ethernet);
    let sum = checksum(address, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let length = u16::try_from(message.len()).expect("32 bytes");
    let mut frame = Vec::with_capacity(86);
    frame.extend_from_slice(&ALL_NODES_ETHERNET);
    frame.extend_from_slice(&ethernet);
    // Ethernet type; then: version 6, no class and label.
    frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend_from_slice(&length.to_be_bytes());
    // A hop limit of 255 proves that no router forwarded it (section 7.1.2).
    frame.extend_from_slice(&[ICMPV6, 255]);
    frame.extend_from_slice(&address.octets());
    frame.extend_from_slice(&ALL_NODES.octets());
    frame.extend_from_slice(&message);
    frame
}

/// The checksum over the pseudo-header and the message (RFC 4443 section 2.3).
fn checksum(source: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    let parts = [&source.octets()[..], &ALL_NODES.octets(), &length, &[0, 0, 0, ICMPV6], message];
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks_exact(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETHERNET: [u8; 6] = [2, 0, 0, 0, 0, 7];

    #[test]
    fn an_arp_announcement_names_the_address_twice() {
        let frame = announcement("192.0.2.10".parse().unwrap(), ETHERNET);
        let expected = [
            &[0xff; 6][..],
            &ETHERNET,
            &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1],
            &ETHERNET,
            &[192, 0, 2, 10],
            &[0; 6],
            &[192, 0, 2, 10],
        ];
        assert_eq!(frame, expected.concat());
    }

    #[test]
    fn a_neighbor_advertisement_overrides_and_sums_to_zero() {
        let address: Ipv6Addr = "2001:db8::10".parse().unwrap();
        let frame = announcement(address.into(), ETHERNET);
        assert_eq!(frame.len(), 86);
        assert_eq!(frame[..6], ALL_NODES_ETHERNET);
        assert_eq!(frame[12..22], [0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(
            (&frame[22..38], &frame[38..54]),
            (&address.octets()[..], &ALL_NODES.octets()[..])
        );
        let message = &frame[54..];
        assert_eq!((message[0], message[4], message[24], message[25]), (136, 0x20, 2, 1));
        assert_eq!((&message[8..24], &message[26..]), (&address.octets()[..], &ETHERNET[..]));
        // A sum that includes the checksum itself is zero (RFC 1071).
        assert_eq!(checksum(address, message), 0);
    }
}
