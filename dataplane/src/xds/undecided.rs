//! Which listeners are held back until XDP has decided whether it carries them (pure).
//!
//! A listener that goes to Envoy first and to XDP a moment later loses the connections that were
//! made in between. The wait is bounded, so that a program that hangs while it is loaded takes
//! nothing away but time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use model::{Kind, ObjectKey, Snapshot, listener::EngineChoice};

use crate::xdp::{L4Placement, placement::differing};

/// How long a listener waits for XDP's decision: several times what loading the program takes.
const DECISION_WITHIN: Duration = Duration::from_secs(10);

/// The listeners that XDP is yet to decide on, and since when.
#[derive(Debug, Default)]
pub(super) struct Undecided {
    until: BTreeMap<ObjectKey, Instant>,
    now: Option<Instant>,
    config: Snapshot,
    placement: L4Placement,
}

impl Undecided {
    /// Returns the listeners that are to be held back by now.
    pub(super) fn update(
        &mut self,
        now: Instant,
        config: &Snapshot,
        placement: &L4Placement,
    ) -> BTreeSet<ObjectKey> {
        self.now = Some(now);
        let is_open = |key: &ObjectKey| {
            let listener = config.listener(&key.namespace, &key.name);
            placement.is_undecided(key)
                && listener.is_some_and(|listener| {
                    listener.protocol.is_l4() && listener.engine == EngineChoice::Auto
                })
        };
        for key in self.concerned(config, placement) {
            if is_open(&key) {
                self.until.entry(key).or_insert(now + DECISION_WITHIN);
            } else {
                self.until.remove(&key);
            }
        }
        self.config = config.clone();
        self.placement = placement.clone();
        self.until.iter().filter(|(_, until)| **until > now).map(|(key, _)| key.clone()).collect()
    }

    /// Returns the listeners for which the answer may be another than at the last update.
    fn concerned(&self, config: &Snapshot, placement: &L4Placement) -> BTreeSet<ObjectKey> {
        if self.placement.deciding != placement.deciding {
            let open = self.until.keys();
            return config.listeners().map(|(key, _)| key).chain(open).cloned().collect();
        }
        let changed = self.config.diff(config).into_iter().map(|change| change.key());
        let decided = differing(&self.placement.listeners, &placement.listeners).cloned();
        changed.filter(|key| key.kind == Kind::Listener).chain(decided).collect()
    }

    /// Returns when a wait ends that had not ended at the last update.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.until.values().filter(|until| Some(**until) > self.now).min().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::xdp::Placement;

    fn config(listeners: &[(&str, &str, &str)]) -> Snapshot {
        let mut config = Snapshot::default();
        for (port, (name, protocol, engine)) in listeners.iter().enumerate() {
            let yaml = format!(
                "kind: Listener\nmetadata: {{ name: {name} }}\nspec: {{ protocol: {protocol}, port: \
                 {}, engine: {engine} }}\n",
                port + 1
            );
            for object in model::parse::parse_documents(&yaml).unwrap() {
                config.put(Arc::new(object));
            }
        }
        config
    }

    fn names(keys: &BTreeSet<ObjectKey>) -> Vec<&str> {
        keys.iter().map(|key| key.name.as_str()).collect()
    }

    #[test]
    fn only_what_xdp_might_carry_is_held_back() {
        let config = config(&[
            ("web", "HTTP", "auto"),
            ("tcp", "TCP", "auto"),
            ("udp", "UDP", "auto"),
            ("envoys", "TCP", "envoy"),
        ]);
        let now = Instant::now();
        let mut undecided = Undecided::default();
        let held = undecided.update(now, &config, &L4Placement::undecided());
        assert_eq!(names(&held), ["tcp", "udp"]);
        let held = undecided.update(now, &config, &L4Placement::default());
        assert!(held.is_empty() && undecided.next_timeout().is_none(), "nobody is to decide");
    }

    #[test]
    fn a_decision_or_the_time_ends_the_wait_of_each_listener() {
        let now = Instant::now();
        let mut undecided = Undecided::default();
        let first = config(&[("a", "TCP", "auto")]);
        undecided.update(now, &first, &L4Placement::undecided());
        assert_eq!(undecided.next_timeout(), Some(now + DECISION_WITHIN));

        let later = now + DECISION_WITHIN / 2;
        let both = config(&[("a", "TCP", "auto"), ("b", "TCP", "auto")]);
        assert_eq!(names(&undecided.update(later, &both, &L4Placement::undecided())), ["a", "b"]);
        let end = now + DECISION_WITHIN;
        assert_eq!(names(&undecided.update(end, &both, &L4Placement::undecided())), ["b"]);
        assert_eq!(undecided.next_timeout(), Some(later + DECISION_WITHIN), "no busy loop");

        let b = both.listeners().find(|(key, _)| key.name == "b").unwrap().0.clone();
        let listeners = imbl::OrdMap::from_iter([(b, Placement::Carried)]);
        let decided = L4Placement { listeners, ..L4Placement::undecided() };
        assert!(undecided.update(end, &both, &decided).is_empty());
        assert_eq!(undecided.next_timeout(), None);
    }
}
