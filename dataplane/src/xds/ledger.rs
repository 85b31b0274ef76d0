//! What Envoy has accepted and refused, kept over its restarts and reconnections.
//!
//! **Invariants.** A refused (name, version) is not sent again while it is wanted; in its place stands
//! the version that was accepted last, or else may have been, with what it needs. The refusal ends
//! when Envoy accepts another version that the configuration has, or the resource goes from the
//! configuration.
//!
//! **Exception.** What hangs on the node besides the configuration (a port that is taken, a file that
//! is not there) is tried again every [`RETRY_INTERVAL`], alone; its refusal stands until Envoy takes
//! it.

mod accepted;
mod standing;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use model::Refusal;

use crate::l7::{self, Resource, ResourceId, ResourceType, World};

use accepted::Accepted;
pub use standing::{Kept, RefusedVersion, Standing};

/// Refused versions remembered of one resource: more than anybody tries before reading why.
const REFUSED_MAX: usize = 16;

/// How long what the node's ports and files may have caused is left alone: short for a person who
/// has just freed the port, long beside the milliseconds that a try costs.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// What Envoy has accepted and refused.
#[derive(Debug, Default)]
pub struct Ledger {
    accepted: Accepted,
    /// By resource, the oldest first.
    refused: BTreeMap<ResourceId, VecDeque<Refused>>,
    /// What accepted versions need that stand in for refused ones: clusters with their endpoints,
    /// certificates and filters' configurations.
    pinned: BTreeSet<ResourceId>,
    /// What was pinned until a refusal ended or another version stood in; the session is to look
    /// whether it is still wanted.
    unpinned: BTreeSet<ResourceId>,
    /// The start of Envoy that is connected, or was last.
    instance: String,
    /// The scopes that this start has accepted.
    present: BTreeSet<ResourceId>,
    /// What is on its way, which a broken stream leaves open: all that was sent since Envoy was
    /// last known to have taken something, for it may have any of it. None for a removal.
    in_doubt: BTreeMap<ResourceId, Vec<Option<Arc<Resource>>>>,
}

#[derive(Debug)]
struct Refused {
    version: Arc<str>,
    refusal: Refusal,
    retry: Retry,
    /// How often it was refused.
    times: u32,
}

/// Whether a refused version is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    Never,
    At(Instant),
    /// It is, and Envoy has not answered.
    Trying,
}

