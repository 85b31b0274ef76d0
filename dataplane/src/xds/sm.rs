//! The protocol of one delta ADS stream, without I/O: requests and worlds go in
//! ([`Session::handle_request`], [`Session::set_world`]), responses come out
//! ([`Session::poll_response`]).
//!
//! ```text
//! per type:   idle --dirty names, nothing held back--> in flight --ACK--> idle
//!                                                        |NACK of many: suspects, sent in parts
//!                                                        |NACK of one:  that version is refused
//! over types: Cluster -> its ClusterLoadAssignment -> Listener, ScopedRouteConfiguration
//!             (held until each cluster they name is acknowledged with its endpoints)
//!             a cluster goes when nothing refers to it, and a linger after that
//! ```
//!
//! At most one response per type is in flight; what changes meanwhile is coalesced into the next
//! one. Names are marked dirty, never contents: what is sent is what is wanted when it is sent.
//!
//! **Invariants.** What Envoy has under its version is not sent again, unless it asks. A route
//! never reaches Envoy before its clusters, a cluster never leaves before its routes. A refused
//! (name, version) is not sent again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use envoy_types::pb::envoy::service::discovery::v3 as pb;
use model::Revision;

use super::{
    answer::Answers,
    cluster_use::ClusterUse,
    ledger::Ledger,
    subscription::{Subscribed, Subscriptions},
};
use crate::l7::{Resource, ResourceId, ResourceType, World};

pub(super) use super::answer::Answer;

/// Resources in one response. 25,000 scopes are about 10 MB, which Envoy takes in one piece.
const RESOURCES_MAX: usize = 25_000;

/// The field of a node's metadata that is another one after each start of Envoy.
pub(crate) const INSTANCE_FIELD: &str = "marchproxy.instance";

/// One stream.
#[derive(Debug)]
pub(super) struct Session {
    world: World,
    kinds: [Kind; 5],
    clusters: ClusterUse,
    /// What Envoy will subscribe to, because of something it has accepted.
    awaited: BTreeMap<ResourceId, Revision>,
    answers: Answers,
    nonce: u64,
    /// Whether this Envoy is the one that the ledger tells of.
    same_instance: bool,
    /// Whether a listener was sent on this stream: until then Envoy has those of before, and with
    /// them the collections that they asked for.
    listeners_sent: bool,
}

/// The state of one resource type.
#[derive(Debug, Default)]
struct Kind {
    subscriptions: Subscriptions,
    /// Prefixes that were subscribed to and have had no response yet.
    fresh: BTreeSet<Arc<str>>,
    /// What Envoy has.
    held: HashMap<Arc<str>, Held>,
    /// What may differ from what Envoy should have.
    dirty: BTreeMap<Arc<str>, Mark>,
    in_flight: Option<InFlight>,
    /// Parts of a refused response, to be sent one after the other.
    suspects: VecDeque<Vec<Arc<str>>>,
}

#[derive(Clone, Debug, Default)]
struct Held {
    /// None when a refused response may or may not have changed it.
    version: Option<Arc<str>>,
    clusters: Vec<Arc<str>>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    /// The oldest revision that is answered for with this name.
    since: Revision,
    /// To be sent also when Envoy has it.
    forced: bool,
}

#[derive(Debug)]
struct InFlight {
    nonce: String,
    since: Revision,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    name: Arc<str>,
    since: Revision,
    /// None for a removal.
    sent: Option<Arc<Resource>>,
    before: Option<Held>,
}

impl Session {
    /// Starts a stream that is to have `world`.
    pub(super) fn new(world: World) -> Self {
        let mut answers = Answers::default();
        answers.given(world.revision);
        Self {
            world,
            kinds: Default::default(),
            clusters: ClusterUse::default(),
            awaited: BTreeMap::new(),
            answers,
            nonce: 0,
            same_instance: false,
            listeners_sent: false,
        }
    }

    /// Changes what the stream is to have; costs the number of differences.
    pub(super) fn set_world(&mut self, world: World) {
        self.answers.given(world.revision);
        for id in self.world.diff(&world) {
            self.mark(id.kind, &id.name, world.revision, false);
        }
        self.world = world;
    }

