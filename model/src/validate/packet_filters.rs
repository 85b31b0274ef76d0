//! All filters together stay within what the data plane's tables hold.

use std::collections::BTreeSet;

use super::fault::fault;
use crate::{
    error::ConfigError,
    key::{Kind, ObjectKey},
    limits::{MAX_FILTER_RULES, MAX_PREFIXES_V4, MAX_PREFIXES_V6, MAX_RATE_RULES},
    packet_filter::{FilterAction, PacketFilter},
    prefix::Prefixes,
    snapshot::Snapshot,
};

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    let present = |key: &&ObjectKey| snapshot.get(key).is_some();
    let of = |kind| changed.iter().filter(present).rfind(move |key| key.kind == kind);
    let (filter, list) = (of(Kind::PacketFilter), of(Kind::PrefixList));
    if let Some(key) = filter {
        let all = |filter: &PacketFilter| filter.rules.len();
        if let Some((own, sum)) = too_many(snapshot, key, all, MAX_FILTER_RULES) {
            let message = format!("makes {sum} rules of all filters together");
            let remedy = format!(
                "keep at most {MAX_FILTER_RULES}; rules that differ in prefixes only can be one"
            );
            errors.push(fault(key, "spec.rules", own, message, remedy));
        }
        let rates = |filter: &PacketFilter| {
            let is_rate = |action| matches!(action, FilterAction::Rate(_));
            filter.rules.iter().filter(|rule| is_rate(rule.action)).count()
        };
        if let Some((own, sum)) = too_many(snapshot, key, rates, MAX_RATE_RULES) {
            let message = format!("makes {sum} rules with a rate of all filters together");
            let remedy = format!("keep at most {MAX_RATE_RULES}");
            errors.push(fault(key, "spec.rules", own, message, remedy));
        }
    }
    let Some(key) = list.or(filter) else { return };
    let path = if key.kind == Kind::PrefixList { "spec.prefixes" } else { "spec.rules" };
    let counts = sets(snapshot).map(|prefixes| {
        let (v4, v6) = prefixes.by_family();
        (v4.len(), v6.len())
    });
    let (v4, v6) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    for (family, count, most) in [("IPv4", v4, MAX_PREFIXES_V4), ("IPv6", v6, MAX_PREFIXES_V6)] {
        if count > most {
            let message =
                format!("makes {count} {family} prefixes of all lists and rules together");
            let remedy = format!("keep at most {most}; neighbouring prefixes can be one");
            errors.push(fault(key, path, serde_json::Value::Null, message, remedy));
        }
    }
}

/// Counts something of all filters; where it is more than `most`, returns how much of it the filter
/// `key` has, and all have.
fn too_many(
    snapshot: &Snapshot,
    key: &ObjectKey,
    count: impl Fn(&PacketFilter) -> usize,
    most: usize,
) -> Option<(usize, usize)> {
    let sum: usize = snapshot.packet_filters().map(|(_, filter)| count(filter)).sum();
    let own = snapshot.packet_filters().find(|(other, _)| *other == key);
    (sum > most).then(|| (own.map_or(0, |(_, filter)| count(filter)), sum))
}

/// Walks over all sets of prefixes.
fn sets(snapshot: &Snapshot) -> impl Iterator<Item = &Prefixes> {
    let lists = snapshot.prefix_lists().map(|(_, list)| &list.prefixes);
    let rules = snapshot.packet_filters().flat_map(|(_, filter)| &filter.rules);
    lists.chain(rules.flat_map(|rule| [&rule.sources, &rule.destinations]))
}
