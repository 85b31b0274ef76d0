//! What the program decided, in words, with the object behind each decision (pure).

use ebpf_common::{
    event::why,
    verdict::{Action, Reason},
};
use model::{
    ObjectKey, Spec,
    explain::Decision,
    flow::{Direction, FlowEvent, Verdict},
    listener::Forwarding,
    packet_filter::FilterAction,
    qos_policy::Excess,
};

use super::apart::Run;
use crate::xdp::{flows::FlowNames, flows::resolve::reason, plan::Carried};

/// What the decisions are told from.
#[derive(Clone, Copy)]
pub struct Grounds<'a> {
    /// What the program told, with names.
    pub event: &'a FlowEvent,
    /// What it told, and the frame that it left.
    pub run: &'a Run,
    /// What the numbers stand for.
    pub names: &'a FlowNames,
    /// Whether the flow had an entry before.
    pub known: bool,
    /// Whether the connections are those that there are.
    pub live: bool,
    /// The frame that came in.
    pub frame: &'a [u8],
}

/// Says what was decided, in order.
#[must_use]
pub fn decisions(grounds: &Grounds<'_>) -> Vec<Decision> {
    let reason = reason(grounds.run.event.reason);
    let service = grounds.run.event.service;
    let carried = service.checked_sub(1).and_then(|slot| grounds.names.slot(slot));
    let mut out = vec![parse(grounds)];
    out.extend(filter(grounds));
    if let Some(carried) = carried {
        let at = grounds.event.destination.map_or_else(String::new, |at| format!("is for {at}"));
        let said = match grounds.event.direction {
            Some(Direction::Out) => "answers a client of the listener".to_owned(),
            _ => at,
        };
        out.push(of("listener", said, &carried.listener));
        out.extend(policy(grounds, carried, reason));
        out.extend(connection(grounds, carried));
        out.extend(endpoint(grounds));
        out.extend(forwarding(grounds, carried));
    } else if reason == Some(Reason::NotService) {
        let said = "is for no listener that XDP carries, and part of no connection";
        out.push(plain("listener", said.to_owned()));
    }
    out.extend(next_hop(grounds));
    out.push(verdict(grounds, reason));
    out
}

fn parse(grounds: &Grounds<'_>) -> Decision {
    let FlowEvent { protocol, source, destination, tcp_flags, length, .. } = grounds.event;
    let said = match (protocol, source, destination) {
        (Some(protocol), Some(source), Some(destination)) => {
            let family = if source.is_ipv4() { "IPv4" } else { "IPv6" };
            let flags = tcp_flags.join(",");
            let flags = if flags.is_empty() { flags } else { format!(" {flags}") };
            format!("{family} {protocol}{flags} from {source} to {destination}, {length} bytes")
        }
        (None, Some(source), Some(destination)) => {
            let (source, destination) = (source.ip(), destination.ip());
            format!("no whole TCP or UDP packet, from {source} to {destination}")
        }
        _ => "neither IPv4 nor IPv6, or cut".to_owned(),
    };
    plain("parse", said)
}

/// The packet filter, where one is in force and looked at the packet.
fn filter(grounds: &Grounds<'_>) -> Option<Decision> {
    let raw = &grounds.run.event;
    let filter = grounds.names.filter(raw.filter)?;
    let Some((key, index)) = filter.order.get(raw.rule.trailing_zeros() as usize) else {
        return Some(plain("filter", "no rule fits: it may pass".to_owned()));
    };
    let action = match grounds.names.config.get(key).map(|object| &object.spec) {
        Some(Spec::PacketFilter(filter)) => filter.rules.get(*index).map(|rule| rule.action),
        _ => None,
    };
    let said = match action {
        Some(FilterAction::Allow) => {
            format!("rules[{index}] is the first that fits, and allows it")
        }
        Some(FilterAction::Deny) => format!("rules[{index}] is the first that fits, and denies it"),
        Some(FilterAction::Rate(rate)) => format!(
            "rules[{index}] fits, and it exceeds {} packets a second",
            rate.packets_per_second
        ),
        _ => format!("rules[{index}] is the first that fits"),
    };
    Some(of("filter", said, key))
}

fn policy(grounds: &Grounds<'_>, carried: &Carried, reason: Option<Reason>) -> Option<Decision> {
    let policy = carried.policy.as_ref()?;
    let said = match (reason, class(grounds.frame), class(&grounds.run.frame)) {
        // The program apart has no workers to hand a packet to.
        (Some(Reason::OverLimit), ..) if policy.spec.excess == Excess::Queue => {
            "is over the limit, or behind packets that are: it waits in a worker, and is dropped \
             where none runs"
                .to_owned()
        }
        (Some(Reason::OverLimit), ..) => "is over the limit".to_owned(),
        (_, Some(before), Some(after)) if before != after => {
            format!("is within the limits; traffic class {before:#04x} becomes {after:#04x}")
        }
        _ => "is within the limits".to_owned(),
    };
    Some(of("policy", said, &policy.key))
}