impl Retry {
    /// What follows a refusal at `now`.
    fn of(kind: ResourceType, now: Instant) -> Self {
        match kind {
            ResourceType::Listener | ResourceType::Secret | ResourceType::ExtensionConfig => {
                Self::At(now + RETRY_INTERVAL)
            }
            ResourceType::Cluster
            | ResourceType::Endpoints
            | ResourceType::Route
            | ResourceType::ScopedRoute => Self::Never,
        }
    }
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
            Some(resource) if self.stands(&id, resource) => self.find_stand_in(&id).cloned(),
            Some(resource) => Some(self.spelled(&id, resource)),
            None if self.pinned.contains(&id) => self.find_stand_in(&id).cloned(),
            None => None,
        }
    }

    /// Returns what is sent of a resource: a secret is read again only when it looks different.
    fn spelled(&self, id: &ResourceId, resource: &Arc<Resource>) -> Arc<Resource> {
        let odd = || self.refusal(id, resource).is_some_and(|refused| refused.times % 2 == 1);
        if id.kind == ResourceType::Secret && odd() {
            return l7::spelled_anew(resource).into();
        }
        resource.clone()
    }

    /// Walks over clusters that are wanted though the world may have them no more.
    pub(super) fn pinned(&self) -> impl Iterator<Item = &Arc<str>> {
        let clusters = self.pinned.iter().filter(|id| id.kind == ResourceType::Cluster);
        clusters.map(|id| &id.name)
    }

    /// Walks over the names of a kind that are wanted though the world may have them no more.
    pub(super) fn pinned_of(&self, kind: ResourceType) -> impl Iterator<Item = &Arc<str>> {
        self.pinned.iter().filter(move |id| id.kind == kind).map(|id| &id.name)
    }

    /// Walks over the names of a kind of which a version was accepted.
    pub(super) fn accepted_of(&self, kind: ResourceType) -> impl Iterator<Item = &Arc<str>> {
        self.accepted.ids().filter(move |id| id.kind == kind).map(|id| &id.name)
    }

    /// Tells whether Envoy refused any version of a resource.
    pub(super) fn has_refused(&self, kind: ResourceType, name: &Arc<str>) -> bool {
        self.refused.contains_key(&ResourceId { kind, name: name.clone() })
    }

    /// Notes that Envoy did not take what was sent of a resource, and that it is not refused as such.
    pub(super) fn not_taken(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        sent: Option<&Arc<Resource>>,
    ) {
        let id = ResourceId { kind, name: name.clone() };
        if let Some(doubtful) = self.in_doubt.get_mut(&id) {
            doubtful.retain(|one| one.as_ref() != sent);
            if doubtful.is_empty() {
                self.in_doubt.remove(&id);
            }
        }
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

    /// Returns what stands in for a refused version.
    pub(super) fn stand_in(&self, kind: ResourceType, name: &Arc<str>) -> Option<&Arc<Resource>> {
        self.find_stand_in(&ResourceId { kind, name: name.clone() })
    }

    /// Finds the version that was accepted last, or else the last one that Envoy may have taken:
    /// sent once more, it is accepted or refused.
    fn find_stand_in(&self, id: &ResourceId) -> Option<&Arc<Resource>> {
        let sent = self.in_doubt.get(id).into_iter().flatten().rev().flatten();
        let possible = || sent.into_iter().find(|sent| !self.is_refused(id, sent));
        self.accepted.get(id).or_else(possible)
    }

    /// Notes which start of Envoy connects; tells whether it is the one that accepted.
    pub(super) fn is_instance(&mut self, instance: &str) -> bool {
        let same = self.instance == instance;
        if !same {
            instance.clone_into(&mut self.instance);
            self.present.clear();
            self.in_doubt.clear();
            self.repin();
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
        let id = ResourceId { kind, name: name.clone() };
        let sent = sent.cloned();
        let refused = self.refused.contains_key(&id);
        let before = self.in_doubt.entry(id).or_default();
        if !before.contains(&sent) {
            before.push(sent);
            if refused {
                self.repin();
            }
        }
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
        let doubtful = self.in_doubt.get(&id).into_iter().flatten().flatten();
        let mut known =
            self.accepted.get(&id).into_iter().chain(doubtful).chain(world.get(kind, name));
        let claimed = known.find(|known| *known.version == *version)?.clone();
        if self.accepted.get(&id).is_none_or(|accepted| *accepted.version != *version) {
            self.accept(world, kind, &claimed);
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
                let any = self.accepted.get(id).into_iter().chain(sent.iter().flatten());
                let clusters = any.flat_map(|resource| resource.clusters.iter().cloned());
                (id.name.clone(), clusters.collect())
            })
            .collect()
    }

    /// Tells whether it is open which version of a resource Envoy has, if any.
    pub(super) fn is_in_doubt(&self, kind: ResourceType, name: &Arc<str>) -> bool {
        self.in_doubt.contains_key(&ResourceId { kind, name: name.clone() })
    }

    /// Notes that Envoy dropped a collection, with the listener that asked for it.
    pub(super) fn forget_collection(&mut self, kind: ResourceType, path: &str) {
        self.present.retain(|id| id.kind != kind || !id.name.starts_with(path));
    }

    /// Notes that Envoy took a resource. That ends the refusals of it when the resource is one of
    /// these after all, or is what the configuration has and did not stand in before.
    pub(super) fn accept(&mut self, world: &World, kind: ResourceType, resource: &Arc<Resource>) {
        let id = ResourceId { kind, name: resource.name.clone() };
        let wanted = world.get(kind, &resource.name);
        let other = wanted.is_some_and(|wanted| wanted.version == resource.version)
            && self.accepted.get(&id) != Some(resource);
        let ends = other || self.is_refused(&id, resource);
        self.in_doubt.remove(&id);
        if kind == ResourceType::ScopedRoute {
            self.present.insert(id.clone());
        }
        let refused = self.refused.contains_key(&id);
        if ends {
            self.refused.remove(&id);
        }
        self.accepted.insert(id, resource.clone());
        if refused {
            self.repin();
        }
    }

    /// Notes that Envoy dropped a resource. A refusal is [`Self::lift`]'s to end: the configuration
    /// may still have what was refused.
    pub(super) fn forget(&mut self, kind: ResourceType, name: &Arc<str>) {
        let id = ResourceId { kind, name: name.clone() };
        self.in_doubt.remove(&id);
        self.present.remove(&id);
        self.accepted.remove(&id);
        if self.refused.contains_key(&id) {
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
        // As it is written, however it was spelled.
        let message = match kind {
            ResourceType::Secret => &message.replace("/./", "/"),
            _ => message,
        };
        let refusal = Refusal {
            object: Some(origin.map_or(&resource.object, |origin| &origin.object).clone()),
            field: origin.map(|origin| origin.field.clone()).unwrap_or_default(),
            resource: format!("{kind} {}", resource.name),
            message: message.to_owned(),
        };
        let id = ResourceId { kind, name: resource.name.clone() };
        // It has what it had, which may be open since before.
        if let Some(sent) = self.in_doubt.get_mut(&id) {
            sent.retain(|sent| sent.as_ref().is_none_or(|sent| sent.version != resource.version));
            if sent.is_empty() {
                self.in_doubt.remove(&id);
            }
        }
        let refused = self.refused.entry(id.clone()).or_default();
        let known = refused.iter().position(|refused| refused.version == resource.version);
        let known = known.and_then(|at| refused.remove(at));
        let times = known.as_ref().map_or(0, |known| known.times) + 1;
        if known.is_none_or(|known| known.refusal != refusal) {
            tracing::warn!(resource = refusal.resource, message, "envoy refused");
        }
        let version = resource.version.clone();
        refused.push_back(Refused { version, refusal, retry: Retry::of(kind, now), times });
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
            && self.find_stand_in(&id).is_none()
    }

    /// Lists what of the world is refused.
    pub(super) fn refusals(&self, world: &World) -> Vec<Refusal> {
        self.refused
            .keys()
            .filter_map(|id| self.refusal(id, world.get(id.kind, &id.name)?))
            .map(|refused| refused.refusal.clone())
            .collect()
    }

    /// Takes what is pinned no more since this was asked last.
    pub(super) fn take_unpinned(&mut self) -> BTreeSet<ResourceId> {
        std::mem::take(&mut self.unpinned)
    }

    fn repin(&mut self) {
        let pinned = self
            .refused
            .keys()
            .filter_map(|id| self.find_stand_in(id))
            .flat_map(|resource| self.accepted.all_needs(resource))
            .collect();
        let before = std::mem::replace(&mut self.pinned, pinned);
        self.unpinned.extend(before);
        self.unpinned.retain(|id| !self.pinned.contains(id));
    }
}
