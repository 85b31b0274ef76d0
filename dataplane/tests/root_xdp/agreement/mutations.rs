//! What may be wrong or rare in a frame.

use rand::{Rng as _, rngs::StdRng};

/// Changes a frame in one of many ways.
pub(super) fn mutate(random: &mut StdRng, frame: &mut Vec<u8>) {
    let v6 = frame.get(12) == Some(&0x86);
    let header = if v6 { 40 } else { 20 };
    let length = frame.len();
    match random.random_range(0..16) {
        // Cut anywhere.
        0..=2 => frame.truncate(random.random_range(0..length)),
        // Bits of the headers, or of anything.
        3..=5 => {
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(12..length.clamp(13, 96));
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= 1 << random.random_range(0..8);
                }
            }
        }
        // A length that is too great, too small, or anything.
        6 | 7 => {
            let at = if v6 { 18 } else { 16 };
            let wrong = match random.random_range(0..3) {
                0 => (length as u16).wrapping_sub(random.random_range(0..80)),
                1 => random.random_range(0..100),
                _ => random.random(),
            };
            put(frame, at, &wrong.to_be_bytes());
        }
        // UDP's own length, or some of TCP's numbers.
        8 => put(frame, 14 + header + 4, &random.random::<u16>().to_be_bytes()),
        // A checksum of zero, of ones, or another.
        9 => {
            let at = 14 + header + if random.random_bool(0.5) { 6 } else { 16 };
            let sum = [0, 0xffff, random.random::<u16>()][random.random_range(0..3)];
            put(frame, at, &sum.to_be_bytes());
        }
        10 => tag(random, frame),
        11 => fragment(random, frame, v6),
        12 => options(random, frame, v6),
        // Ethernet's padding.
        13 | 14 => frame.extend((0..random.random_range(1..40)).map(|_| random.random::<u8>())),
        // An address that is IPv4's in IPv6, or bytes of no kind.
        _ if v6 => {
            let at = if random.random_bool(0.5) { 22 } else { 38 };
            put(frame, at, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        }
        _ => random.fill(&mut frame[14..]),
    }
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = frame.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// A VLAN tag (IEEE 802.1Q), or two.
fn tag(random: &mut StdRng, frame: &mut Vec<u8>) {
    let vlan = random.random::<u16>().to_be_bytes();
    let kind: [u8; 2] = if random.random_bool(0.7) { [0x81, 0x00] } else { [0x88, 0xa8] };
    frame.splice(12..12, kind.into_iter().chain(vlan));
}

/// A first, middle or last fragment.
fn fragment(random: &mut StdRng, frame: &mut Vec<u8>, v6: bool) {
    let field: u16 = match random.random_range(0..3) {
        0 => 1,
        1 => random.random::<u16>() << 3 | 1,
        _ => random.random_range(1..1_000) << 3,
    };
    if v6 {
        extend_v6(frame, 44, [0, 0, field.to_be_bytes()[0], field.to_be_bytes()[1], 1, 2, 3, 4]);
    } else {
        // More fragments is another bit there.
        let field = (field & 1) << 13 | field >> 3;
        put(frame, 20, &field.to_be_bytes());
    }
}

/// IPv4 options, or an IPv6 extension header.
fn options(random: &mut StdRng, frame: &mut Vec<u8>, v6: bool) {
    if v6 {
        let kind = [0, 43, 51, 60, 135, 50, 59][random.random_range(0..7)];
        extend_v6(frame, kind, [0, 0, 1, 4, 0, 0, 0, 0]);
    } else if frame.len() >= 34 {
        let words = random.random_range(1..=10u8);
        frame[14] = 0x45 + words;
        let length = u16::from_be_bytes([frame[16], frame[17]]).wrapping_add(u16::from(words) * 4);
        put(frame, 16, &length.to_be_bytes());
        frame.splice(34..34, (0..words * 4).map(|_| 1));
    }
}

/// Puts an extension header behind IPv6's.
fn extend_v6(frame: &mut Vec<u8>, kind: u8, mut header: [u8; 8]) {
    if frame.len() < 54 {
        return;
    }
    header[0] = frame[20];
    frame[20] = kind;
    let payload = u16::from_be_bytes([frame[18], frame[19]]).wrapping_add(8);
    put(frame, 18, &payload.to_be_bytes());
    frame.splice(54..54, header);
}
