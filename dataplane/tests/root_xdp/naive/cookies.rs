//! SYN cookies (docs/configuration.md, "SYN cookies"): the handshake with the client, the one with the
//! backend, and numbers that differ.
//!
//! What a cookie is, is the program's own business: the model takes it from the SYN-ACK that was seen,
//! and lets nothing else pass for one.

use std::net::SocketAddr;

use dataplane::xdp::plan::Frontend;
use ebpf_common::verdict::Reason;

use super::{
    Arrival, Flow, Model, Outcome, Service, TCP, Verdict,
    nat::{ACK, RST, SYN, opens},
    network::NextHop,
    reading::{Packet, word},
    writing::{checksum, octets, pseudo},
};

/// The largest segments that a cookie can tell.
const SIZES: [u16; 8] = [216, 536, 1_220, 1_300, 1_380, 1_440, 1_460, 8_940];

/// A cookie that was given to a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    /// The client's first number.
    pub(crate) first: u32,
    pub(crate) cookie: u32,
    size: u16,
}

/// What a spliced connection knows of its numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Splice {
    pub(super) cookie: u32,
    /// By how much the backend's numbers are ahead, once it has answered.
    pub(super) ahead: Option<u32>,
}

/// A segment of the node's own making.
struct Made {
    ends: (SocketAddr, SocketAddr),
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    window: u16,
    class: u8,
    /// Options and payload.
    options: Vec<u8>,
    payload: Vec<u8>,
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from(word(bytes, at)) << 16 | u32::from(word(bytes, at + 2))
}

impl Made {
    /// The whole frame: one hop limit for all, and nobody may cut it.
    fn frame(&self, hop: &NextHop) -> Vec<u8> {
        let (source, destination) = self.ends;
        let mut tcp = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgement.to_be_bytes());
        tcp.extend([(20 + self.options.len() as u8) << 2, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.options);
        tcp.extend(&self.payload);
        let pseudo = pseudo(source.ip(), destination.ip(), TCP, tcp.len());
        let sum = checksum(&[&pseudo, &tcp]);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut ip = if source.is_ipv6() {
            let length = (tcp.len() as u16).to_be_bytes();
            let class = [0x60 | self.class >> 4, self.class << 4, 0, 0];
            [&class[..], &length, &[TCP, 64]].concat()
        } else {
            let length = (20 + tcp.len() as u16).to_be_bytes();
            [&[0x45, self.class][..], &length, &[0, 0, 0x40, 0, 64, TCP, 0, 0]].concat()
        };
        ip.extend(octets(source.ip()));
        ip.extend(octets(destination.ip()));
        if source.is_ipv4() {
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let ethertype: [u8; 2] = if source.is_ipv6() { [0x86, 0xdd] } else { [0x08, 0x00] };
        [&hop.to[..], &hop.from, &ethertype, &ip, &tcp].concat()
    }
}

fn size_option(size: u16) -> Vec<u8> {
    [[2, 4], size.to_be_bytes()].concat()
}

/// The largest segment that a SYN says its sender takes.
fn size_of(frame: &[u8], packet: &Packet) -> u16 {
    let header = usize::from(frame[packet.transport + 12] >> 4) * 4;
    let there = (14 + packet.length - packet.transport) / 4 * 4;
    let end = packet.transport + header.min(there).max(20);
    let mut options = frame[packet.transport + 20..end].to_vec();
    options.resize(300, 0);
    let mut at = 0;
    let mut said = 0;
    while at < 40 {
        match options[at..at + 4] {
            [0, ..] => break,
            [1, ..] => at += 1,
            [2, 4, high, low] => {
                said = u16::from_be_bytes([high, low]);
                break;
            }
            [_, 0 | 1, ..] => break,
            [_, length, ..] => at += usize::from(length),
            _ => unreachable!("there are four"),
        }
    }
    match (said, packet.v6()) {
        (0, false) => 536,
        (0, true) => 1_220,
        _ => said,
    }
}

fn class_of(frame: &[u8], packet: &Packet) -> u8 {
    let class = if packet.v6() { frame[14] << 4 | frame[15] >> 4 } else { frame[15] };
    class & !3
}

impl Model {
    /// A packet of no connection to a listener with SYN cookies.
    #[expect(clippy::too_many_arguments, reason = "what is known of the packet")]
    pub(super) fn meet(
        &mut self,
        frame: &[u8],
        marked: &[u8],
        packet: &Packet,
        frontend: Frontend,
        service: &Service,
        arrival: Arrival,
        seen: &Outcome,
    ) -> Result<Outcome, Reason> {
        let endpoints = if packet.v6() { &service.v6 } else { &service.v4 };
        endpoints.choose(&packet.flow()).ok_or(Reason::NoBackend)?;
        if opens(packet) {
            return Ok(self.answer(frame, packet, arrival, seen));
        }
        let given = self.given_to(frame, packet).ok_or(Reason::CookieRefused)?;
        self.begin(frame, packet, frontend, service, arrival)?;
        let connection = self.connections.get_mut(&packet.flow()).expect("it has begun");
        connection.splice = Some(Splice { cookie: given.cookie, ahead: None });
        self.open(frame, marked, packet, given, seen)
    }

