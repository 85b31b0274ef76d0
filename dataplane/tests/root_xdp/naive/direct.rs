//! Direct server return: the packet goes to its endpoint as it is.

use std::net::{IpAddr, SocketAddr};

use dataplane::xdp::plan::Frontend;
use ebpf_common::verdict::Reason;
use model::listener::Forwarding;

use super::{
    Arrival, Flow, Model, Outcome, Service, TCP, flow_hash, led_to,
    nat::opens,
    network::NextHop,
    reading::Packet,
    too_big,
    writing::{self, checksum, octets, put},
};

/// UDP port of GUE (IANA), and the first that flows are spread over.
const GUE: u16 = 6_080;
const GUE_SOURCES: u16 = 49_152;

impl Model {
    /// A packet from a client.
    pub(super) fn send_direct(
        &mut self,
        marked: &[u8],
        packet: &Packet,
        frontend: Frontend,
        service: &Service,
        arrival: Arrival,
        seen: &Outcome,
    ) -> Result<Outcome, Reason> {
        let flow = packet.flow();
        let to = |model: &Self, endpoint: SocketAddr| {
            model.to_endpoint(marked, packet, service, &flow, endpoint, arrival)
        };
        let known = self.flows.get(&flow).copied();
        if let Some(endpoint) = known.filter(|_| !opens(packet)) {
            let has = |it: SocketAddr| service.has(it);
            // Within seconds a UDP flow leaves an endpoint that left; when is left open.
            let stays = packet.protocol == TCP || !service.carried || has(endpoint);
            if stays || led_to(&to(self, endpoint), seen) {
                return to(self, endpoint);
            }
        }
        if !service.carried {
            return Err(Reason::Draining);
        }
        let endpoints =
            if frontend.address.is_some_and(|it| it.is_ipv6()) { &service.v6 } else { &service.v4 };
        let before = service.before.choose(&flow);
        // What is in the middle of a connection may have begun before the last change, also where
        // nothing begins any more.
        let earlier = before.filter(|_| packet.protocol == TCP && !opens(packet));
        let current = earlier.or_else(|| endpoints.choose(&flow)).ok_or(Reason::NoBackend)?;
        if opens(packet) {
            // It is remembered where what follows would go elsewhere.
            if known.or(before).unwrap_or(current) != current {
                self.flows.insert(flow, current);
            }
            return to(self, current);
        }
        self.flows.insert(flow, current);
        to(self, current)
    }

    /// Where an error about a flow goes.
    pub(super) fn endpoint_of(&self, service: &Service, flow: &Flow) -> Result<SocketAddr, Reason> {
        if let Some(endpoint) = self.flows.get(flow) {
            return Ok(*endpoint);
        }
        // One of the families has none.
        [&service.before, &service.v4, &service.v6]
            .into_iter()
            .find_map(|pool| pool.choose(flow))
            .ok_or(Reason::NoBackend)
    }

    fn to_endpoint(
        &self,
        marked: &[u8],
        packet: &Packet,
        service: &Service,
        flow: &Flow,
        endpoint: SocketAddr,
        arrival: Arrival,
    ) -> Result<Outcome, Reason> {
        let hop = self.way(endpoint.ip())?;
        if let Some(mtu) = exceeded(packet.length, packet.v6(), service.forwarding, &hop) {
            return Ok(too_big::told(marked, packet, mtu, arrival));
        }
        let class = if packet.v6() { marked[14] << 4 | marked[15] >> 4 } else { marked[15] };
        let wrapped =
            wrap(marked, packet.length, class, service.forwarding, flow, endpoint.ip(), &hop)?;
        Ok(self.out(&hop, wrapped))
    }
}

fn overhead(v6: bool, forwarding: Forwarding) -> usize {
    match (forwarding, v6) {
        (Forwarding::Nat | Forwarding::L2, _) => 0,
        (Forwarding::Ipip, false) => 20,
        (Forwarding::Ipip, true) => 40,
        (Forwarding::Gue, false) => 28,
        (Forwarding::Gue, true) => 48,
    }
}

/// Returns what fits where a packet does not.
pub(super) fn exceeded(
    length: usize,
    v6: bool,
    forwarding: Forwarding,
    hop: &NextHop,
) -> Option<u16> {
    let overhead = overhead(v6, forwarding);
    let mtu = hop.mtu.filter(|mtu| length + overhead > usize::from(*mtu))?;
    Some(mtu - overhead as u16)
}

/// Puts a frame, whose IP packet has that length and class, into what the way of forwarding wants.
pub(super) fn wrap(
    frame: &[u8],
    length: usize,
    class: u8,
    forwarding: Forwarding,
    flow: &Flow,
    endpoint: IpAddr,
    hop: &NextHop,
) -> Result<Vec<u8>, Reason> {
    if forwarding == Forwarding::L2 {
        if hop.gateway {
            return Err(Reason::NotOnLink);
        }
        let mut after = frame.to_vec();
        writing::ethernet(&mut after, hop);
        return Ok(after);
    }
    let gue = forwarding == Forwarding::Gue;
    let v6 = endpoint.is_ipv6();
    let protocol = match (gue, v6) {
        (true, _) => 17,
        (false, false) => 4,
        (false, true) => 41,
    };
    let node: IpAddr = if v6 { [0xfd00, 0, 0, 0, 0, 0, 0, 1].into() } else { [10, 0, 0, 1].into() };
    let mut outer = if v6 {
        let mut ip = vec![0x60 | class >> 4, class << 4, 0, 0, 0, 0, protocol, 64];
        let payload = length + if gue { 8 } else { 0 };
        put(&mut ip, 4, &(payload as u16).to_be_bytes());
        ip
    } else {
        let total = (length + overhead(false, forwarding)) as u16;
        let mut ip = vec![0x45, class, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        put(&mut ip, 2, &total.to_be_bytes());
        ip
    };
    outer.extend(octets(node));
    outer.extend(octets(endpoint));
    if !v6 {
        let sum = checksum(&[&outer]);
        put(&mut outer, 10, &sum.to_be_bytes());
    }
    if gue {
        let port = GUE_SOURCES | (flow_hash(flow) >> 50) as u16;
        for word in [port, GUE, (length + 8) as u16, 0] {
            outer.extend(word.to_be_bytes());
        }
    }
    let ethertype: [u8; 2] = if v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    Ok([&hop.to[..], &hop.from, &ethertype, &outer, &frame[14..]].concat())
}