    /// Takes a request.
    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        request: &pb::DeltaDiscoveryRequest,
        ledger: &mut Ledger,
    ) {
        let Some(kind) = ResourceType::of_type_url(&request.type_url) else { return };
        if let Some(node) = &request.node {
            self.same_instance = ledger.is_instance(instance(node));
        }
        self.acknowledge(now, kind, request, ledger);
        // Subscriptions count whatever the nonce is.
        let state = &mut self.kinds[kind as usize];
        for (name, version) in &request.initial_resource_versions {
            let name: Arc<str> = name.as_str().into();
            let known = [self.world.get(kind, &name), ledger.accepted(kind, &name)];
            let known = known.into_iter().flatten().find(|known| *known.version == **version);
            let clusters = known.map(|known| known.clusters.clone()).unwrap_or_default();
            self.clusters.add(&clusters);
            let held = Held { version: Some(version.as_str().into()), clusters };
            state.held.insert(name, held);
        }
        let subscribed = state
            .subscriptions
            .change(&request.resource_names_subscribe, &request.resource_names_unsubscribe);
        if !request.resource_names_unsubscribe.is_empty() {
            self.unsubscribed(now, kind);
        }
        self.subscribed(kind, &subscribed, &request.initial_resource_versions, ledger);
    }

    /// Marks what a subscription asks for.
    fn subscribed(
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
            if kind == ResourceType::ScopedRoute && self.same_instance && !self.listeners_sent {
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
        !accepted.is_empty()
    }

    /// Forgets what is not subscribed to any more: Envoy has dropped it.
    fn unsubscribed(&mut self, now: Instant, kind: ResourceType) {
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

    fn mark(&mut self, kind: ResourceType, name: &Arc<str>, since: Revision, forced: bool) {
        let state = &mut self.kinds[kind as usize];
        if !state.subscriptions.covers(name) {
            return;
        }
        let mark = state.dirty.entry(name.clone()).or_insert(Mark { since, forced });
        mark.since = mark.since.min(since);
        mark.forced |= forced;
    }

    fn acknowledge(
        &mut self,
        now: Instant,
        kind: ResourceType,
        request: &pb::DeltaDiscoveryRequest,
        ledger: &mut Ledger,
    ) {
        let state = &mut self.kinds[kind as usize];
        let Some(in_flight) =
            state.in_flight.take_if(|in_flight| in_flight.nonce == request.response_nonce)
        else {
            return;
        };
        match &request.error_detail {
            None => self.accepted(now, kind, in_flight, ledger),
            Some(error) => self.refused(now, kind, in_flight, &error.message, ledger),
        }
    }

    fn accepted(
        &mut self,
        now: Instant,
        kind: ResourceType,
        in_flight: InFlight,
        ledger: &mut Ledger,
    ) {
        for Item { name, since, sent, before } in in_flight.items {
            let known = ledger.accepted(kind, &name).cloned();
            if let Some(before) = &before {
                self.clusters.drop(&before.clusters, now);
            }
            let Some(resource) = sent else {
                for want in known.iter().flat_map(|known| &known.wants) {
                    self.awaited.remove(want);
                }
                ledger.forget(kind, &name);
                continue;
            };
            let held = Held {
                version: Some(resource.version.clone()),
                clusters: resource.clusters.clone(),
            };
            self.kinds[kind as usize].held.insert(name.clone(), held);
            ledger.accept(kind, &resource);
            for want in &resource.wants {
                if !self.kinds[want.kind as usize].subscriptions.covers(&want.name) {
                    self.awaited.insert(want.clone(), since);
                } else {
                    // A changed cluster warms again, and waits for endpoints it does not ask for.
                    let again = kind == ResourceType::Cluster && before.is_some();
                    self.mark(want.kind, &want.name, since, again);
                }
            }
        }
    }

    fn refused(
        &mut self,
        now: Instant,
        kind: ResourceType,
        in_flight: InFlight,
        message: &str,
        ledger: &mut Ledger,
    ) {
        let alone = in_flight.items.len() == 1;
        let mut names = Vec::with_capacity(in_flight.items.len());
        for Item { name, since, sent, before } in in_flight.items {
            if alone {
                if let Some(resource) = &sent {
                    self.clusters.drop(&resource.clusters, now);
                    ledger.refuse(kind, resource, message);
                }
                // It has what it had; where that is open, the accepted version is sent once more.
                let accepted = ledger.accepted(kind, &name).is_some();
                let state = &mut self.kinds[kind as usize];
                match before {
                    Some(before) if before.version.is_some() || accepted => {
                        state.held.insert(name.clone(), before);
                    }
                    before => {
                        self.clusters.drop(&before.unwrap_or_default().clusters, now);
                        state.held.remove(&name);
                    }
                }
                self.mark(kind, &name, since, false);
            } else {
                // It may have taken this one or not, so whatever either refers to must stay.
                let mut clusters = before.map(|before| before.clusters).unwrap_or_default();
                clusters.extend(sent.iter().flat_map(|sent| sent.clusters.iter().cloned()));
                let held = Held { version: None, clusters };
                self.kinds[kind as usize].held.insert(name.clone(), held);
                self.mark(kind, &name, since, false);
                names.push(name);
            }
        }
        if !alone {
            self.kinds[kind as usize].suspects.extend(suspects(names, message));
        }
    }

    /// Returns the next response, if there is one to send.
    pub(super) fn poll_response(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
    ) -> Option<pb::DeltaDiscoveryResponse> {
        for cluster in self.clusters.due(now) {
            self.mark(ResourceType::Cluster, &cluster, self.world.revision, false);
        }
        ResourceType::ALL.into_iter().find_map(|kind| self.poll_kind(now, kind, ledger))
    }

    fn poll_kind(
        &mut self,
        now: Instant,
        kind: ResourceType,
        ledger: &mut Ledger,
    ) -> Option<pb::DeltaDiscoveryResponse> {
        if self.kinds[kind as usize].in_flight.is_some() {
            return None;
        }
        while let Some(part) = self.kinds[kind as usize].suspects.pop_front() {
            let items = self.collect(now, kind, part, ledger);
            if !items.is_empty() {
                return Some(self.respond(kind, items, ledger));
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
        (answered || !items.is_empty()).then(|| self.respond(kind, items, ledger))
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
            let wanted = ledger.wanted(&self.world, kind, &name);
            let held = self.kinds[kind as usize].held.get(&name).cloned();
            let send = match &wanted {
                Some(wanted) => {
                    if kind == ResourceType::Cluster {
                        self.clusters.stay(&name);
                    }
                    let same = held
                        .as_ref()
                        .is_some_and(|held| held.version.as_ref() == Some(&wanted.version));
                    if (mark.forced || !same) && !self.is_ready(wanted, ledger) {
                        continue;
                    }
                    mark.forced || !same
                }
                None => {
                    ledger.lift(&self.world, kind, &name);
                    self.may_go(now, kind, &name, mark, held.is_some())
                }
            };
            self.kinds[kind as usize].dirty.remove(&name);
            if !send {
                continue;
            }
            items.push(Item { name, since: mark.since, sent: wanted, before: held });
        }
        items
    }

    /// Tells whether every cluster of a resource has reached Envoy, endpoints included.
    fn is_ready(&self, resource: &Resource, ledger: &Ledger) -> bool {
        let has = |kind: ResourceType, name: &Arc<str>| {
            self.kinds[kind as usize].held.get(name).is_some_and(|held| held.version.is_some())
                || ledger.is_hopeless(&self.world, kind, name)
        };
        resource.clusters.iter().all(|cluster| {
            // A cluster that is not to be had is not waited for: its requests get 500.
            ledger.wanted(&self.world, ResourceType::Cluster, cluster).is_none()
                || (has(ResourceType::Cluster, cluster)
                    && (ledger.is_hopeless(&self.world, ResourceType::Cluster, cluster)
                        || has(ResourceType::Endpoints, cluster)))
        })
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
            ResourceType::Endpoints | ResourceType::Secret => mark.forced,
            _ => held || mark.forced,
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
        ledger: &mut Ledger,
    ) -> pb::DeltaDiscoveryResponse {
        self.nonce += 1;
        self.listeners_sent |= kind == ResourceType::Listener && !items.is_empty();
        let nonce = self.nonce.to_string();
        let mut resources = Vec::with_capacity(items.len());
        let mut removed_resources = Vec::new();
        for item in &items {
            ledger.send(kind, &item.name);
            match &item.sent {
                Some(resource) => {
                    self.clusters.add(&resource.clusters);
                    resources.push(pb::Resource {
                        name: resource.name.to_string(),
                        version: resource.version.to_string(),
                        resource: Some(resource.body.clone()),
                        ..Default::default()
                    });
                }
                None => {
                    removed_resources.push(item.name.to_string());
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
        let since = items.iter().map(|item| item.since).min().unwrap_or(self.world.revision);
        self.kinds[kind as usize].in_flight = Some(InFlight { nonce: nonce.clone(), since, items });
        pb::DeltaDiscoveryResponse {
            system_version_info: self.world.revision.to_string(),
            type_url: kind.type_url().to_owned(),
            resources,
            removed_resources,
            nonce,
            ..Default::default()
        }
    }

    /// Returns when [`Self::poll_response`] may have something without any input.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.clusters.next()
    }

    /// Returns the newest revision that Envoy has answered for, with what it refused, when that is
    /// news.
    pub(super) fn poll_answer(&mut self, ledger: &Ledger) -> Option<Answer> {
        let began = [ResourceType::Cluster, ResourceType::Listener]
            .into_iter()
            .all(|kind| self.kinds[kind as usize].subscriptions.asked());
        if !began || self.kinds.iter().any(|kind| !kind.fresh.is_empty()) {
            return None;
        }
        let open = self
            .kinds
            .iter()
            .flat_map(|kind| {
                let marks = kind.dirty.values().map(|mark| mark.since);
                marks.chain(kind.in_flight.as_ref().map(|in_flight| in_flight.since))
            })
            .chain(self.awaited.values().copied())
            .min();
        self.answers.poll(open, || ledger.refusals(&self.world))
    }
}

/// Returns what tells one start of Envoy from another.
fn instance(node: &envoy_types::pb::envoy::config::core::v3::Node) -> &str {
    use envoy_types::pb::google::protobuf::value::Kind;
    let value = node.metadata.as_ref().and_then(|metadata| metadata.fields.get(INSTANCE_FIELD));
    match value.and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(instance)) => instance,
        _ => "",
    }
}

/// Divides a refused response: those that the message names stand alone, the rest is halved.
fn suspects(names: Vec<Arc<str>>, message: &str) -> Vec<Vec<Arc<str>>> {
    let (named, mut rest): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| message.contains(&**name));
    let found = !named.is_empty();
    let mut parts: Vec<Vec<Arc<str>>> = named.into_iter().map(|name| vec![name]).collect();
    if !found {
        let second = rest.split_off(rest.len() / 2);
        parts.push(second);
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

#[cfg(test)]
#[path = "sm_tests.rs"]
mod tests;
