//! Full NAT: both directions of a connection.

use std::net::{IpAddr, SocketAddr};

use dataplane::xdp::plan::Frontend;
use ebpf_common::verdict::Reason;
use model::listener::Forwarding;

use super::{
    Arrival, Connection, Flow, Model, NODE_PORTS, Outcome, Service, TCP, Verdict,
    cookies::way_back,
    led_to,
    network::NextHop,
    reading::{Packet, word},
    too_big, writing,
};

const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;

/// A segment that begins a connection.
pub(super) fn opens(packet: &Packet) -> bool {
    packet.protocol == TCP && packet.flags & (SYN | ACK | RST) == SYN
}

/// A marked frame before and after its numbers were changed.
#[derive(Clone, Copy)]
struct Changed<'a> {
    before: &'a [u8],
    after: &'a [u8],
}

impl<'a> Changed<'a> {
    fn only(marked: &'a [u8]) -> Self {
        Self { before: marked, after: marked }
    }
}

impl Connection {
    /// Whether one side has reset the connection or both have closed it.
    fn is_over(&self) -> bool {
        let [client, backend] = self.sent.map(Option::unwrap_or_default);
        (client | backend) & RST != 0 || client & backend & FIN != 0
    }

    /// Whether both sides have been heard.
    pub(super) fn is_answered(&self) -> bool {
        self.sent.iter().all(Option::is_some)
    }

    fn note(&mut self, side: usize, flags: u8) {
        self.sent[side] = Some(self.sent[side].unwrap_or_default() | flags);
    }
}

impl Model {
    /// Returns the flow of the client to whose connection a backend's packet belongs.
    pub(super) fn client_of(&self, packet: &Packet) -> Option<Flow> {
        self.client_of_answer(&packet.flow())
    }

    pub(super) fn client_of_answer(&self, (protocol, source, destination): &Flow) -> Option<Flow> {
        let is_its = |(flow, connection): &(&Flow, &Connection)| {
            flow.0 == *protocol
                && connection.backend == *source
                && connection.node == destination.ip()
                && connection.port == Some(destination.port())
        };
        self.connections.iter().find(is_its).map(|(flow, _)| *flow)
    }

    /// A packet from a backend to a port that a connection leaves from.
    pub(super) fn send_back(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        client: Flow,
        arrival: Arrival,
        seen: &Outcome,
    ) -> Result<Outcome, Reason> {
        check(packet)?;
        let way = self.way(client.1.ip());
        let connection = self.connections.get_mut(&client).expect("it was found");
        connection.note(1, packet.flags);
        // By the way that the client's packets came where the node knows none.
        if let Ok(way) = way {
            connection.back = way;
        }
        let connection = connection.clone();
        let service = self.services.get(&connection.frontend);
        let nat = service.filter(|service| service.forwarding == Forwarding::Nat);
        let marked = writing::marked(frame, packet, nat.and_then(|service| service.dscp), seen);
        let ends = (client.2, client.1);
        let unchanged = marked;
        let marked = match connection.splice {
            Some(splice) => {
                match self.spliced_back(&unchanged, packet, &client, splice, arrival)? {
                    Ok(renumbered) => renumbered,
                    Err(outcome) => return Ok(outcome),
                }
            }
            None => unchanged.clone(),
        };
        let whole = Changed { before: &unchanged, after: &marked };
        self.send(frame, whole, packet, ends, &connection.back, arrival, seen)
    }

    /// A packet from a client.
    #[expect(clippy::too_many_arguments, reason = "what is known of the packet")]
    pub(super) fn send_there(
        &mut self,
        frame: &[u8],
        marked: &[u8],
        packet: &Packet,
        frontend: Frontend,
        service: &Service,
        arrival: Arrival,
        seen: &Outcome,
    ) -> Result<Outcome, Reason> {
        check(packet)?;
        let flow = packet.flow();
        if let Some(connection) = self.connections.get(&flow) {
            let connection = connection.clone();
            let goes_on = if packet.protocol == TCP {
                !(connection.is_over() && opens(packet))
            } else {
                // Within seconds a flow leaves a backend that left; when is left open.
                service.has(connection.backend)
                    || !service.carried
                    || led_to(
                        &self.go_on(frame, Changed::only(marked), packet, &flow, arrival, seen),
                        seen,
                    )
            };
            if goes_on {
                self.connections.get_mut(&flow).expect("it is there").note(0, packet.flags);
                if let Some(splice) = connection.splice {
                    return match self.spliced_there(frame, marked, packet, splice, seen)? {
                        Ok(renumbered) => {
                            let whole = Changed { before: marked, after: &renumbered };
                            self.go_on(frame, whole, packet, &flow, arrival, seen)
                        }
                        Err(outcome) => Ok(outcome),
                    };
                }
                return self.go_on(frame, Changed::only(marked), packet, &flow, arrival, seen);
            }
            self.connections.remove(&flow);
            // The one exception to passing a packet as it came: its connection had to be found before
            // it was known that no other can begin.
            let nowhere = Verdict::Pass(Reason::NoBackend);
            let endpoints = if packet.v6() { &service.v6 } else { &service.v4 };
            let begun = endpoints.choose(&flow).map(drop).ok_or(Reason::NoBackend);
            if service.carried && begun == Err(Reason::NoBackend) {
                let frame = writing::tagged(marked, arrival.tag);
                return Ok(Outcome { verdict: nowhere, tag: None, frame });
            }
        }
        if !service.carried {
            self.connections.remove(&flow);
            return Err(Reason::Draining);
        }
        if service.cookies {
            return self.meet(frame, marked, packet, frontend, service, arrival, seen);
        }
        self.begin(frame, packet, frontend, service, arrival)?;
        self.go_on(frame, Changed::only(marked), packet, &flow, arrival, seen)
    }

