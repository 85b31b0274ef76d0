//! Parse and rewrite on made-up frames, against a model that shares no code with them.

use proptest::prelude::*;
use std::{vec, vec::Vec};

use crate::{
    layout::{Address, Hop, TCP, Tuple, UDP},
    parse::{ETHERNET, IPV4, IPV6, Packet, family, parse},
    rewrite::{reversed, rewrite, translated, translation},
    verdict::{Action, Reason},
};

/// RFC 1071 by the definition, over big-endian words.
fn sum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum = 0u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn octets(address: &Address) -> Vec<u8> {
    let all: Vec<u8> = address.words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    if address.is_v4() { all[12..].to_vec() } else { all }
}

fn transport_sum(tuple: &Tuple, transport: &[u8]) -> u16 {
    let length = (transport.len() as u32).to_be_bytes();
    let (source, destination) = (octets(&tuple.source), octets(&tuple.destination));
    sum(&[&source, &destination, &length, &[0, 0, 0, tuple.protocol], transport])
}

fn frame(tuple: &Tuple, hop_limit: u8, flags: u8, payload: &[u8], checked: bool) -> Vec<u8> {
    let mut transport = tuple.source_port_be.to_ne_bytes().to_vec();
    transport.extend(tuple.destination_port_be.to_ne_bytes());
    let at = if tuple.protocol == TCP {
        transport.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, flags, 1, 0, 0, 0, 0, 0]);
        16
    } else {
        transport.extend((8 + payload.len() as u16).to_be_bytes());
        transport.extend([0, 0]);
        6
    };
    transport.extend(payload);
    if checked {
        let mut value = transport_sum(tuple, &transport);
        if value == 0 && tuple.protocol == UDP {
            value = 0xffff;
        }
        transport[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
    let mut bytes = vec![0; 12];
    if tuple.source.is_v4() {
        bytes.extend([8, 0]);
        let mut ip = vec![0x45, 0];
        ip.extend((20 + transport.len() as u16).to_be_bytes());
        ip.extend([0, 1, 0x40, 0, hop_limit, tuple.protocol, 0, 0]);
        ip.extend(octets(&tuple.source));
        ip.extend(octets(&tuple.destination));
        let value = sum(&[&ip]);
        ip[10..12].copy_from_slice(&value.to_be_bytes());
        bytes.extend(ip);
    } else {
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        bytes.extend((transport.len() as u16).to_be_bytes());
        bytes.extend([tuple.protocol, hop_limit]);
        bytes.extend(octets(&tuple.source));
        bytes.extend(octets(&tuple.destination));
    }
    bytes.extend(transport);
    bytes
}

fn parsed(bytes: &[u8]) -> Result<Packet, Reason> {
    let start = bytes.as_ptr() as usize;
    // SAFETY: these are the bounds of the slice.
    unsafe {
        family(start, start + bytes.len()).and_then(|it| parse(start, start + bytes.len(), it))
    }
}

fn verify(bytes: &[u8], tuple: &Tuple, checked: bool) {
    let header = if tuple.source.is_v4() { IPV4 } else { IPV6 };
    if tuple.source.is_v4() {
        assert_eq!(sum(&[&bytes[ETHERNET..ETHERNET + header]]), 0, "header checksum");
    }
    if checked {
        assert_eq!(transport_sum(tuple, &bytes[ETHERNET + header..]), 0, "transport checksum");
    }
}

prop_compose! {
    fn any_tuple(v6: bool)(
        words in prop::array::uniform8(any::<u32>()),
        ports in any::<(u16, u16)>(),
        tcp in any::<bool>(),
    ) -> Tuple {
        let address = |at: usize| {
            if v6 {
                // Never a mapped address.
                Address { words: [words[at] | 1, words[at + 1], words[at + 2], words[at + 3]] }
            } else {
                Address::v4(words[at])
            }
        };
        Tuple {
            source: address(0),
            destination: address(4),
            source_port_be: ports.0,
            destination_port_be: ports.1,
            protocol: if tcp { TCP } else { UDP },
            padding: 0,
            padding_end: 0,
        }
    }
}

fn two_tuples() -> impl Strategy<Value = (Tuple, Tuple)> {
    any::<bool>().prop_flat_map(|v6| (any_tuple(v6), any_tuple(v6))).prop_map(|(from, mut to)| {
        to.protocol = from.protocol;
        (from, to)
    })
}

proptest! {
    #[test]
    fn a_rewritten_frame_is_the_one_that_its_new_sender_would_have_made(
        (from, to) in two_tuples(),
        hop_limit in 2..=255u8,
        flags in any::<u8>(),
        payload in prop::collection::vec(any::<u8>(), 0..60),
        checked in any::<bool>(),
    ) {
        let checked = checked || from.protocol == TCP;
        let mut bytes = frame(&from, hop_limit, flags, &payload, checked);
        let packet = parsed(&bytes).expect("a whole frame");
        prop_assert_eq!(packet.tuple, from);
        prop_assert_eq!(usize::from(packet.length), bytes.len() - ETHERNET);
        prop_assert_eq!(packet.has_checksum, checked);
        let becomes = translation(&from, &to);
        let hop = Hop { destination: [1, 2, 3], source: [4, 5, 6], ..Hop::default() };
        let start = bytes.as_mut_ptr() as usize;
        // SAFETY: these are the bounds of the vector.
        unsafe { rewrite(start, start + bytes.len(), &packet, &becomes, &hop) }.expect("room");
        let after = parsed(&bytes).expect("still a whole frame");
        prop_assert_eq!(after.tuple, to);
        prop_assert_eq!(after.hop_limit, hop_limit - 1);
        verify(&bytes, &to, checked);
        let mut made = frame(&to, hop_limit - 1, flags, &payload, checked);
        made[..12].copy_from_slice(&bytes[..12]);
        prop_assert_eq!(bytes, made);
    }

    #[test]
    fn no_bytes_make_the_parser_read_outside_or_drop_anything(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        kind in 0..3u8,
    ) {
        let mut bytes = bytes;
        if bytes.len() > 24 && kind < 2 {
            // Mostly frames that get past the first comparisons.
            let start: [u8; 3] = if kind == 0 { [8, 0, 0x45] } else { [0x86, 0xdd, 0x60] };
            bytes[12..15].copy_from_slice(&start);
            bytes[if kind == 0 { 23 } else { 20 }] = if bytes[0] % 2 == 0 { TCP } else { UDP };
        }
        match parsed(&bytes) {
            Ok(packet) => prop_assert!(usize::from(packet.length) + ETHERNET <= bytes.len()),
            Err(reason) => prop_assert_eq!(reason.action(), Action::Pass),
        }
    }

    #[test]
    fn both_directions_undo_each_other((from, to) in two_tuples()) {
        let there = translation(&from, &to);
        let back_key = reversed(&translated(&there, from.protocol));
        let back = translation(&back_key, &reversed(&from));
        prop_assert_eq!(reversed(&translated(&back, from.protocol)), from);
        prop_assert_eq!(translated(&there, from.protocol), to);
    }
}
