//! What subscriptions ask for: what is marked to be sent when they come, what is forgotten when they
//! go. Which names they cover is `subscription`'s.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::{Held, Kind, Session};
use crate::{
    l7::{ResourceId, ResourceType, TOKENS},
    xds::{ledger::Ledger, subscription::Subscribed},
};

impl Session {
    /// Marks what a subscription asks for.
    pub(super) fn subscribed(
        &mut self,
        kind: ResourceType,
        subscribed: &Subscribed,
        initial: &HashMap<String, String>,
        ledger: &Ledger,
    ) {
        let revision = self.world.revision;
        for prefix in &subscribed.prefixes {
            let world = self.world.clone();
            let mut missing = !initial.keys().any(|name| name.starts_with(&**prefix));
            if kind == ResourceType::ScopedRoute
                && self.same_instance
                && self.has_collections_of_before()
            {
                missing &= !self.assume(kind, prefix, ledger);
            }
            let state = &self.kinds[kind as usize];
            let held: Vec<Arc<str>> =
                state.held.keys().filter(|name| name.starts_with(&**prefix)).cloned().collect();
            let pinned: Vec<Arc<str>> = if kind == ResourceType::Cluster {
                ledger.pinned().cloned().collect()
            } else {
                vec![]
            };
            for (name, resource) in world.with_prefix(kind, prefix) {
                let has =
                    self.kinds[kind as usize].held.get(name).and_then(|held| held.version.as_ref());
                if has != Some(&resource.version) {
                    self.mark(kind, name, revision, false);
                    missing = true;
                }
            }
            for name in held.iter().chain(&pinned) {
                self.mark(kind, name, revision, false);
            }
            if missing {
                self.kinds[kind as usize].fresh.insert(prefix.clone());
            }
        }
        for name in &subscribed.names {
            // What came with its version in the same request is a reconnection, not a question.
            let forced = !initial.contains_key(&**name);
            self.mark(kind, name, revision, forced);
        }
        let state = &self.kinds[kind as usize];
        let arrived: Vec<ResourceId> = self
            .awaited
            .keys()
            .filter(|id| id.kind == kind && state.subscriptions.covers(&id.name))
            .cloned()
            .collect();
        for id in arrived {
            let since = self.awaited.remove(&id).unwrap_or(revision);
            self.mark(kind, &id.name, since, false);
        }
    }

    /// Takes for granted what Envoy accepted of a collection: of collections it tells no versions
    /// when it connects again. Tells whether there was anything.
    fn assume(&mut self, kind: ResourceType, path: &str, ledger: &Ledger) -> bool {
        let accepted = ledger.collection(kind, path);
        for resource in &accepted {
            self.clusters.add(&resource.clusters);
            let held = Held {
                version: Some(resource.version.clone()),
                clusters: resource.clusters.clone(),
            };
            self.kinds[kind as usize].held.insert(resource.name.clone(), held);
        }
        for (name, clusters) in ledger.doubtful(kind, path) {
            self.clusters.add(&clusters);
            let held = Held { version: None, clusters };
            self.kinds[kind as usize].held.insert(name, held);
        }
        !accepted.is_empty()
    }

    /// Tells whether a collection that is asked for may be one that Envoy has from another stream.
    fn has_collections_of_before(&self) -> bool {
        !self.listeners_sent || !self.clusters.is_complete()
    }

    /// Counts the uses of clusters as complete once Envoy has asked for the collections of the
    /// listeners it came with, and what is unknown of them has been replaced.
    pub(super) fn complete_uses(&mut self, now: Instant) {
        if self.clusters.is_complete()
            || !self.kinds[ResourceType::Listener as usize].subscriptions.asked()
            || self.awaited.keys().any(|id| {
                use ResourceType::{ExtensionConfig, Route, ScopedRoute};
                matches!(id.kind, ExtensionConfig | Route | ScopedRoute)
            })
        {
            return;
        }
        let scopes = &self.kinds[ResourceType::ScopedRoute as usize];
        if scopes.fresh.is_empty() && scopes.in_flight.is_none() && scopes.suspects.is_empty() {
            self.clusters.complete(now);
            self.mark(ResourceType::ExtensionConfig, &TOKENS.into(), self.world.revision, false);
        }
    }

    /// Forgets what is not subscribed to any more: Envoy has dropped it.
    pub(super) fn unsubscribed(&mut self, now: Instant, kind: ResourceType) {
        let state = &mut self.kinds[kind as usize];
        let Kind { subscriptions, held, dirty, fresh, .. } = state;
        dirty.retain(|name, _| subscriptions.covers(name));
        fresh.retain(|prefix| subscriptions.covers(&format!("{prefix}x")));
        let gone: Vec<Arc<str>> =
            held.keys().filter(|name| !subscriptions.covers(name)).cloned().collect();
        for name in gone {
            if let Some(held) = held.remove(&name) {
                self.clusters.drop(&held.clusters, now);
            }
        }
    }
}
