//! Which counter each rule has (pure).

use std::collections::{BTreeMap, BTreeSet};

use ebpf_common::filter::{Numbers, RULE_NUMBERS, RULES_MAX};
use model::ObjectKey;

/// A rule: its filter and its index there.
pub type RuleKey = (ObjectKey, usize);

/// The counters of the rules in force. A rule keeps its counter through changes.
#[derive(Clone, Debug, Default)]
pub struct CounterNumbers {
    given: BTreeMap<RuleKey, u8>,
}

impl CounterNumbers {
    /// Gives the rules counters; returns those that begin anew. A counter that the rules before
    /// had is given to none of the new ones.
    pub fn give(&mut self, rules: &[RuleKey]) -> Vec<u8> {
        let taken: BTreeSet<u8> = self.given.values().copied().collect();
        let mut free = (0..RULE_NUMBERS as u8).filter(|number| !taken.contains(number));
        let old = std::mem::take(&mut self.given);
        let mut fresh = Vec::new();
        for rule in rules {
            let number = match old.get(rule) {
                Some(number) => *number,
                None => {
                    // There are twice as many counters as rules.
                    let number = free.next().expect("a free counter");
                    fresh.push(number);
                    number
                }
            };
            self.given.insert(rule.clone(), number);
        }
        fresh
    }

    /// Returns the record that tells the program each rule's counter.
    #[must_use]
    pub fn record(&self, rules: &[RuleKey]) -> Numbers {
        let mut numbers = Numbers { numbers: [0; RULES_MAX] };
        for (place, rule) in numbers.numbers.iter_mut().zip(rules) {
            *place = self.given.get(rule).copied().unwrap_or_default();
        }
        numbers
    }

    /// Walks over the rules with their counters.
    pub fn iter(&self) -> impl Iterator<Item = (&RuleKey, u8)> {
        self.given.iter().map(|(rule, number)| (rule, *number))
    }
}
