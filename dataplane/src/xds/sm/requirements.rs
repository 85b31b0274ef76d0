//! What policies require of tokens. Envoy has it as one resource, which is joined here of the requirements that
//! the world has and of those that routes of before still name.
//!
//! A route goes to Envoy when its requirement has been acknowledged; a requirement goes when no route is left
//! that names it. When Envoy refuses several new ones together and does not say which, they are tried one at a
//! time; one that it refuses is left out, and keeps back none but the routes that name it.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::{Item, Session};
use crate::{
    l7::{self, Resource, ResourceId, ResourceType, TOKENS},
    xds::ledger::Ledger,
};

const KIND: ResourceType = ResourceType::ExtensionConfig;

/// What of them Envoy has.
#[derive(Debug, Default)]
pub(super) struct Requirements {
    /// Those that it has acknowledged.
    granted: BTreeSet<Arc<str>>,
    /// Whether new ones are tried one at a time.
    one_at_a_time: bool,
    /// How often it refused some.
    refusals: u32,
    /// The count in the version that it has.
    marked: u32,
    /// What names a requirement that it refused, and would take the place of what does not.
    kept_back: BTreeSet<Arc<str>>,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    pub(super) resource: Arc<Resource>,
    /// What it was joined of.
    parts: Vec<Arc<Resource>>,
    mark: u32,
}

/// Whether a requirement that a resource names is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// It is; or the resource is new, and closed while it is not.
    Given,
    /// It is to come.
    Awaited,
    /// Envoy refused it: what the resource would take the place of stays.
    Refused,
}

impl Session {
    /// Joins what Envoy should have of requirements to `base`.
    pub(super) fn join_requirements(&self, base: &Resource, ledger: &Ledger) -> Joined {
        let mut names: BTreeSet<Arc<str>> =
            self.world.of_kind(KIND).map(|(name, _)| name.clone()).collect();
        names.extend(self.clusters.used().cloned());
        names.extend(ledger.pinned_of(KIND).cloned());
        if self.same_instance && !self.clusters.is_complete() {
            // Routes from before this stream may name any of them.
            names.extend(ledger.accepted_of(KIND).cloned());
        }
        let parts = names.iter().filter(|name| l7::is_requirement(name)).filter_map(|name| {
            match self.world.get(KIND, name) {
                Some(_) => ledger.wanted(&self.world, KIND, name),
                None => ledger.accepted(KIND, name).cloned(),
            }
        });
        let mut parts: Vec<Arc<Resource>> = parts.collect();
        let granted = &self.requirements.granted;
        if self.requirements.one_at_a_time {
            let mut tried = false;
            parts.retain(|part| {
                granted.contains(&part.name) || !std::mem::replace(&mut tried, true)
            });
        }
        // Envoy takes what it refused last for known when it comes again as it was.
        let is_again = |part: &&Arc<Resource>| {
            !granted.contains(&part.name) && ledger.has_refused(KIND, &part.name)
        };
        let mark = match parts.iter().any(|part| is_again(&part)) {
            true => self.requirements.refusals,
            false => self.requirements.marked,
        };
        Joined { resource: l7::joined(base, &parts, mark).into(), parts, mark }
    }

    /// Tells whether Envoy has a requirement that a resource names.
    pub(super) fn grant(&self, name: &Arc<str>, replaces: bool, ledger: &Ledger) -> Grant {
        if !self.asks_for_requirements() || self.requirements.granted.contains(name) {
            return Grant::Given;
        }
        match ledger.wanted(&self.world, KIND, name) {
            Some(_) => Grant::Awaited,
            None if replaces => Grant::Refused,
            None => Grant::Given,
        }
    }

    /// Tells whether Envoy asks for requirements, or will, because of a listener.
    fn asks_for_requirements(&self) -> bool {
        let id = ResourceId::new(KIND, TOKENS);
        let sent = self.kinds[ResourceType::Listener as usize].in_flight.iter();
        let mut sent =
            sent.flat_map(|in_flight| &in_flight.items).filter_map(|it| it.sent.as_ref());
        self.kinds[KIND as usize].subscriptions.covers(TOKENS)
            || self.awaited.contains_key(&id)
            || sent.any(|listener| listener.wants.contains(&id))
    }

    /// Puts a resource aside until Envoy takes other requirements.
    pub(super) fn keep_back(&mut self, name: Arc<str>) {
        self.requirements.kept_back.insert(name);
    }

    /// Notes which requirements Envoy has now.
    pub(super) fn granted(&mut self, joined: &Joined, ledger: &mut Ledger) {
        let now: BTreeSet<Arc<str>> = joined.parts.iter().map(|part| part.name.clone()).collect();
        let known: Vec<Arc<str>> = ledger.accepted_of(KIND).cloned().collect();
        for gone in known.iter().filter(|it| l7::is_requirement(it) && !now.contains(*it)) {
            ledger.forget(KIND, gone);
        }
        for part in &joined.parts {
            ledger.accept(&self.world, KIND, part);
        }
        self.requirements.marked = joined.mark;
        if self.requirements.granted != now {
            self.requirements.granted = now;
            for name in std::mem::take(&mut self.requirements.kept_back) {
                self.mark(ResourceType::ScopedRoute, &name, self.world.revision, false);
            }
        }
        if self.requirements.one_at_a_time {
            self.requirements.one_at_a_time = self.world.of_kind(KIND).any(|(name, _)| {
                l7::is_requirement(name)
                    && !self.requirements.granted.contains(name)
                    && ledger.wanted(&self.world, KIND, name).is_some()
            });
            self.mark(KIND, &TOKENS.into(), self.world.revision, false);
        }
    }

    /// Looks for the culprit in requirements that Envoy refused; tells whether it may be one of them.
    pub(super) fn refused_requirements(
        &mut self,
        now: Instant,
        item: &Item,
        message: &str,
        ledger: &mut Ledger,
    ) -> bool {
        let Some(joined) = &item.joined else { return false };
        let is_new = |part: &&Arc<Resource>| !self.requirements.granted.contains(&part.name);
        let new: Vec<&Arc<Resource>> = joined.parts.iter().filter(is_new).collect();
        // One path may begin as another: the longest is meant.
        let named_by = |part: &Resource| {
            let texts = part.origins.iter().map(|origin| &origin.text);
            texts.filter(|text| message.contains(*text)).map(String::len).max()
        };
        let named = new.iter().filter_map(|part| Some((named_by(part)?, part)));
        let named = named.max_by_key(|(length, _)| *length).map(|(_, part)| part);
        match (named, new.as_slice()) {
            (None, []) => return false,
            (Some(part), _) | (None, [part]) => {
                ledger.send(KIND, &part.name, Some(part));
                ledger.refuse(now, KIND, part, message);
            }
            (None, _) => self.requirements.one_at_a_time = true,
        }
        self.requirements.refusals += 1;
        // It has what it had.
        if let Some(before) = &item.before {
            self.kinds[KIND as usize].held.insert(item.name.clone(), before.clone());
        }
        self.mark(KIND, &item.name, item.since, false);
        true
    }
}
