//! What the rules of all filters say, as words with one bit for each rule (pure).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ebpf_common::filter::{Header, MAGIC, flag, rates::Rate};
use model::{
    Kind, Object, ObjectKey, Prefix, Snapshot, Spec,
    packet_filter::{FilterAction, FilterRule, RuleId, Transport, ordered_rules},
};

use super::rates;
use crate::xdp::pace::Pace;

/// A set of prefixes that rules refer to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKey {
    /// A list.
    List(ObjectKey),
    /// The sources that stand in a rule of a filter.
    Sources(ObjectKey, usize),
    /// The destinations that stand in a rule of a filter.
    Destinations(ObjectKey, usize),
}

/// A set of prefixes, and the rules that its addresses fit.
#[derive(Clone, Debug)]
pub struct Set {
    /// The object that holds it.
    object: Arc<Object>,
    /// By which of its prefixes it is.
    key: SetKey,
    /// Rules that they fit as sources.
    pub sources: u64,
    /// Rules that they fit as destinations.
    pub destinations: u64,
}

impl Set {
    /// Returns the IPv4 and the IPv6 prefixes, each in order.
    #[must_use]
    pub fn by_family(&self) -> (&[Prefix], &[Prefix]) {
        match (&self.object.spec, &self.key) {
            (Spec::PrefixList(list), SetKey::List(_)) => list.prefixes.by_family(),
            (Spec::PacketFilter(filter), SetKey::Sources(_, rule)) => {
                filter.rules[*rule].sources.by_family()
            }
            (Spec::PacketFilter(filter), SetKey::Destinations(_, rule)) => {
                filter.rules[*rule].destinations.by_family()
            }
            _ => (&[], &[]),
        }
    }
}

/// Classes of ports, and the rules that each class fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// The class of each TCP port.
    pub tcp: Vec<u16>,
    /// The class of each UDP port.
    pub udp: Vec<u16>,
    /// The rules of each class.
    pub masks: Vec<u64>,
}

impl Ports {
    /// Returns which ports of a protocol have classes with other rules than those for ports that no
    /// rule names, a bit each.
    #[must_use]
    pub fn named(&self, classes: &[u16], unnamed: u64) -> Vec<u64> {
        let is_named = |class: &u16| u64::from(self.masks[usize::from(*class)] != unnamed);
        let word = |classes: &[u16]| {
            let bits = classes.iter().map(is_named).enumerate();
            bits.fold(0, |word, (place, bit)| word | bit << place)
        };
        classes.chunks(64).map(word).collect()
    }
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Filter and index of each rule, in order.
    pub order: Vec<(ObjectKey, usize)>,
    /// The header of a front with these rules, but for its bank.
    pub header: Header,
    /// The sets that they refer to.
    pub sets: BTreeMap<SetKey, Set>,
    /// Empty when no rule names a port.
    pub ports: Ports,
    /// The rates of rules, by their places.
    pub rates: Vec<(u32, Rate)>,
}

impl Rules {
    /// Reads the rules of a configuration; `pace` is what rates are made with.
    #[must_use]
    pub fn of(config: &Snapshot, pace: Pace) -> Self {
        let rules = ordered_rules(config);
        let mut out = Self {
            header: Header { magic: MAGIC, ..Header::default() },
            order: rules.iter().map(|((key, index), _)| ((*key).clone(), *index)).collect(),
            ..Self::default()
        };
        for (place, ((filter, index), rule)) in rules.iter().enumerate() {
            out.add(config, (filter, *index), rule, 1 << place, pace);
        }
        if rules.iter().any(|(_, rule)| !rule.ports.is_empty()) {
            out.header.flags |= flag::PORTS;
            let all: Vec<&FilterRule> = rules.iter().map(|(_, rule)| *rule).collect();
            out.ports = ports(&all);
        }
        out
    }

