//! What is sent next: clusters before what routes to them, removals in reverse, each when what it
//! hangs on has arrived or gone.

use std::{sync::Arc, time::Instant};

use super::{InFlight, Item, Mark, Response, Session, carrier, requirements::Grant};
use crate::{
    l7::{self, Resource, ResourceId, ResourceType, TOKENS},
    xds::ledger::Ledger,
};

/// Resources in one response. 25,000 scopes are about 10 MB, which Envoy takes in one piece.
const RESOURCES_MAX: usize = 25_000;

impl Session {
    /// Returns the next response, if there is one to send.
    pub(in crate::xds) fn poll(&mut self, now: Instant, ledger: &mut Ledger) -> Option<Response> {
        self.complete_uses(now);
        for id in ledger.take_unpinned() {
            self.mark(id.kind, &carrier(&id), self.world.revision, false);
        }
        if self.clusters.take_unused().iter().any(|name| l7::is_requirement(name)) {
            self.mark(ResourceType::ExtensionConfig, &TOKENS.into(), self.world.revision, false);
        }
        for cluster in self.clusters.due(now) {
            self.mark(ResourceType::Cluster, &cluster, self.world.revision, false);
        }
        for id in ledger.retries(now) {
            let name = carrier(&id);
            self.mark(id.kind, &name, self.world.revision, false);
            // Alone, so that another refusal of it takes nothing else along.
            self.kinds[id.kind as usize].suspects.push_back(vec![name]);
        }
        ResourceType::ALL.into_iter().find_map(|kind| self.poll_kind(now, kind, ledger))
    }

    fn poll_kind(
        &mut self,
        now: Instant,
        kind: ResourceType,
        ledger: &mut Ledger,
    ) -> Option<Response> {
        if self.kinds[kind as usize].in_flight.is_some() {
            return None;
        }
        while let Some(part) = self.kinds[kind as usize].suspects.pop_front() {
            let items = self.collect(now, kind, part, ledger);
            if !items.is_empty() {
                return Some(self.respond(kind, items, false, ledger));
            }
        }
        if self.kinds[kind as usize].dirty.is_empty() && self.kinds[kind as usize].fresh.is_empty()
        {
            return None;
        }
        let names: Vec<Arc<str>> =
            self.kinds[kind as usize].dirty.keys().take(RESOURCES_MAX).cloned().collect();
        let items = self.collect(now, kind, names, ledger);
        // A first response is sent when it is whole: what waits for it opens with all of it.
        let state = &self.kinds[kind as usize];
        let partial: Vec<Arc<str>> = state
            .fresh
            .iter()
            .filter(|prefix| state.dirty.keys().any(|name| name.starts_with(&***prefix)))
            .cloned()
            .collect();
        let (items, early): (Vec<Item>, Vec<Item>) = items
            .into_iter()
            .partition(|item| !partial.iter().any(|prefix| item.name.starts_with(&**prefix)));
        for item in early {
            self.put_back(kind, item);
        }
        let state = &mut self.kinds[kind as usize];
        let answered = state.fresh.len() > partial.len();
        state.fresh = partial.into_iter().collect();
        (answered || !items.is_empty()).then(|| self.respond(kind, items, answered, ledger))
    }

    /// Takes those of the dirty names that differ and may be sent; the others stay or are done.
    fn collect(
        &mut self,
        now: Instant,
        kind: ResourceType,
        names: Vec<Arc<str>>,
        ledger: &mut Ledger,
    ) -> Vec<Item> {
        let mut items = Vec::new();
        for name in names {
            let Some(mark) = self.kinds[kind as usize].dirty.get(&name).copied() else { continue };
            ledger.lift(&self.world, kind, &name);
            let mut wanted = ledger.wanted(&self.world, kind, &name);
            let base = wanted.as_ref().filter(|_| is_joined(kind, &name));
            let joined = base.map(|base| self.join_requirements(base, ledger));
            if let Some(joined) = &joined {
                wanted = Some(joined.resource.clone());
            }
            let held = self.kinds[kind as usize].held.get(&name).cloned();
            let send = match &wanted {
                Some(wanted) => {
                    if kind == ResourceType::Cluster {
                        self.clusters.stay(&name);
                    }
                    let same = held
                        .as_ref()
                        .is_some_and(|held| held.version.as_ref() == Some(&wanted.version));
                    if mark.forced || !same {
                        match self.is_ready(wanted, held.is_some(), ledger) {
                            Grant::Given => {}
                            Grant::Awaited => continue,
                            Grant::Refused => {
                                self.kinds[kind as usize].dirty.remove(&name);
                                self.keep_back(name);
                                continue;
                            }
                        }
                    }
                    if let Some(joined) = joined.as_ref().filter(|_| same) {
                        // It may have come with another stream.
                        self.granted(joined, ledger);
                    }
                    mark.forced || !same
                }
                None => self.may_go(now, kind, &name, mark, held.is_some()),
            };
            self.kinds[kind as usize].dirty.remove(&name);
            if !send {
                continue;
            }
            items.push(Item { name, since: mark.since, sent: wanted, before: held, joined });
        }
        items
    }