    /// The answer to a SYN.
    fn answer(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        arrival: Arrival,
        seen: &Outcome,
    ) -> Outcome {
        let first = long(frame, packet.transport + 4);
        let said = size_of(frame, packet);
        let size = SIZES.into_iter().rev().find(|size| *size <= said).unwrap_or(SIZES[0]);
        let known = self.given.entry(packet.flow()).or_default();
        let there = match seen.verdict {
            Verdict::Out(_) if seen.frame.len() > packet.transport + 8 => {
                long(&seen.frame, packet.transport + 4)
            }
            _ => 0,
        };
        // One that comes again has the same answer; within half a minute another once.
        let same: Vec<&Given> =
            known.iter().filter(|it| (it.first, it.size) == (first, size)).collect();
        let cookie = match same.as_slice() {
            [.., last] if same.len() == 2 || last.cookie == there => last.cookie,
            _ => {
                known.push(Given { first, cookie: there, size });
                there
            }
        };
        let hop = way_back(frame, arrival);
        let made = Made {
            ends: (packet.destination, packet.source),
            sequence: cookie,
            acknowledgement: first.wrapping_add(1),
            flags: SYN | ACK,
            window: 0,
            class: 0,
            options: size_option(size.min(if packet.v6() { 1_440 } else { 1_460 })),
            payload: Vec::new(),
        };
        self.out(&hop, made.frame(&hop))
    }

    /// The cookie that a packet acknowledges, by its number or as a probe of a closed window.
    fn given_to(&self, frame: &[u8], packet: &Packet) -> Option<Given> {
        if packet.flags & (SYN | RST | ACK) != ACK {
            return None;
        }
        let sequence = long(frame, packet.transport + 4);
        let cookie = long(frame, packet.transport + 8).wrapping_sub(1);
        let fits = |it: &&Given| {
            it.cookie == cookie && (it.first == sequence.wrapping_sub(1) || it.first == sequence)
        };
        self.given.get(&packet.flow())?.iter().find(fits).copied()
    }

    /// The SYN to the backend, of what the client's packet says.
    fn open(
        &mut self,
        frame: &[u8],
        marked: &[u8],
        packet: &Packet,
        given: Given,
        seen: &Outcome,
    ) -> Result<Outcome, Reason> {
        let hop = self.way(self.connections[&packet.flow()].backend.ip())?;
        let port = self.port_of(packet, &packet.flow(), seen);
        let connection = &self.connections[&packet.flow()];
        let made = Made {
            ends: (SocketAddr::new(connection.node, port), connection.backend),
            sequence: given.first,
            acknowledgement: 0,
            flags: SYN,
            window: word(frame, packet.transport + 14),
            class: class_of(marked, packet),
            options: size_option(given.size),
            payload: Vec::new(),
        };
        Ok(self.out(&hop, made.frame(&hop)))
    }

    /// A packet of a client whose connection is spliced: what it becomes before it is translated, or what
    /// goes out for it.
    pub(super) fn spliced_there(
        &mut self,
        frame: &[u8],
        marked: &[u8],
        packet: &Packet,
        splice: Splice,
        seen: &Outcome,
    ) -> Result<Result<Vec<u8>, Outcome>, Reason> {
        let Some(ahead) = splice.ahead else {
            let given = self.given_to(frame, packet).filter(|it| it.cookie == splice.cookie);
            let given = given.ok_or(Reason::BackendPending)?;
            return Ok(Err(self.open(frame, marked, packet, given, seen)?));
        };
        let ahead = if packet.flags & ACK != 0 { ahead } else { 0 };
        Ok(Ok(renumbered(marked, packet.transport + 8, ahead)))
    }

    /// The same for a packet of its backend.
    pub(super) fn spliced_back(
        &mut self,
        marked: &[u8],
        packet: &Packet,
        client: &Flow,
        splice: Splice,
        arrival: Arrival,
    ) -> Result<Result<Vec<u8>, Outcome>, Reason> {
        let sequence = long(marked, packet.transport + 4);
        let flags = packet.flags & (SYN | ACK | RST);
        let made = Made {
            ends: (client.2, client.1),
            sequence: splice.cookie,
            acknowledgement: long(marked, packet.transport + 8),
            flags: ACK,
            window: word(marked, packet.transport + 14),
            class: class_of(marked, packet),
            options: Vec::new(),
            payload: vec![0],
        };
        if flags == SYN | ACK {
            let ahead = Some(sequence.wrapping_sub(splice.cookie));
            let connection = self.connections.get_mut(client).expect("it was found");
            connection.splice = Some(Splice { ahead, ..splice });
            let hop = connection.back.clone();
            return Ok(Err(self.out(&hop, made.frame(&hop))));
        }
        if let Some(ahead) = splice.ahead {
            return Ok(Ok(renumbered(marked, packet.transport + 4, ahead.wrapping_neg())));
        }
        if flags & RST != 0 {
            let due = splice.cookie.wrapping_add(1).wrapping_sub(sequence);
            return Ok(Ok(renumbered(marked, packet.transport + 4, due)));
        }
        if flags & ACK == 0 {
            return Err(Reason::BackendPending);
        }
        let hop = way_back(marked, arrival);
        let reset = Made {
            ends: (packet.destination, packet.source),
            sequence: made.acknowledgement,
            acknowledgement: 0,
            flags: RST,
            window: 0,
            class: 0,
            payload: Vec::new(),
            ..made
        };
        Ok(Err(self.out(&hop, reset.frame(&hop))))
    }
}

/// Adds to a number of a frame.
pub(super) fn renumbered(frame: &[u8], at: usize, by: u32) -> Vec<u8> {
    let mut after = frame.to_vec();
    let number = long(frame, at).wrapping_add(by);
    after[at..at + 4].copy_from_slice(&number.to_be_bytes());
    after
}

/// The way that a frame came, back.
pub(super) fn way_back(frame: &[u8], arrival: Arrival) -> NextHop {
    NextHop {
        interface: arrival.interface,
        to: frame[6..12].try_into().unwrap(),
        from: frame[..6].try_into().unwrap(),
        mtu: None,
        gateway: false,
        // VLAN 0 is none: such a tag has a priority only.
        vlan: arrival.tag.map(|tag| tag & 0x0fff).filter(|vlan| *vlan != 0),
    }
}
