//! Reads the specs of a `PacketFilter` and of a `PrefixList`.

mod rate;

use serde_json::Value;

use self::rate::rate;
use super::{
    backend::unique,
    name::reference,
    prefix::prefixes,
    reader::{Fields, Node, Read},
    scalar::{port, whole, word},
};
use crate::{
    limits::{
        MAX_FILTER_PRIORITY, MAX_FILTER_RULES, MAX_LIST_PREFIXES, MAX_RULE_LISTS, MAX_RULE_PORTS,
        MAX_RULE_PREFIXES,
    },
    packet_filter::{FilterAction, FilterRule, PacketFilter, PortRange, PrefixList, Transport},
    prefix::Prefixes,
    route::Reference,
};

const DEFAULT_PRIORITY: u32 = 100;

const ACTIONS: [(&str, Action); 3] =
    [("Allow", Action::Allow), ("Deny", Action::Deny), ("Rate", Action::Rate)];
const PROTOCOLS: [(&str, Transport); 2] = [("TCP", Transport::Tcp), ("UDP", Transport::Udp)];

/// An action by its name alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Allow,
    Deny,
    Rate,
}

pub(super) fn packet_filter(node: &Node<'_>, namespace: &str) -> Read<PacketFilter> {
    let fields = node.fields()?;
    let priority =
        fields.or("priority", DEFAULT_PRIORITY, |node| whole(node, 0..=MAX_FILTER_PRIORITY));
    let rules = fields.required("rules", "a list of {action: …}", |node| {
        let items = node.items(1, MAX_FILTER_RULES, |node| rule(node, namespace))?;
        items.into_iter().collect::<Read<Vec<_>>>()
    });
    let known = fields.finish();
    let filter = PacketFilter { priority: priority?, rules: rules? };
    known.map(|()| filter)
}

pub(super) fn prefix_list(node: &Node<'_>) -> Read<PrefixList> {
    let fields = node.fields()?;
    let prefixes = fields
        .required("prefixes", "a list of prefixes", |node| prefixes(node, 0, MAX_LIST_PREFIXES));
    let known = fields.finish();
    let list = PrefixList { prefixes: prefixes? };
    known.map(|()| list)
}

fn rule(node: &Node<'_>, namespace: &str) -> Read<FilterRule> {
    let fields = node.fields()?;
    let some = |node: &Node<'_>| prefixes(node, 1, MAX_RULE_PREFIXES);
    let action = action(&fields);
    let sources = fields.or("sources", Prefixes::default(), some);
    let source_lists = fields.or("sourceLists", Vec::new(), |node| lists(node, namespace));
    let destinations = fields.or("destinations", Prefixes::default(), some);
    let protocol = fields.optional("protocol", |node| word(node, &PROTOCOLS));
    let ports = fields.or("ports", Vec::new(), ports);
    let known = fields.finish();
    let rule = FilterRule {
        action: action?,
        sources: sources?,
        source_lists: source_lists?,
        destinations: destinations?,
        protocol: protocol?,
        ports: ports?,
    };
    known.map(|()| rule)
}

/// Reads what happens, and the rate where that is what it is about.
fn action(fields: &Fields<'_>) -> Read<FilterAction> {
    let action = fields.required("action", "Allow, Deny or Rate", |node| word(node, &ACTIONS));
    let rate = fields.optional("rate", rate);
    match (action?, rate?) {
        (Action::Allow, None) => Ok(FilterAction::Allow),
        (Action::Deny, None) => Ok(FilterAction::Deny),
        (Action::Rate, Some(rate)) => Ok(FilterAction::Rate(rate)),
        (Action::Rate, None) => Err(fields.missing("rate", "{packetsPerSecond: …}")),
        (Action::Allow | Action::Deny, Some(_)) => {
            let remedy = "write action: Rate, or remove it";
            Err(fields.error("rate", "is for rules with action: Rate", remedy))
        }
    }
}

fn lists(node: &Node<'_>, namespace: &str) -> Read<Vec<Reference>> {
    let items = node.items(1, MAX_RULE_LISTS, |node| reference(node, namespace))?;
    unique(node, &items, |list| list)?;
    items.into_iter().collect()
}

fn ports(node: &Node<'_>) -> Read<Vec<PortRange>> {
    let items = node.items(1, MAX_RULE_PORTS, range)?;
    let mut distinct = Ok(());
    for (index, item) in items.iter().enumerate() {
        let Ok(range) = item else { continue };
        if items[..index].iter().flatten().any(|earlier| earlier.overlaps(range)) {
            distinct = Err(node.at_item(index, |node| {
                node.error("overlaps ports before it in the list", "name each port once") //
            }));
        }
    }
    let ports = items.into_iter().collect::<Read<_>>()?;
    distinct.map(|()| ports)
}

/// Reads a port, or `first-last`.
fn range(node: &Node<'_>) -> Read<PortRange> {
    let Value::String(text) = node.value() else {
        let port = port(node)?;
        return Ok(PortRange { first: port, last: port });
    };
    let remedy = "write a port such as 443, or the first and the last such as 8000-8999";
    let number = |text: &str| {
        text.parse::<u16>().ok().filter(|number| *number > 0 && number.to_string() == text)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(PortRange { first, last }),
        (Some(_), Some(_)) => Err(node.error("ends before it begins", remedy)),
        _ => Err(node.error("is not a range of ports", remedy)),
    }
}
