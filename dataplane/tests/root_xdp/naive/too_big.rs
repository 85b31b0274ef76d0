//! What the sender of a packet is told that is larger than its way takes (RFC 1191, RFC 4443).

use super::{
    Arrival, Outcome, Verdict,
    reading::Packet,
    writing::{checksum, octets, pseudo, put},
};

/// Bytes of the packet that are quoted.
const QUOTED: usize = 64;

/// The message, which goes back the way that the packet came, from where it was sent to. It quotes
/// the packet with its marks, as a router that has changed it does.
pub(super) fn told(frame: &[u8], packet: &Packet, mtu: u16, arrival: Arrival) -> Outcome {
    let (from, to) = (packet.destination.ip(), packet.source.ip());
    let v6 = packet.v6();
    let (kind, code) = if v6 { (2, 0) } else { (3, 4) };
    let mut icmp = vec![kind, code, 0, 0, 0, 0];
    icmp.extend(mtu.to_be_bytes());
    icmp.extend(&frame[14..14 + QUOTED]);
    let pseudo = if v6 { pseudo(from, to, 58, icmp.len()) } else { Vec::new() };
    let sum = checksum(&[&pseudo, &icmp]);
    put(&mut icmp, 2, &sum.to_be_bytes());
    let mut ip = if v6 {
        vec![0x60, 0, 0, 0, 0, icmp.len() as u8, 58, 64]
    } else {
        vec![0x45, 0, 0, 20 + icmp.len() as u8, 0, 0, 0, 0, 64, 1, 0, 0]
    };
    ip.extend(octets(from));
    ip.extend(octets(to));
    if !v6 {
        let sum = checksum(&[&ip]);
        put(&mut ip, 10, &sum.to_be_bytes());
    }
    let told = [&frame[6..12], &frame[..6], &frame[12..14], &ip, &icmp].concat();
    // With the tag that the packet came with.
    Outcome { verdict: Verdict::Out(arrival.interface), tag: arrival.tag, frame: told }
}
