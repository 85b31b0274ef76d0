//! Marks a frame that is ready to leave as having met congestion (RFC 3168).

use ebpf_common::checksum::apply_word;

/// The two bits of congestion notification in a traffic class.
const ECN: u8 = 0b11;
/// Bytes of an Ethernet header, and of a VLAN tag.
const ETHERNET: usize = 14;
const VLAN: usize = 4;

/// Marks the outermost IP header, where its sender understands marks and has none; tells whether it
/// did. The other end of a tunnel hands the mark on (RFC 6040).
pub fn mark(frame: &mut [u8]) -> bool {
    let mut at = ETHERNET;
    // At most two tags (IEEE 802.1ad).
    for _ in 0..2 {
        if matches!(frame.get(at - 2..at), Some([0x81, 0x00] | [0x88, 0xa8])) {
            at += VLAN;
        }
    }
    let Some((ethernet, ip)) = frame.split_at_mut_checked(at) else { return false };
    match ethernet.last_chunk() {
        Some([0x08, 0x00]) if ip.len() >= 20 => mark_v4(ip),
        Some([0x86, 0xdd]) if ip.len() >= 40 => mark_v6(ip),
        _ => false,
    }
}

fn mark_v4(ip: &mut [u8]) -> bool {
    if !is_marked_by(ip[1]) {
        return false;
    }
    let word = |high: u8, low: u8| u16::from_ne_bytes([high, low]);
    let marked = ip[1] | ECN;
    let checksum = apply_word(word(ip[10], ip[11]), word(ip[0], ip[1]), word(ip[0], marked));
    ip[1] = marked;
    ip[10..12].copy_from_slice(&checksum.to_ne_bytes());
    true
}

fn mark_v6(ip: &mut [u8]) -> bool {
    if !is_marked_by(ip[1] >> 4) {
        return false;
    }
    ip[1] |= ECN << 4;
    true
}

/// Tells whether a mark changes a traffic class: not 0, a sender that does not understand marks.
fn is_marked_by(class: u8) -> bool {
    !matches!(class & ECN, 0 | ECN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u16 {
        let sum: u32 = bytes.chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(p[1])).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    fn v4(class: u8) -> Vec<u8> {
        let mut ip = vec![0x45, class, 0, 40, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0];
        ip.extend([10, 0, 0, 1, 192, 168, 255, 254]);
        let checksum = !sum(&ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        ip.resize(40, 7);
        ip
    }

    fn v6(class: u8) -> Vec<u8> {
        let mut ip = vec![0x60 | class >> 4, class << 4 | 5, 6, 7];
        ip.resize(60, 9);
        ip
    }

    #[test]
    fn what_its_sender_understands_is_marked_and_nothing_else_changes() {
        for tags in [&[][..], &[0x81, 0, 0, 5], &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 5]] {
            for class in 0..=u8::MAX {
                for (kind, ip, marked) in
                    [([8, 0], v4(class), v4(class | 3)), ([0x86, 0xdd], v6(class), v6(class | 3))]
                {
                    let frame = |ip: &[u8]| [&[2; 12][..], tags, &kind, ip].concat();
                    let mut found = frame(&ip);
                    let capable = matches!(class & 3, 1 | 2);
                    assert_eq!(mark(&mut found), capable);
                    assert_eq!(found, frame(if capable { &marked } else { &ip }), "{class:#x}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_ip_packet_is_left_alone() {
        for frame in [&[2u8; 14][..], &[8, 0].repeat(8), &[0x81, 0].repeat(10)] {
            let mut found = frame.to_vec();
            assert!(!mark(&mut found));
            assert_eq!(found, frame);
        }
    }
}
