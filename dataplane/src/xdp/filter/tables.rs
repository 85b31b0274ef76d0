//! The tables of a configuration's filters, made at the cost of what changed (pure).
//!
//! Invariant: a front that was returned by [`Tables::update`] and the records of the arena that it
//! refers to answer as [`model::packet_filter::decide`] does. Those records are not written again
//! before [`Tables::settle`] has been called after a later update.

use std::collections::{BTreeMap, BTreeSet};

use ebpf_common::{
    filter::{ClassMasks, Classes, Halves, Header, Words, front, v4::Wide},
    layout::Record,
};
use model::{Prefix, Snapshot};

use super::{
    arena::{Arena, ArenaError, Memory, record},
    classes::{ClassNumbers, TooManyClasses, ends, stretches},
    counters::CounterNumbers,
    rules::{Rules, Set, SetKey},
    v4::{TableV4, WIDES},
    v6::{self, TableV6},
};
use crate::xdp::pace::Pace;

/// Tells why there are no tables for a configuration.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// Too many classes of addresses.
    #[error(transparent)]
    Classes(#[from] TooManyClasses),
    /// The arena.
    #[error(transparent)]
    Arena(#[from] ArenaError),
}

/// The tables of one bank.
#[derive(Debug)]
pub struct Tables {
    pace: Pace,
    rules: Rules,
    /// The numbers that classes know the sets by; never given to another set.
    sets: BTreeMap<SetKey, u32>,
    next_set: u32,
    classes: ClassNumbers,
    v4: TableV4,
    v6: TableV6,
    /// Which of the two places for it that is in.
    copy_v6: u32,
    arena: Arena,
}

impl Tables {
    /// Begins in a bank, with tables that no rule fits. `pace` is what rates are made with.
    #[must_use]
    pub fn new(bank: u32, pace: Pace) -> Self {
        Self {
            pace,
            rules: Rules::default(),
            sets: BTreeMap::new(),
            next_set: 0,
            classes: ClassNumbers::default(),
            v4: TableV4::default(),
            v6: TableV6::default(),
            copy_v6: 0,
            arena: Arena::new(bank),
        }
    }

    /// Returns the bank.
    #[must_use]
    pub fn bank(&self) -> u32 {
        self.arena.bank()
    }

    /// Returns the rules, in order.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Makes the tables those of a configuration.
    ///
    /// # Errors
    /// There is no room for them; these tables are then of no use any more.
    pub fn update(
        &mut self,
        config: &Snapshot,
        memory: &mut impl Memory,
    ) -> Result<(), TablesError> {
        let rules = Rules::of(config, self.pace);
        let mut v4 = BTreeSet::new();
        let mut v6 = false;
        for (key, old) in &self.rules.sets {
            let new = rules.sets.get(key);
            note_changes(old.by_family(), new.map(Set::by_family), &mut v4, &mut v6);
        }
        for (key, new) in &rules.sets {
            if !self.rules.sets.contains_key(key) {
                note_changes(new.by_family(), None, &mut v4, &mut v6);
            }
        }
        self.sets.retain(|key, _| rules.sets.contains_key(key));
        for key in rules.sets.keys() {
            self.sets.entry(key.clone()).or_insert_with(|| {
                self.next_set += 1;
                self.next_set
            });
        }
        self.rules = rules;
        self.paint_v4(&v4, memory)?;
        if v6 {
            self.write_v6(memory)?;
        }
        Ok(())
    }

    /// Tells that the front before the one of the last update is out of force.
    pub fn settle(&mut self) {
        self.arena.settle();
    }

    fn paint_v4(
        &mut self,
        changed: &BTreeSet<u16>,
        memory: &mut impl Memory,
    ) -> Result<(), TablesError> {
        let mut sets: BTreeMap<u32, &[Prefix]> = numbered(&self.rules, &self.sets)
            .map(|(number, set)| (number, set.by_family().0))
            .collect();
        sets.retain(|_, prefixes| !prefixes.is_empty());
        for high in changed {
            let first = u128::from(*high) << 16;
            let found = stretches(&sets, (first, first + 0xffff), &mut self.classes)?;
            self.v4.paint(*high, &found, &mut self.arena, memory)?;
        }
        Ok(())
    }

    fn write_v6(&mut self, memory: &mut impl Memory) -> Result<(), TablesError> {
        let sets: BTreeMap<u32, &[Prefix]> = numbered(&self.rules, &self.sets)
            .map(|(number, set)| (number, set.by_family().1))
            .collect();
        self.copy_v6 ^= 1;
        self.v6 = v6::write(&sets, self.copy_v6, &mut self.classes, &self.arena, memory)?;
        Ok(())
    }

    /// Returns the records of the front of a number.
    #[must_use]
    pub fn front(&self, counters: &CounterNumbers, serial: u32) -> Vec<Record> {
        let mut records = vec![Record::EMPTY; front::LENGTH as usize];
        let mut put = |at: u32, record: Record| records[at as usize] = record;
        let header = Header { bank: self.bank() as u8, serial, ..self.rules.header };
        put(front::HEADER, record(&header));
        put(front::NUMBERS, record(&counters.record(&self.rules.order)));
        put(front::V6, record(&self.v6.table));
        for (at, cuts) in (front::CUTS..).zip(&self.v6.cuts) {
            put(at, record(cuts));
        }
        for (place, rate) in &self.rules.rates {
            put(front::RATES + place, record(rate));
        }
        for (at, part) in (front::CLASSES..).zip(self.class_masks().chunks(4)) {
            let mut classes = Classes::default();
            classes.classes[..part.len()].copy_from_slice(part);
            put(at, record(&classes));
        }
        let ports = &self.rules.ports;
        for (start, table) in [(front::TCP_PORTS, &ports.tcp), (front::UDP_PORTS, &ports.udp)] {
            for (at, part) in (start..).zip(table.chunks(32)) {
                put(at, record(&Halves { halves: part.try_into().expect("chunks of 32") }));
            }
        }
        let (tcp, udp) = (ports.named(&ports.tcp, header.tcp), ports.named(&ports.udp, header.udp));
        let wide: Vec<u64> = self.v4.wide().iter().map(|Wide(word)| *word).collect();
        for (start, words) in [
            (front::TCP_BITS, &*tcp),
            (front::UDP_BITS, &udp),
            (front::PORT_MASKS, &ports.masks),
            (front::V4_BITS, self.v4.bits()),
            (front::WIDE, &wide),
            (front::V6_BITS, &self.v6.bits),
        ] {
            for (at, part) in (start..).zip(words.chunks(8)) {
                let mut words = Words::default();
                words.words[..part.len()].copy_from_slice(part);
                put(at, record(&words));
            }
        }
        records
    }

    /// Returns the rules that each class fits. Sets that are gone have no rules.
    fn class_masks(&self) -> Vec<ClassMasks> {
        let sets: BTreeMap<u32, &Set> = numbered(&self.rules, &self.sets).collect();
        let header = &self.rules.header;
        let masks = |members: &Vec<u32>| {
            let start = ClassMasks {
                sources: header.unlisted_sources,
                destinations: header.unlisted_destinations,
            };
            members.iter().filter_map(|set| sets.get(set)).fold(start, |masks, set| ClassMasks {
                sources: masks.sources | set.sources,
                destinations: masks.destinations | set.destinations,
            })
        };
        self.classes.members().iter().map(masks).collect()
    }
}

/// Walks over the sets with their numbers.
fn numbered<'a>(
    rules: &'a Rules,
    numbers: &BTreeMap<SetKey, u32>,
) -> impl Iterator<Item = (u32, &'a Set)> {
    rules.sets.iter().map(|(key, set)| (numbers[key], set))
}

type Families<'a> = (&'a [Prefix], &'a [Prefix]);

/// Notes the /16s of IPv4 that a set's change concerns, and whether it concerns IPv6.
fn note_changes(
    old: Families<'_>,
    new: Option<Families<'_>>,
    v4: &mut BTreeSet<u16>,
    v6: &mut bool,
) {
    let new = new.unwrap_or_default();
    *v6 |= old.1 != new.1;
    let mut note = |prefix: &Prefix| {
        let (first, last) = ends(prefix);
        v4.extend((first >> 16) as u16..=(last >> 16) as u16);
    };
    let (mut old, mut new) = (old.0.iter().peekable(), new.0.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (Some(was), Some(is)) if was == is => {
                old.next();
                new.next();
            }
            (Some(was), Some(is)) if was < is => {
                note(was);
                old.next();
            }
            (_, Some(is)) => {
                note(is);
                new.next();
            }
            (Some(was), None) => {
                note(was);
                old.next();
            }
            (None, None) => return,
        }
    }
}

/// There is a word for each value that a set's change may concern.
const _: () = assert!(WIDES == 1 << 16);
