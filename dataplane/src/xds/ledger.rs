//! What Envoy has accepted and refused, kept over its restarts and reconnections.
//!
//! **Invariants.** A refused (name, version) is not sent again while it is wanted; in its place stands
//! the version that was accepted last, with the clusters that it needs. Another version that is
//! accepted, or the removal of the resource, ends the refusal.
//!
//! **Exception.** What hangs on the node besides the configuration (a port that is taken, a file that
//! is not there) is tried again every [`RETRY_INTERVAL`], alone; its refusal stands until Envoy takes
//! it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use model::Refusal;

use crate::l7::{self, Resource, ResourceId, ResourceType, World};

/// Refused versions remembered of one resource: more than anybody tries before reading why.
const REFUSED_MAX: usize = 16;

/// How long what the node's ports and files may have caused is left alone: short for a person who
/// has just freed the port, long beside the milliseconds that a try costs.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// What Envoy has accepted and refused.
#[derive(Debug, Default)]
pub struct Ledger {
    accepted: HashMap<ResourceId, Arc<Resource>>,
    /// By resource, the oldest first.
    refused: BTreeMap<ResourceId, VecDeque<Refused>>,
    /// Clusters that accepted versions need in place of refused ones.
    pinned: BTreeSet<Arc<str>>,
    /// The start of Envoy that is connected, or was last.
    instance: String,
    /// The scopes that this start has accepted.
    present: BTreeSet<ResourceId>,
    /// What is on its way, which a broken stream leaves open.
    in_doubt: BTreeMap<ResourceId, Option<Arc<Resource>>>,
}

#[derive(Debug)]
struct Refused {
    version: Arc<str>,
    refusal: Refusal,
    retry: Retry,
}

/// Whether a refused version is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    Never,
    At(Instant),
    /// It is, and Envoy has not answered.
    Trying,
}

impl Ledger {
    /// Returns what Envoy should have under a name: the world's version, or the last accepted one
    /// when that was refused or is still needed.
    pub(super) fn wanted(
        &self,
        world: &World,
        kind: ResourceType,
        name: &Arc<str>,
    ) -> Option<Arc<Resource>> {
        let id = ResourceId { kind, name: name.clone() };
        match world.get(kind, name) {
            Some(resource) if self.stands(&id, resource) => self.accepted.get(&id).cloned(),
            Some(resource) => Some(resource.clone()),
            None if self.is_pinned(kind, name) => self.accepted.get(&id).cloned(),
            None => None,
        }
    }

    /// Walks over names that are wanted though the world has them no more.
    pub(super) fn pinned(&self) -> impl Iterator<Item = &Arc<str>> {
        self.pinned.iter()
    }

    fn is_pinned(&self, kind: ResourceType, name: &str) -> bool {
        matches!(kind, ResourceType::Cluster | ResourceType::Endpoints)
            && self.pinned.contains(name)
    }

    fn is_refused(&self, id: &ResourceId, resource: &Resource) -> bool {
        self.refusal(id, resource).is_some()
    }

    /// Tells whether a refusal forbids sending: it does unless that is tried again.
    fn stands(&self, id: &ResourceId, resource: &Resource) -> bool {
        self.refusal(id, resource).is_some_and(|refused| refused.retry != Retry::Trying)
    }

    /// Lists what is to be tried again by now, each once.
    pub(super) fn retries(&mut self, now: Instant) -> Vec<ResourceId> {
        let mut due = Vec::new();
        for (id, refused) in &mut self.refused {
            for refused in refused.iter_mut() {
                if matches!(refused.retry, Retry::At(at) if at <= now) {
                    refused.retry = Retry::Trying;
                    due.push(id.clone());
                }
            }
        }
        due
    }