    /// Tells whether every cluster of a resource has reached Envoy, with the endpoints and secrets
    /// that it waits for, and every requirement that it names.
    fn is_ready(&self, resource: &Resource, replaces: bool, ledger: &Ledger) -> Grant {
        let (required, clusters): (Vec<_>, Vec<_>) =
            resource.clusters.iter().partition(|name| l7::is_requirement(name));
        let grants = required.into_iter().map(|name| self.grant(name, replaces, ledger));
        // What was refused keeps it back whatever else is awaited.
        let grant = grants.max_by_key(|grant| *grant as u8).unwrap_or(Grant::Given);
        match grant {
            Grant::Given if !clusters.into_iter().all(|name| self.is_warm(name, ledger)) => {
                Grant::Awaited
            }
            grant => grant,
        }
    }

    /// Tells whether a cluster has reached Envoy, with the endpoints and secrets that it waits for.
    fn is_warm(&self, name: &Arc<str>, ledger: &Ledger) -> bool {
        let has = |kind: ResourceType, name: &Arc<str>| {
            self.kinds[kind as usize].held.get(name).is_some_and(|held| held.version.is_some())
                || ledger.is_hopeless(&self.world, kind, name)
        };
        // A client that never asks for clusters is not held up for want of them.
        if !self.kinds[ResourceType::Cluster as usize].subscriptions.covers(name) {
            return true;
        }
        // A cluster that is not to be had is not waited for: its requests get 500.
        let Some(cluster) = ledger.wanted(&self.world, ResourceType::Cluster, name) else {
            return true;
        };
        // What the cluster of before wants may be gone with the configuration that had it.
        let gone = |want: &ResourceId| ledger.wanted(&self.world, want.kind, &want.name).is_none();
        has(ResourceType::Cluster, name)
            && cluster.wants.iter().all(|want| has(want.kind, &want.name) || gone(want))
    }

    /// Tells whether a name that is wanted no more is to be removed.
    fn may_go(
        &mut self,
        now: Instant,
        kind: ResourceType,
        name: &Arc<str>,
        mark: Mark,
        held: bool,
    ) -> bool {
        match kind {
            ResourceType::Cluster if held => {
                self.clusters.leave(name, now);
                self.clusters.due(now).contains(name)
            }
            // They go with the cluster or listener that asked for them.
            ResourceType::Endpoints => {
                let lingers = self.kinds[ResourceType::Cluster as usize].held.contains_key(name);
                (held || mark.forced) && !lingers
            }
            ResourceType::Secret | ResourceType::ExtensionConfig => mark.forced,
            _ => held || mark.forced,
        }
    }

    /// A changed cluster warms again, and waits for endpoints and secrets that it does not ask for,
    /// since Envoy has them. It acknowledges no cluster while one warms, so they follow at once.
    fn follow_changed_clusters(&mut self, items: &[Item]) {
        for item in items.iter().filter(|item| item.before.is_some()) {
            for want in item.sent.iter().flat_map(|cluster| &cluster.wants) {
                self.mark(want.kind, &want.name, item.since, true);
            }
        }
    }

    fn put_back(&mut self, kind: ResourceType, item: Item) {
        self.kinds[kind as usize]
            .dirty
            .insert(item.name, Mark { since: item.since, forced: false });
    }

    fn respond(
        &mut self,
        kind: ResourceType,
        items: Vec<Item>,
        answers_prefix: bool,
        ledger: &mut Ledger,
    ) -> Response {
        self.nonce += 1;
        self.listeners_sent |= kind == ResourceType::Listener && !items.is_empty();
        let nonce = self.nonce.to_string();
        let mut resources = Vec::with_capacity(items.len());
        let mut removed = Vec::new();
        for item in &items {
            ledger.send(kind, &item.name, item.sent.as_ref());
            match &item.sent {
                Some(resource) => {
                    self.clusters.add(&resource.clusters);
                    resources.push(resource.clone());
                }
                None => {
                    removed.push(item.name.clone());
                    self.kinds[kind as usize].held.remove(&item.name);
                    let known = ledger.accepted(kind, &item.name).cloned();
                    for want in known.iter().flat_map(|known| &known.wants) {
                        if want.kind == ResourceType::ScopedRoute
                            && let Some((path, _)) = want.name.rsplit_once('/')
                        {
                            ledger.forget_collection(want.kind, &format!("{path}/"));
                        }
                    }
                    if kind == ResourceType::Cluster {
                        // Should it come again, its endpoints are to be sent again.
                        self.clusters.stay(&item.name);
                        self.kinds[ResourceType::Endpoints as usize].held.remove(&item.name);
                    }
                }
            }
        }
        if kind == ResourceType::Cluster {
            self.follow_changed_clusters(&items);
        }
        let since = items.iter().map(|item| item.since).min().unwrap_or(self.world.revision);
        self.kinds[kind as usize].in_flight = Some(InFlight { nonce: nonce.clone(), since, items });
        let revision = self.world.revision;
        Response { kind, revision, nonce, resources, removed, answers_prefix }
    }
}

/// Tells whether a resource is the one that requirements are joined to.
fn is_joined(kind: ResourceType, name: &str) -> bool {
    kind == ResourceType::ExtensionConfig && name == TOKENS
}