/// Reads the traffic class of a frame's outer header.
fn class(frame: &[u8]) -> Option<u8> {
    match frame.get(12..16)? {
        [0x08, 0x00, _, class] => Some(*class),
        [0x86, 0xdd, first, second] => Some(first << 4 | second >> 4),
        _ => None,
    }
}

fn connection(grounds: &Grounds<'_>, carried: &Carried) -> Option<Decision> {
    let raw = &grounds.run.event;
    raw.protocol.checked_sub(1)?;
    if grounds.event.verdict == Verdict::Answered {
        let said = "is answered by a SYN cookie: a connection begins when the client answers that";
        return Some(of("connection", said.to_owned(), &carried.listener));
    }
    let table =
        if grounds.live { "there is" } else { "none is known at a kept revision: there is" };
    let said = if raw.why & why::ENDED != 0 {
        "ends a connection that is known".to_owned()
    } else if raw.why & why::BEGUN != 0 && grounds.known {
        "begins anew one that had been there".to_owned()
    } else if grounds.known {
        "is of one that is known, which keeps its endpoint".to_owned()
    } else if raw.why & why::BEGUN != 0 {
        format!("{table} no entry: a new one begins, its endpoint chosen by Maglev")
    } else if carried.forwarding != Forwarding::Nat && grounds.event.endpoint.is_some() {
        format!("{table} no entry: a segment goes where Maglev leads")
    } else {
        return None;
    };
    Some(plain("connection", said))
}

fn endpoint(grounds: &Grounds<'_>) -> Option<Decision> {
    let endpoint = grounds.event.endpoint?;
    let said = match grounds.event.direction {
        Some(Direction::Out) => format!("{endpoint} has sent it"),
        _ => format!("{endpoint} is to have it"),
    };
    Some(match &grounds.event.service {
        Some(service) => of("endpoint", said, service),
        None => plain("endpoint", said),
    })
}

fn forwarding(grounds: &Grounds<'_>, carried: &Carried) -> Option<Decision> {
    if grounds.event.verdict != Verdict::Forwarded {
        return None;
    }
    if grounds.event.protocol.is_some() && is_error(&grounds.run.frame) {
        let said = "too big for the way: its sender is told so by ICMP".to_owned();
        return Some(plain("forwarding", said));
    }
    let said = match carried.forwarding {
        Forwarding::Nat => match ends(&grounds.run.frame) {
            Some((source, destination)) => {
                format!("full NAT: becomes one from {source} to {destination}")
            }
            None => "full NAT".to_owned(),
        },
        Forwarding::L2 => "L2: gets the endpoint's Ethernet address".to_owned(),
        Forwarding::Ipip => "IPIP: goes through an IP tunnel to the endpoint".to_owned(),
        Forwarding::Gue => "GUE: goes through UDP to the endpoint".to_owned(),
    };
    Some(of("forwarding", said, &carried.listener))
}

/// Tells whether a frame holds an ICMP message.
fn is_error(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(23) == Some(&1),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&58),
        _ => false,
    }
}

/// Reads the ends of a TCP or UDP packet.
fn ends(frame: &[u8]) -> Option<(std::net::SocketAddr, std::net::SocketAddr)> {
    let tuple = super::apart::tuple_of(frame)?;
    let end = |address, port_be| {
        let ip = crate::xdp::record::to_ip(address)?;
        Some(std::net::SocketAddr::new(ip, u16::from_be(port_be)))
    };
    Some((
        end(tuple.source, tuple.source_port_be)?,
        end(tuple.destination, tuple.destination_port_be)?,
    ))
}

fn next_hop(grounds: &Grounds<'_>) -> Option<Decision> {
    let interface = grounds.event.out_interface.as_ref()?;
    let address: Vec<String> =
        grounds.run.frame.get(..6)?.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(plain("next hop", format!("{} by {interface}", address.join(":"))))
}

fn verdict(grounds: &Grounds<'_>, reason: Option<Reason>) -> Decision {
    let said = match (grounds.event.verdict, reason) {
        (verdict, Some(reason)) => {
            let what = match reason.action() {
                Action::Pass => "the kernel has it",
                Action::Drop => "nobody has it",
            };
            format!("{verdict}: {} ({what})", reason.name())
        }
        (verdict, None) => verdict.to_string(),
    };
    plain("verdict", said)
}

fn plain(step: &str, said: String) -> Decision {
    Decision { step: step.to_owned(), said, object: None, field: None, object_revision: None }
}

fn of(step: &str, said: String, object: &ObjectKey) -> Decision {
    Decision { object: Some(object.clone()), ..plain(step, said) }
}
