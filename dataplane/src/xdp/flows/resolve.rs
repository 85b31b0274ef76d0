//! Makes of an event's numbers what people read (pure).

use std::net::SocketAddr;

use ebpf_common::{
    event::{FlowEvent as Raw, verdict, why},
    layout::{Address, TCP, UDP},
    verdict::Reason,
};
use model::{
    Kind, ObjectKey,
    cluster::NodeId,
    flow::{Direction, FlowEvent, Verdict, Why, tcp_flags},
};

use super::names::FlowNames;
use crate::xdp::{plan::Carried, record::to_ip};

/// What an event's reader knows beside the names.
pub struct Place<'a> {
    /// The node.
    pub node: NodeId,
    /// What the monotonic clock's zero is, in microseconds since 1970.
    pub clock_offset_us: u64,
    /// Names an interface.
    pub interface: &'a dyn Fn(u32) -> String,
}

/// Resolves an event.
#[must_use]
pub fn resolve(raw: &Raw, names: &FlowNames, place: &Place<'_>) -> FlowEvent {
    let carried = raw.service.checked_sub(1).and_then(|slot| names.slot(slot));
    let is_reply = raw.reply != 0;
    let has_ports = raw.protocol == TCP || raw.protocol == UDP;
    let read = raw.family != 0;
    let source = address(raw.source, raw.source_port_be).filter(|_| read);
    let destination = address(raw.destination, raw.destination_port_be).filter(|_| read);
    let to = address(raw.to, raw.to_port_be);
    let endpoint = match carried {
        Some(_) if is_reply => source,
        Some(_) => to,
        None => None,
    };
    let filter = names.filter(raw.filter);
    FlowEvent {
        time_us: place.clock_offset_us + raw.time / 1_000,
        node: place.node,
        why: reasons(raw.why),
        verdict: match raw.verdict {
            verdict::DROP => Verdict::Dropped,
            verdict::TRANSMIT | verdict::REDIRECT => Verdict::Forwarded,
            verdict::ANSWERED => Verdict::Answered,
            _ => Verdict::Passed,
        },
        waits: raw.waits != 0,
        reason: reason(raw.reason).map(|reason| reason.name().to_owned()),
        protocol: match raw.protocol {
            TCP => Some("TCP".to_owned()),
            UDP => Some("UDP".to_owned()),
            _ => None,
        },
        source,
        destination,
        to,
        tcp_flags: if has_ports { tcp_flags(raw.tcp_flags) } else { Vec::new() },
        length: raw.length,
        interface: (place.interface)(raw.ingress),
        out_interface: (raw.egress != 0).then(|| (place.interface)(raw.egress)),
        direction: carried.map(|_| if is_reply { Direction::Out } else { Direction::In }),
        listener: carried.map(|carried| carried.listener.clone()),
        service: carried.and_then(|carried| service(carried, endpoint, names)),
        endpoint,
        rule: filter.and_then(|filter| {
            let place = raw.rule.trailing_zeros() as usize;
            let (key, index) = filter.order.get(place)?;
            Some(format!("{key} rules[{index}]"))
        }),
        filter_revision: filter.map(|filter| filter.revision),
        revision: names.revision(raw.generation),
        generation: raw.generation,
    }
}

/// Returns the reason that is told as its number plus one.
#[must_use]
pub fn reason(number: u8) -> Option<Reason> {
    Reason::ALL.get(usize::from(number.checked_sub(1)?)).copied()
}

fn reasons(bits: u8) -> Vec<Why> {
    [
        (why::SAMPLED, Why::Sampled),
        (why::BEGUN, Why::Begun),
        (why::ENDED, Why::Ended),
        (why::DROPPED, Why::Dropped),
    ]
    .into_iter()
    .filter(|(bit, _)| bits & bit != 0)
    .map(|(_, why)| why)
    .collect()
}

fn address(address: Address, port_be: u16) -> Option<SocketAddr> {
    to_ip(address).map(|ip| SocketAddr::new(ip, u16::from_be(port_be)))
}

/// Finds the service of an endpoint among those of its listener's route.
fn service(
    carried: &Carried,
    endpoint: Option<SocketAddr>,
    names: &FlowNames,
) -> Option<ObjectKey> {
    if let [only] = carried.services.as_slice() {
        return Some(only.clone());
    }
    let endpoint = endpoint?;
    let has = |key: &&ObjectKey| {
        debug_assert_eq!(key.kind, Kind::Service);
        names.config.service(&key.namespace, &key.name).is_some_and(|service| {
            let is = |it: &model::service::Endpoint| {
                (it.address, it.port) == (endpoint.ip(), endpoint.port())
            };
            service.endpoints.iter().any(is)
        })
    };
    carried.services.iter().find(has).cloned()
}

#[cfg(test)]
#[path = "resolve/tests.rs"]
pub(super) mod tests;
