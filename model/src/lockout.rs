//! Finds filters that would cut a cluster off from itself, or their writer from the API.
//!
//! What nodes send to each other is tried packet by packet, as it would arrive: requests to the
//! ports that they serve, and the answers to the ports that requests leave from. Packets from a
//! node to itself do not pass a filter.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use crate::{
    cluster::NodeAddresses,
    error::ConfigError,
    packet_filter::{
        FilterAction, FilterRule, FilteredPacket, RuleId, Transport, decide, ordered_rules,
    },
    snapshot::Snapshot,
};

/// The ports that the kernel gives to connections of its own by default
/// (Documentation/networking/ip-sysctl.rst, `ip_local_port_range`).
const EPHEMERAL: (u16, u16) = (32_768, 60_999);

/// Who must not be cut off.
#[derive(Clone, Debug, Default)]
pub struct Protected {
    /// The members of the cluster.
    pub members: Vec<NodeAddresses>,
    /// Where the writer's connection comes from and which address of the API it is to; none when
    /// the writer is on the node itself.
    pub caller: Option<(IpAddr, SocketAddr)>,
}

/// A packet that must get through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    source: IpAddr,
    destination: IpAddr,
    transport: Transport,
    first: u16,
    last: u16,
    /// Who sends it, and for what.
    what: String,
}

/// Lists what the rules of `next` would cut off and those of `base` do not; one error for each rule
/// and source. Empty where nothing would be.
#[must_use]
pub fn cut_off(base: &Snapshot, next: &Snapshot, protected: &Protected) -> Vec<ConfigError> {
    let (was, is) = (ordered_rules(base), ordered_rules(next));
    let mut told = BTreeSet::new();
    let mut errors = Vec::new();
    for need in needs(protected) {
        let Some((rule, port)) = denied(&is, next, &need) else { continue };
        if denied(&was, base, &need).is_none() && told.insert((rule, need.source)) {
            errors.push(error(rule, port, &need));
        }
    }
    errors
}

fn needs(protected: &Protected) -> BTreeSet<Need> {
    let mut needs = BTreeSet::new();
    for to in &protected.members {
        for from in &protected.members {
            if from.name != to.name || ips(from) != ips(to) {
                between(from, to, &mut needs);
            }
        }
    }
    if let Some((source, api)) = protected.caller {
        needs.insert(Need {
            source,
            destination: api.ip(),
            transport: Transport::Tcp,
            first: api.port(),
            last: api.port(),
            what: "you on the way to the API".to_owned(),
        });
    }
    needs.retain(|need| {
        let real = |ip: IpAddr| !ip.is_loopback() && !ip.is_unspecified();
        let (source, destination) = (need.source, need.destination);
        real(source)
            && real(destination)
            && source != destination
            && source.is_ipv4() == destination.is_ipv4()
    });
    needs
}

fn ips(node: &NodeAddresses) -> BTreeSet<IpAddr> {
    [node.api, node.raft, node.push].iter().map(SocketAddr::ip).collect()
}

/// What one node sends to another: requests, and answers to the other's requests.
fn between(from: &NodeAddresses, to: &NodeAddresses, needs: &mut BTreeSet<Need>) {
    let ports = [
        (to.api, Transport::Tcp, "API"),
        (to.raft, Transport::Tcp, "Raft"),
        (to.push, Transport::Udp, "push"),
    ];
    for source in ips(from) {
        for (address, transport, what) in ports {
            let destination = address.ip();
            let request = Need {
                source,
                destination,
                transport,
                first: address.port(),
                last: address.port(),
                what: format!("node {} on the way to the {what} port of {}", from.name, to.name),
            };
            let what = format!("answers of node {} to {}", from.name, to.name);
            let (first, last) = EPHEMERAL;
            needs.insert(Need { first, last, what, ..request.clone() });
            needs.insert(request);
        }
    }
}

/// Finds a rule that denies one of the ports of a need.
fn denied<'a>(
    rules: &[(RuleId<'a>, &'a FilterRule)],
    config: &Snapshot,
    need: &Need,
) -> Option<(RuleId<'a>, u16)> {
    // Between the borders of the rules' ranges all ports are alike.
    let borders = rules.iter().flat_map(|(_, rule)| &rule.ports).flat_map(|range| {
        [range.first, range.last.saturating_add(1)] //
    });
    let within = borders.filter(|port| (need.first..=need.last).contains(port));
    let ports: BTreeSet<u16> = within.chain([need.first]).collect();
    ports.into_iter().find_map(|port| {
        let packet = FilteredPacket {
            source: need.source,
            destination: need.destination,
            transport: Some((need.transport, port)),
        };
        match decide(rules, config, &packet) {
            Some((rule, FilterAction::Deny)) => Some((rule, port)),
            _ => None,
        }
    })
}

fn error((filter, index): RuleId<'_>, port: u16, need: &Need) -> ConfigError {
    let protocol = match need.transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    };
    ConfigError {
        object: Some(filter.clone()),
        document: 0,
        path: format!("spec.rules[{index}]"),
        value: String::new(),
        message: format!(
            "would cut off {}: from {} to {protocol} port {port} of {}",
            need.what, need.source, need.destination
        ),
        remedy: "allow it by a rule before this one, or insist with --force".to_owned(),
    }
}