    /// Begins a connection, of which the port is not known yet.
    pub(super) fn begin(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        frontend: Frontend,
        service: &Service,
        arrival: Arrival,
    ) -> Result<(), Reason> {
        let (endpoints, node) = if packet.v6() {
            (&service.v6, IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]))
        } else {
            (&service.v4, IpAddr::from([10, 0, 0, 1]))
        };
        let flow = packet.flow();
        let backend = endpoints.choose(&flow).ok_or(Reason::NoBackend)?;
        self.way(backend.ip())?;
        let back = way_back(frame, arrival);
        let sent = [Some(packet.flags), None];
        let splice = None;
        let connection = Connection { frontend, backend, node, port: None, back, splice, sent };
        self.connections.insert(flow, connection);
        Ok(())
    }

    /// Sends a packet of a connection to its backend, from its port: any that is free when this is
    /// the first packet that is seen with it.
    fn go_on(
        &mut self,
        frame: &[u8],
        marked: Changed<'_>,
        packet: &Packet,
        flow: &Flow,
        arrival: Arrival,
        seen: &Outcome,
    ) -> Result<Outcome, Reason> {
        let connection = self.connections[flow].clone();
        let hop = self.way(connection.backend.ip())?;
        let fits = hop.mtu.is_none_or(|mtu| packet.length <= usize::from(mtu));
        let port =
            if fits { self.port_of(packet, flow, seen) } else { connection.port.unwrap_or(0) };
        // Zero is no port that anything leaves from: what was seen is then refused.
        let ends = (SocketAddr::new(connection.node, port), connection.backend);
        self.send(frame, marked, packet, ends, &hop, arrival, seen)
    }

    /// Returns the port that a connection leaves from: any that is free when none was seen yet; zero, which
    /// none is, where that is not what was seen.
    pub(super) fn port_of(&mut self, packet: &Packet, flow: &Flow, seen: &Outcome) -> u16 {
        let connection = self.connections[flow].clone();
        let there = match seen.verdict {
            Verdict::Out(_) => seen.frame.get(packet.transport..packet.transport + 2),
            _ => None,
        };
        let port = connection.port.or_else(|| {
            let port = word(there?, 0);
            let answer = (flow.0, connection.backend, SocketAddr::new(connection.node, port));
            let is_free = NODE_PORTS.contains(&port) && self.client_of_answer(&answer).is_none();
            is_free.then_some(port)
        });
        self.connections.get_mut(flow).expect("it is there").port = port;
        port.unwrap_or(0)
    }

    #[expect(clippy::too_many_arguments, reason = "what is known of the packet")]
    fn send(
        &self,
        frame: &[u8],
        marked: Changed<'_>,
        packet: &Packet,
        ends: (SocketAddr, SocketAddr),
        hop: &NextHop,
        arrival: Arrival,
        seen: &Outcome,
    ) -> Result<Outcome, Reason> {
        if let Some(mtu) = hop.mtu.filter(|mtu| packet.length > usize::from(*mtu)) {
            return Ok(too_big::told(marked.before, packet, mtu, arrival));
        }
        let frame = writing::translated(frame, marked.after, packet, ends, hop, seen);
        Ok(self.out(hop, frame))
    }
}

/// What every packet that is translated must have.
fn check(packet: &Packet) -> Result<(), Reason> {
    if packet.hops <= 1 {
        return Err(Reason::HopLimit);
    }
    // RFC 8200 section 8.1.
    if packet.v6() && packet.unchecked {
        return Err(Reason::NoChecksum);
    }
    Ok(())
}
