//! The protocol with one client, without I/O: requests and worlds go in
//! ([`Session::handle_request`], [`Session::set_world`]), responses come out
//! ([`Session::poll`]). It speaks in terms of the delta protocol; what becomes of that on the wire, and
//! on which of a client's streams, is `client`'s.
//!
//! ```text
//! per type:   idle --dirty names, nothing held back--> in flight --ACK--> idle
//!                                                        |NACK of many: suspects, sent in parts
//!                                                        |NACK of one:  that version is refused
//! over types: Cluster -> its ClusterLoadAssignment, Secrets -> Listener, ScopedRouteConfiguration
//!             (held until each cluster they name is acknowledged with its endpoints and secrets)
//!             a cluster goes when nothing refers to it, and a linger after that; on a new stream
//!             it stays until Envoy has told, or been told, all that may refer to it
//! ```
//!
//! At most one response per type is in flight; what changes meanwhile is coalesced into the next
//! one. Names are marked dirty, never contents: what is sent is what is wanted when it is sent.
//!
//! **Invariants.** What Envoy has under its version is not sent again, unless it asks. A route
//! never reaches Envoy before its clusters, a cluster never leaves before its routes. A refused
//! (name, version) is not sent again, but for timed retries of listeners and secrets.

mod acknowledgement;
mod ordering;
mod requirements;
mod response;
mod subscribing;

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
    ledger::{Ledger, Standing},
    listening::Listening,
    subscription::Subscriptions,
};
use crate::l7::{self, Resource, ResourceId, ResourceType, TOKENS, World};

pub(super) use super::answer::Answer;
use requirements::{Joined, Requirements};
pub(super) use response::Response;

/// The field of a node's metadata that is another one after each start of Envoy.
pub(crate) const INSTANCE_FIELD: &str = "marchproxy.instance";

/// One client's state.
#[derive(Debug)]
pub(super) struct Session {
    world: World,
    kinds: [Kind; ResourceType::COUNT],
    clusters: ClusterUse,
    requirements: Requirements,
    /// What Envoy will subscribe to, because of something it has accepted, or says it has.
    awaited: BTreeMap<ResourceId, Revision>,
    /// Listeners that Envoy has accepted and may not listen on yet.
    opening: BTreeMap<Arc<str>, Opening>,
    /// How often one was accepted.
    openings: u64,
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
struct Opening {
    since: Revision,
    /// Which of the openings it is.
    number: u64,
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
    /// What it was joined of.
    joined: Option<Joined>,
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
            requirements: Requirements::default(),
            awaited: BTreeMap::new(),
            opening: BTreeMap::new(),
            openings: 0,
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
            self.mark(id.kind, &carrier(&id), world.revision, false);
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
            ledger.lift_gone(&self.world);
        }
        self.acknowledge(now, kind, request, ledger);
        // Subscriptions count whatever the nonce is.
        for (name, version) in &request.initial_resource_versions {
            let name: Arc<str> = name.as_str().into();
            let known = ledger.claimed(&self.world, kind, &name, version);
            let clusters = known.as_ref().map(|known| known.clusters.clone()).unwrap_or_default();
            self.clusters.add(&clusters);
            // It asks for these again, in requests that are still to come.
            for want in known.iter().flat_map(|known| &known.wants) {
                if !self.kinds[want.kind as usize].subscriptions.covers(&want.name) {
                    self.awaited.insert(want.clone(), self.world.revision);
                }
            }
            let held = Held { version: Some(version.as_str().into()), clusters };
            self.kinds[kind as usize].held.insert(name.clone(), held);
            if kind == ResourceType::Listener {
                // It may have been broken off while it opened.
                self.opens(&name, self.world.revision);
            }
        }
        let subscribed = self.kinds[kind as usize].subscriptions.change(
            // A client's streams know what that is; they name it here.
            false,
            &request.resource_names_subscribe,
            &request.resource_names_unsubscribe,
        );
        if !subscribed.ended.is_empty() {
            self.unsubscribed(now, kind);
        }
        self.subscribed(kind, &subscribed, &request.initial_resource_versions, ledger);
    }

    /// Removes clusters as soon as nothing that was sent refers to them: for a client that had nothing
    /// before, and has no requests that go on.
    pub(super) fn without_linger(self) -> Self {
        Self { clusters: ClusterUse::of_nothing(), ..self }
    }

    /// Returns the refusals that stand when these are to be saved in place of `saved`.
    pub(super) fn standing(&self, ledger: &Ledger, saved: &Standing) -> Option<Standing> {
        ledger.news(saved, &self.world)
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

    /// Returns when [`Self::poll`] may have something without any input.
    pub(super) fn next_timeout(&self, ledger: &Ledger) -> Option<Instant> {
        self.clusters.next().into_iter().chain(ledger.next_retry()).min()
    }

    /// Notes that Envoy has accepted a listener, which it is to open.
    fn opens(&mut self, name: &Arc<str>, since: Revision) {
        self.openings += 1;
        self.opening.insert(name.clone(), Opening { since, number: self.openings });
    }

    /// Returns a mark for [`Self::handle_listening`] when that is waited for.
    pub(super) fn opening(&self) -> Option<u64> {
        (!self.opening.is_empty()).then_some(self.openings)
    }

    /// Takes which listeners take connections, as was asked when [`Self::opening`] gave `asked`:
    /// what was accepted since is not in it.
    pub(super) fn handle_listening(&mut self, asked: u64, listening: &Listening) {
        self.opening.retain(|name, opening| opening.number > asked || !listening.contains(&**name));
    }

    /// Takes for listening what was accepted until [`Self::opening`] gave `asked`, where nobody can say.
    pub(super) fn handle_listening_unseen(&mut self, asked: u64) {
        self.opening.retain(|_, opening| opening.number > asked);
    }

    /// Returns the newest revision that Envoy has answered for, with what it refused, when that is
    /// news. What it accepted counts when it is live; a refusal is told at once.
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
        let mut refusals = ledger.refusals(&self.world);
        refusals.extend(self.world.withheld.clone());
        refusals.extend(self.world.lacking.iter().cloned());
        let live = self.opening.values().map(|opening| opening.since).chain(self.world.waiting);
        let open = if refusals.is_empty() || !self.answers.is_news(&refusals) {
            open.into_iter().chain(live).min()
        } else {
            open
        };
        self.answers.poll(open, refusals)
    }
}

/// Returns the name by which Envoy has a resource.
fn carrier(id: &ResourceId) -> Arc<str> {
    match id.kind {
        ResourceType::ExtensionConfig if l7::is_requirement(&id.name) => TOKENS.into(),
        _ => id.name.clone(),
    }
}

/// Returns what tells one start of Envoy from another.
pub(super) fn instance(node: &envoy_types::pb::envoy::config::core::v3::Node) -> &str {
    use envoy_types::pb::google::protobuf::value::Kind;
    let value = node.metadata.as_ref().and_then(|metadata| metadata.fields.get(INSTANCE_FIELD));
    match value.and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(instance)) => instance,
        _ => "",
    }
}

#[cfg(test)]
mod tests;