    fn add(
        &mut self,
        config: &Snapshot,
        (filter, index): RuleId<'_>,
        rule: &FilterRule,
        bit: u64,
        pace: Pace,
    ) {
        let header = &mut self.header;
        match rule.action {
            FilterAction::Allow => {}
            FilterAction::Deny => header.drops |= bit,
            FilterAction::Rate(rate) => {
                header.drops |= bit;
                header.rates |= bit;
                let key = (filter.clone(), index);
                self.rates.push((bit.trailing_zeros(), rates::record(&key, &rate, pace)));
            }
        }
        let header = &mut self.header;
        if rule.ports.is_empty() {
            if rule.protocol != Some(Transport::Udp) {
                header.tcp |= bit;
            }
            if rule.protocol != Some(Transport::Tcp) {
                header.udp |= bit;
            }
            if rule.protocol.is_none() {
                header.other |= bit;
            }
        }
        if rule.sources.is_empty() && rule.source_lists.is_empty() {
            header.unlisted_sources |= bit;
        } else {
            header.flags |= flag::SOURCES;
        }
        if rule.destinations.is_empty() {
            header.unlisted_destinations |= bit;
        } else {
            header.flags |= flag::DESTINATIONS;
        }
        let own = |key| (key, filter.clone());
        let lists = rule.source_lists.iter().map(|list| {
            let key = ObjectKey::new(Kind::PrefixList, &list.namespace, &list.name);
            (SetKey::List(key.clone()), key)
        });
        let inline = (!rule.sources.is_empty())
            .then(|| own(SetKey::Sources(filter.clone(), index)))
            .into_iter();
        for (key, object) in lists.chain(inline) {
            if let Some(set) = self.set(config, key, &object) {
                set.sources |= bit;
            }
        }
        if !rule.destinations.is_empty() {
            let (key, object) = own(SetKey::Destinations(filter.clone(), index));
            if let Some(set) = self.set(config, key, &object) {
                set.destinations |= bit;
            }
        }
    }

    fn set(&mut self, config: &Snapshot, key: SetKey, object: &ObjectKey) -> Option<&mut Set> {
        let object = config.get(object)?.clone();
        let set = Set { object, key: key.clone(), sources: 0, destinations: 0 };
        Some(self.sets.entry(key).or_insert(set))
    }
}

/// Finds the ports that the same rules look at.
fn ports(rules: &[&FilterRule]) -> Ports {
    let ranges: Vec<(usize, usize, u64)> = rules
        .iter()
        .enumerate()
        .flat_map(|(place, rule)| {
            let range = move |first: u16, last: u16| (first.into(), last.into(), 1 << place);
            rule.ports.iter().map(move |ports| range(ports.first, ports.last))
        })
        .collect();
    let of_protocol = |protocol| {
        let rules = rules.iter().enumerate();
        let fit = rules.filter(|(_, rule)| rule.protocol.is_none_or(|only| only == protocol));
        fit.fold(0, |mask, (place, _)| mask | 1 << place)
    };
    let (tcp, udp) = (of_protocol(Transport::Tcp), of_protocol(Transport::Udp));
    let any = rules.iter().enumerate().filter(|(_, rule)| rule.ports.is_empty());
    let any = any.fold(0, |mask, (place, _)| mask | 1 << place);
    // The bits that change at each port.
    let mut turns = vec![0u64; 65_537];
    for (first, last, bit) in ranges {
        turns[first] ^= bit;
        turns[last + 1] ^= bit;
    }
    let mut out = Ports::default();
    let mut known: HashMap<u64, u16> = HashMap::new();
    let mut named = 0;
    for turn in &turns[..65_536] {
        named ^= turn;
        for (of_protocol, table) in [(tcp, &mut out.tcp), (udp, &mut out.udp)] {
            let mask = (named | any) & of_protocol;
            let masks = &mut out.masks;
            table.push(*known.entry(mask).or_insert_with(|| {
                masks.push(mask);
                // Fewer than there are borders, of which there are fewer than `PORT_CLASSES_MAX`.
                (masks.len() - 1) as u16
            }));
        }
    }
    out
}