    /// Returns when something is to be tried again.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        let all = self.refused.values().flatten();
        all.filter_map(|refused| match refused.retry {
            Retry::At(at) => Some(at),
            Retry::Never | Retry::Trying => None,
        })
        .min()
    }

    fn refusal(&self, id: &ResourceId, resource: &Resource) -> Option<&Refused> {
        self.refused.get(id)?.iter().find(|refused| refused.version == resource.version)
    }

    /// Returns the version that was accepted last.
    pub(super) fn accepted(&self, kind: ResourceType, name: &Arc<str>) -> Option<&Arc<Resource>> {
        self.accepted.get(&ResourceId { kind, name: name.clone() })
    }

    /// Notes which start of Envoy connects; tells whether it is the one that accepted.
    pub(super) fn is_instance(&mut self, instance: &str) -> bool {
        let same = self.instance == instance;
        if !same {
            instance.clone_into(&mut self.instance);
            self.present.clear();
            self.in_doubt.clear();
        }
        same && !instance.is_empty()
    }

    /// Notes that a resource, or its removal, is on its way.
    pub(super) fn send(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        sent: Option<&Arc<Resource>>,
    ) {
        self.in_doubt.insert(ResourceId { kind, name: name.clone() }, sent.cloned());
    }

    /// Takes what an Envoy that connects again says it has; its acknowledgement may have been lost.
    pub(super) fn claimed(
        &mut self,
        world: &World,
        kind: ResourceType,
        name: &Arc<str>,
        version: &str,
    ) -> Option<Arc<Resource>> {
        let id = ResourceId { kind, name: name.clone() };
        let doubtful = self.in_doubt.get(&id).and_then(Option::as_ref);
        let known = [self.accepted.get(&id), doubtful, world.get(kind, name)];
        let claimed = known.into_iter().flatten().find(|known| *known.version == *version)?.clone();
        if self.accepted.get(&id).is_none_or(|accepted| *accepted.version != *version) {
            self.accept(kind, &claimed);
        }
        Some(claimed)
    }

    /// Lists what an Envoy that connects again has of a collection, though it does not say so.
    pub(super) fn collection(&self, kind: ResourceType, path: &str) -> Vec<Arc<Resource>> {
        let in_path = |id: &&ResourceId| id.kind == kind && id.name.starts_with(path);
        self.present
            .iter()
            .filter(in_path)
            .filter(|id| !self.in_doubt.contains_key(id))
            .filter_map(|id| self.accepted.get(id).cloned())
            .collect()
    }

    /// Lists what of a collection it may or may not have, with the clusters that may be in use.
    pub(super) fn doubtful(
        &self,
        kind: ResourceType,
        path: &str,
    ) -> Vec<(Arc<str>, Vec<Arc<str>>)> {
        let in_path =
            self.in_doubt.iter().filter(|(id, _)| id.kind == kind && id.name.starts_with(path));
        in_path
            .map(|(id, sent)| {
                let either = self.accepted.get(id).into_iter().chain(sent);
                let clusters = either.flat_map(|resource| resource.clusters.iter().cloned());
                (id.name.clone(), clusters.collect())
            })
            .collect()
    }

    /// Notes that Envoy dropped a collection, with the listener that asked for it.
    pub(super) fn forget_collection(&mut self, kind: ResourceType, path: &str) {
        self.present.retain(|id| id.kind != kind || !id.name.starts_with(path));
    }

    /// Notes that Envoy took a resource.
    pub(super) fn accept(&mut self, kind: ResourceType, resource: &Arc<Resource>) {
        let id = ResourceId { kind, name: resource.name.clone() };
        self.in_doubt.remove(&id);
        // The version that stands in for a refused one was accepted before; the refusal stays.
        let ends = self.refused.contains_key(&id)
            && (self.is_refused(&id, resource) || self.accepted.get(&id) != Some(resource));
        if ends {
            self.refused.remove(&id);
            self.repin();
        }
        if kind == ResourceType::ScopedRoute {
            self.present.insert(id.clone());
        }
        self.accepted.insert(id, resource.clone());
    }

    /// Notes that Envoy dropped a resource.
    pub(super) fn forget(&mut self, kind: ResourceType, name: &Arc<str>) {
        let id = ResourceId { kind, name: name.clone() };
        self.in_doubt.remove(&id);
        self.present.remove(&id);
        self.accepted.remove(&id);
        if self.refused.remove(&id).is_some() {
            self.repin();
        }
    }

    /// Notes that Envoy refused a resource, in its own words.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        kind: ResourceType,
        resource: &Resource,
        message: &str,
    ) {
        let origin = l7::find_origin(&resource.origins, message);
        let refusal = Refusal {
            object: Some(origin.map_or(&resource.object, |origin| &origin.object).clone()),
            field: origin.map(|origin| origin.field.clone()).unwrap_or_default(),
            resource: format!("{kind} {}", resource.name),
            message: message.to_owned(),
        };
        let id = ResourceId { kind, name: resource.name.clone() };
        self.in_doubt.remove(&id);
        let retry = match kind {
            ResourceType::Listener | ResourceType::Secret => Retry::At(now + RETRY_INTERVAL),
            ResourceType::Cluster | ResourceType::Endpoints | ResourceType::ScopedRoute => {
                Retry::Never
            }
        };
        let refused = self.refused.entry(id).or_default();
        let known = refused.iter().position(|refused| refused.version == resource.version);
        let known = known.and_then(|at| refused.remove(at));
        if known.is_none_or(|known| known.refusal != refusal) {
            tracing::warn!(resource = refusal.resource, message, "envoy refused");
        }
        refused.push_back(Refused { version: resource.version.clone(), refusal, retry });
        if refused.len() > REFUSED_MAX {
            refused.pop_front();
        }
        self.repin();
    }

    /// Ends the refusal of what the configuration has no more: put back, it is tried again.
    pub(super) fn lift(&mut self, world: &World, kind: ResourceType, name: &Arc<str>) {
        let id = ResourceId { kind, name: name.clone() };
        if world.get(kind, name).is_none() && self.refused.remove(&id).is_some() {
            self.repin();
        }
    }

    /// Tells whether the world's version was refused and none stands in for it.
    pub(super) fn is_hopeless(&self, world: &World, kind: ResourceType, name: &Arc<str>) -> bool {
        let id = ResourceId { kind, name: name.clone() };
        world.get(kind, name).is_some_and(|resource| self.stands(&id, resource))
            && !self.accepted.contains_key(&id)
    }

    /// Lists what of the world is refused.
    pub(super) fn refusals(&self, world: &World) -> Vec<Refusal> {
        self.refused
            .keys()
            .filter_map(|id| self.refusal(id, world.get(id.kind, &id.name)?))
            .map(|refused| refused.refusal.clone())
            .collect()
    }

    fn repin(&mut self) {
        self.pinned = self
            .refused
            .keys()
            .filter_map(|id| self.accepted.get(id))
            .flat_map(|resource| resource.clusters.iter().cloned())
            .collect();
    }
}
