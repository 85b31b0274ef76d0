//! Finds filters that would cut a cluster off from itself, or their writer from the API.
//!
//! What nodes send to each other is tried packet by packet, as it would arrive: requests to the
//! ports that they serve, and the answers to the ports that requests leave from. Packets from a
//! node to itself do not pass a filter. A limit cuts off whom it is too small for: it must let
//! through [`MIN_CLUSTER_PACKETS_PER_SECOND`] for each node and caller that shares it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use crate::{
    cluster::NodeAddresses,
    error::ConfigError,
    limits::MIN_CLUSTER_PACKETS_PER_SECOND,
    packet_filter::{
        Decision, FilterRule, FilteredPacket, RuleId, Transport, decide, ordered_rules,
        rate::PacketRate,
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
    let needs = needs(protected);
    let senders: BTreeSet<IpAddr> = needs.iter().map(|need| need.source).collect();
    let mut told = BTreeSet::new();
    let mut errors = Vec::new();
    for need in &needs {
        let Some(found) = cut(&is, next, need, &senders) else { continue };
        if cut(&was, base, need, &senders).is_none() && told.insert((found.rule, need.source)) {
            errors.push(error(&found, need));
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

/// A rule that cuts off a need.
struct Cut<'a> {
    rule: RuleId<'a>,
    port: u16,
    /// The rate that is too small, and the one that is not; none where the rule denies.
    too_small: Option<(u32, u32)>,
}

/// Finds a rule that denies one of the ports of a need, or limits it to too little.
fn cut<'a>(
    rules: &[(RuleId<'a>, &'a FilterRule)],
    config: &Snapshot,
    need: &Need,
    senders: &BTreeSet<IpAddr>,
) -> Option<Cut<'a>> {
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
        let Decision { rates, rule, is_denied } = decide(rules, config, &packet);
        let too_small = rates.into_iter().find_map(|(rule, rate)| {
            let least = least(rate, need.source, senders);
            let too_small = Some((rate.packets_per_second, least));
            (rate.packets_per_second < least).then_some(Cut { rule, port, too_small })
        });
        let denied = rule.filter(|_| is_denied);
        too_small.or_else(|| denied.map(|rule| Cut { rule, port, too_small: None }))
    })
}

/// Returns the packets a second that a limit must let through, with all who share it with a source.
fn least(rate: &PacketRate, source: IpAddr, senders: &BTreeSet<IpAddr>) -> u32 {
    let shared = rate.per.source(source);
    let share = senders.iter().filter(|sender| rate.per.source(**sender) == shared).count();
    let share = u32::try_from(share).unwrap_or(u32::MAX);
    MIN_CLUSTER_PACKETS_PER_SECOND.saturating_mul(share)
}

fn error(cut: &Cut<'_>, need: &Need) -> ConfigError {
    let (filter, index) = cut.rule;
    let protocol = match need.transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    };
    let who = format!(
        "{}: from {} to {protocol} port {} of {}",
        need.what, need.source, cut.port, need.destination
    );
    let (message, remedy) = match cut.too_small {
        None => (
            format!("would cut off {who}"),
            "allow it by a rule before this one, or insist with --force".to_owned(),
        ),
        Some((rate, least)) => (
            format!("would limit to {rate} packets a second {who}"),
            format!(
                "allow it by a rule before this one, write at least {least}, or insist with --force"
            ),
        ),
    };
    ConfigError {
        object: Some(filter.clone()),
        document: 0,
        path: format!("spec.rules[{index}]"),
        value: String::new(),
        message,
        remedy,
    }
}
