//! `PacketFilter` and `PrefixList`: which packets are dropped before anything else looks at them.
//!
//! [`decide`] is the meaning of a filter, in the plainest form: the data plane's tables must give
//! the same answers.

pub mod rate;

use std::net::IpAddr;

use serde::{Deserialize, Serialize, Serializer};

use self::rate::PacketRate;
use crate::{key::ObjectKey, prefix::Prefixes, route::Reference, snapshot::Snapshot};

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", content = "rate")]
pub enum FilterAction {
    /// It goes on, whatever later rules say.
    Allow,
    /// It is dropped.
    Deny,
    /// It is dropped where it exceeds a limit; else later rules decide.
    Rate(PacketRate),
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Ports from one to another; written `80` or `8000-8999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The first, at least 1.
    pub first: u16,
    /// The last, at least the first.
    pub last: u16,
}

impl PortRange {
    /// Tells whether a port is one of them.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Tells whether two ranges have a port in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            serializer.serialize_u16(self.first)
        } else {
            serializer.collect_str(&format_args!("{}-{}", self.first, self.last))
        }
    }
}

/// A condition on packets, all parts of which must hold, and what happens to those that fulfil it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterRule {
    /// What happens.
    #[serde(flatten)]
    pub action: FilterAction,
    /// Where packets come from; with `source_lists`, any when both are empty.
    #[serde(skip_serializing_if = "Prefixes::is_empty")]
    pub sources: Prefixes,
    /// Lists of prefixes that packets come from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_lists: Vec<Reference>,
    /// Where packets go to; any when empty.
    #[serde(skip_serializing_if = "Prefixes::is_empty")]
    pub destinations: Prefixes,
    /// The transport protocol; any when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Transport>,
    /// The destination ports, of TCP and UDP; any when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRange>,
}

/// Rules, the first of which that fits and allows or denies decides; what none fits goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PacketFilter {
    /// Its place among the filters, 0 (first) to 1000; 100 by default.
    pub priority: u32,
    /// The rules, in order; at least one.
    pub rules: Vec<FilterRule>,
}

/// Prefixes for rules to refer to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrefixList {
    /// The prefixes; may be empty.
    pub prefixes: Prefixes,
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilteredPacket {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes to.
    pub destination: IpAddr,
    /// Protocol and destination port of a whole TCP or UDP packet; none of any other.
    pub transport: Option<(Transport, u16)>,
}

/// A rule: its filter and its index there.
pub type RuleId<'a> = (&'a ObjectKey, usize);

/// Returns all rules in the order in which they are tried: by priority, then by name.
#[must_use]
pub fn ordered_rules(config: &Snapshot) -> Vec<(RuleId<'_>, &FilterRule)> {
    let mut filters: Vec<_> = config.packet_filters().collect();
    filters.sort_by_key(|(_, filter)| filter.priority);
    filters.into_iter().flat_map(|(key, filter)| rules_of(key, filter)).collect()
}

fn rules_of<'a>(
    key: &'a ObjectKey,
    filter: &'a PacketFilter,
) -> impl Iterator<Item = (RuleId<'a>, &'a FilterRule)> {
    filter.rules.iter().enumerate().map(move |(index, rule)| ((key, index), rule))
}

/// What rules say of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The limits that it must be within, in order: the first that it exceeds drops it.
    pub rates: Vec<(RuleId<'a>, &'a PacketRate)>,
    /// The rule that decides on what is within them; none when no rule fits and it goes on.
    pub rule: Option<RuleId<'a>>,
    /// Whether that rule drops it.
    pub is_denied: bool,
}

/// Returns what rules say of a packet.
#[must_use]
pub fn decide<'a>(
    rules: &[(RuleId<'a>, &'a FilterRule)],
    config: &Snapshot,
    packet: &FilteredPacket,
) -> Decision<'a> {
    let mut rates = Vec::new();
    for (id, rule) in rules.iter().filter(|(_, rule)| fits(rule, config, packet)) {
        match &rule.action {
            FilterAction::Rate(rate) => rates.push((*id, rate)),
            FilterAction::Allow => return Decision { rates, rule: Some(*id), is_denied: false },
            FilterAction::Deny => return Decision { rates, rule: Some(*id), is_denied: true },
        }
    }
    Decision { rates, rule: None, is_denied: false }
}

fn fits(rule: &FilterRule, config: &Snapshot, packet: &FilteredPacket) -> bool {
    let in_list = |list: &Reference| {
        config
            .prefix_list(&list.namespace, &list.name)
            .is_some_and(|list| list.prefixes.contains(packet.source))
    };
    let any_source = rule.sources.is_empty() && rule.source_lists.is_empty();
    let transport = match packet.transport {
        Some((protocol, port)) => {
            rule.protocol.is_none_or(|wanted| wanted == protocol)
                && (rule.ports.is_empty() || rule.ports.iter().any(|range| range.contains(port)))
        }
        None => rule.protocol.is_none() && rule.ports.is_empty(),
    };
    transport
        && (any_source
            || rule.sources.contains(packet.source)
            || rule.source_lists.iter().any(in_list))
        && (rule.destinations.is_empty() || rule.destinations.contains(packet.destination))
}
