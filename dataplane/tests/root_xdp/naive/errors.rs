//! ICMP errors about flows (RFC 792, RFC 4443, RFC 5508): they go where the packets of the flow go
//! that have the error's direction.

use std::net::SocketAddr;

use ebpf_common::verdict::Reason;
use model::listener::Forwarding;

use super::{
    Flow, Model, Outcome, TCP, UDP, Verdict,
    cookies::renumbered,
    direct::{exceeded, wrap},
    network::NextHop,
    reading::{address_v4, address_v6, word},
    writing::{Covered, ethernet, header_at, header_v4, octets, pseudo, put},
};

/// An ICMP error about a flow, which has its direction.
struct About {
    flow: Flow,
    v6: bool,
    length: usize,
    class: u8,
    hops: u8,
}

impl Model {
    pub(super) fn forward_error(&self, frame: &[u8], seen: &Outcome) -> Result<Outcome, Reason> {
        let about = read(frame)?;
        let frontend = self.frontend(about.flow.0, about.flow.2);
        let service = frontend.map(|frontend| &self.services[&frontend]);
        if let Some(service) = service.filter(|it| it.forwarding != Forwarding::Nat) {
            let endpoint = self.endpoint_of(service, &about.flow)?;
            let hop = self.way(endpoint.ip())?;
            if exceeded(about.length, about.v6, service.forwarding, &hop).is_some() {
                return Err(Reason::TooBig);
            }
            let (length, class) = (about.length, about.class);
            let to = endpoint.ip();
            let wrapped = wrap(frame, length, class, service.forwarding, &about.flow, to, &hop)?;
            return Ok(self.out(&hop, wrapped));
        }
        let (becomes, hop, ahead) = self.translation(&about, seen)?;
        if about.hops <= 1 {
            return Err(Reason::HopLimit);
        }
        if hop.mtu.is_some_and(|mtu| about.length > usize::from(mtu)) {
            return Err(Reason::TooBig);
        }
        Ok(self.out(&hop, translated(frame, &about, becomes, ahead, &hop, seen)))
    }

    /// Returns what the source and destination of a flow with full NAT become, its way, and by how much the
    /// numbers of what is quoted are ahead.
    fn translation(
        &self,
        about: &About,
        seen: &Outcome,
    ) -> Result<((SocketAddr, SocketAddr), NextHop, u32), Reason> {
        let mut ahead = 0;
        let (connection, becomes, hop) = if let Some(connection) = self.connections.get(&about.flow)
        {
            let node = SocketAddr::new(connection.node, connection.port.unwrap_or(0));
            // What the backend has sent is quoted.
            ahead = connection.splice.and_then(|splice| splice.ahead).unwrap_or(0);
            (connection, (node, connection.backend), self.way(connection.backend.ip())?)
        } else {
            let client = self.client_of_answer(&about.flow).ok_or(Reason::NotTransport)?;
            let connection = &self.connections[&client];
            (connection, (client.2, client.1), connection.back.clone())
        };
        // An error about a flow that nobody has answered for a while is left to the kernel.
        let left = seen.verdict == Verdict::Pass(Reason::NotTransport);
        if left && !connection.is_answered() {
            return Err(Reason::NotTransport);
        }
        Ok((becomes, hop, ahead))
    }
}

/// Reads an ICMP error about TCP or UDP that quotes the ports, without options.
fn read(frame: &[u8]) -> Result<About, Reason> {
    let no_error = Reason::NotTransport;
    let ip = &frame[14..];
    let v6 = word(frame, 12) == 0x86dd;
    let header = if v6 { 40 } else { 20 };
    let least = header + 8 + header + 8;
    if ip.len() < least {
        return Err(no_error);
    }
    let quoted = &ip[header + 8..];
    let kind = ip[header];
    let is_error = if v6 {
        ip[0] >> 4 == 6 && ip[6] == 58 && (1..=4).contains(&kind) && quoted[0] >> 4 == 6
    } else {
        let plain = ip[0] == 0x45 && quoted[0] == 0x45;
        plain && ip[9] == 1 && [3, 11, 12].contains(&kind) && word(quoted, 6) & 0x1fff == 0
    };
    if !is_error {
        return Err(no_error);
    }
    let length = if v6 { 40 + usize::from(word(ip, 4)) } else { usize::from(word(ip, 2)) };
    if length < least || length > ip.len() {
        return Err(Reason::Malformed);
    }
    let (from, to, receiver, protocol) = if v6 {
        (address_v6(quoted, 8), address_v6(quoted, 24), address_v6(ip, 24), quoted[6])
    } else {
        (address_v4(quoted, 12), address_v4(quoted, 16), address_v4(ip, 16), quoted[9])
    };
    // An error goes to who has sent what it is about.
    if from != receiver || ![TCP, UDP].contains(&protocol) {
        return Err(no_error);
    }
    let sender = SocketAddr::new(from, word(quoted, header));
    let other = SocketAddr::new(to, word(quoted, header + 2));
    let class = if v6 { ip[0] << 4 | ip[1] >> 4 } else { ip[1] };
    let hops = if v6 { ip[7] } else { ip[8] };
    Ok(About { flow: (protocol, other, sender), v6, length, class, hops })
}

/// The error as the flow's receiver should have it: from who it talks to, and about what it has sent.
fn translated(
    frame: &[u8],
    about: &About,
    (source, destination): (SocketAddr, SocketAddr),
    ahead: u32,
    hop: &NextHop,
    seen: &Outcome,
) -> Vec<u8> {
    let quoted_number = if about.v6 { 14 + 40 + 8 + 40 + 4 } else { 14 + 20 + 8 + 20 + 4 };
    let mut after = renumbered(frame, quoted_number, ahead);
    let (header, ends, quoted_ends) =
        if about.v6 { (40, (22, 38), (8, 24)) } else { (20, (26, 30), (12, 16)) };
    let icmp = 14 + header;
    let quoted = icmp + 8;
    let (from, to) = (octets(source.ip()), octets(destination.ip()));
    after[if about.v6 { 21 } else { 22 }] = about.hops - 1;
    put(&mut after, ends.0, &from);
    put(&mut after, ends.1, &to);
    put(&mut after, quoted + quoted_ends.0, &to);
    put(&mut after, quoted + quoted_ends.1, &from);
    put(&mut after, quoted + header, &destination.port().to_be_bytes());
    put(&mut after, quoted + header + 2, &source.port().to_be_bytes());
    let length = about.length - header;
    let (mut pseudo_before, mut pseudo_after) = (Vec::new(), Vec::new());
    if about.v6 {
        let router = address_v6(frame, 22);
        pseudo_before = pseudo(router, address_v6(frame, 38), 58, length);
        pseudo_after = pseudo(source.ip(), destination.ip(), 58, length);
    } else {
        header_v4().refit(frame, &mut after, seen);
        header_at(quoted).refit(frame, &mut after, seen);
    }
    let to = icmp + length;
    let icmp = Covered { at: icmp + 2, from: icmp, to, pseudo_before, pseudo_after, udp: false };
    icmp.refit(frame, &mut after, seen);
    ethernet(&mut after, hop);
    after
}
