//! One stream of a client: what it has subscribed to, and how its wire says it.
//!
//! The state of the world differs from delta in three ways. A request names all that is subscribed
//! to, not what changes, also under a stale nonce, for it is newer than the response that it does not
//! know. A response of a kind that [is sent whole](ResourceType::is_sent_whole) holds all that the
//! client has, and what is missing is gone; one of another kind holds what changed. And a removal
//! of these others is told by silence: the client drops them with what asked for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use envoy_types::pb::envoy::service::discovery::v3 as pb;

use super::{Sent, Wire};
use crate::{
    l7::{Resource, ResourceType},
    xds::{
        sm::Response,
        subscription::{Subscribed, Subscriptions},
    },
};

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    wire: Wire,
    kinds: [Kind; ResourceType::COUNT],
}

/// The state of one resource type.
#[derive(Debug, Default)]
struct Kind {
    subscriptions: Subscriptions,
    /// Whether a wildcard or collection is yet to be answered.
    unanswered: bool,
    /// State of the world: the names of the last request.
    names: BTreeSet<String>,
    /// Of a kind that is sent whole: what the client has acknowledged.
    acknowledged: Whole,
    /// What it has when it acknowledges the response that is open.
    sent: Option<Whole>,
}

type Whole = BTreeMap<Arc<str>, Arc<Resource>>;

impl Stream {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, kinds: Default::default() }
    }

    /// Takes what a delta request subscribes to.
    pub(super) fn take_delta(
        &mut self,
        kind: ResourceType,
        request: &pb::DeltaDiscoveryRequest,
    ) -> Subscribed {
        let subscribe = &request.resource_names_subscribe;
        let unsubscribe = &request.resource_names_unsubscribe;
        self.kinds[kind as usize].change(kind.has_legacy_wildcard(), subscribe, unsubscribe)
    }

    /// Takes the names of a request of the state of the world. Nothing named is all at first, and
    /// later nothing; an empty name names nothing.
    pub(super) fn take_names(&mut self, kind: ResourceType, names: &[String]) -> Subscribed {
        let state = &mut self.kinds[kind as usize];
        let legacy = kind.has_legacy_wildcard() && names.is_empty();
        let names: BTreeSet<String> =
            names.iter().filter(|name| !name.is_empty()).cloned().collect();
        let before = std::mem::replace(&mut state.names, names);
        let subscribe: Vec<String> = state.names.difference(&before).cloned().collect();
        let unsubscribe: Vec<String> = before.difference(&state.names).cloned().collect();
        let subscribed = state.change(legacy, &subscribe, &unsubscribe);
        if !subscribed.ended.is_empty() {
            let Kind { subscriptions, acknowledged, sent, .. } = state;
            for whole in std::iter::once(acknowledged).chain(sent) {
                whole.retain(|name, _| subscriptions.covers(name));
            }
        }
        subscribed
    }

    /// Lists all that is subscribed to, as a request would name it.
    pub(super) fn forms(&self, kind: ResourceType) -> Vec<String> {
        self.kinds[kind as usize].subscriptions.forms()
    }

    /// Tells whether a request has named this, and none has ended it.
    pub(super) fn names(&self, kind: ResourceType, form: &str) -> bool {
        self.kinds[kind as usize].subscriptions.names(form)
    }

    /// Takes the answer to the last response.
    pub(super) fn answered(&mut self, kind: ResourceType, accepted: bool) {
        let state = &mut self.kinds[kind as usize];
        if let (Some(sent), true) = (state.sent.take(), accepted) {
            state.acknowledged = sent;
        }
    }

    /// Encodes what of a response is this stream's, if anything is to be said.
    pub(super) fn encode(&mut self, response: &Response) -> Option<Sent> {
        let state = &mut self.kinds[response.kind as usize];
        let covers = |name: &str| state.subscriptions.covers(name);
        let resources = response.resources.iter().any(|resource| covers(&resource.name));
        let removed = response.removed.iter().any(|name| covers(name));
        let answers = response.answers_prefix && std::mem::take(&mut state.unanswered);
        if !resources && !removed && !answers {
            return None;
        }
        match self.wire {
            Wire::Delta => Some(Sent::Delta(Box::new(response.to_delta(covers)))),
            Wire::StateOfTheWorld if response.kind.is_sent_whole() => Some(state.whole(response)),
            Wire::StateOfTheWorld if resources => {
                let changed = response.resources.iter().filter(|one| covers(&one.name));
                Some(state_of_the_world(response, changed))
            }
            Wire::StateOfTheWorld => None,
        }
    }
}

impl Kind {
    fn change(&mut self, legacy: bool, subscribe: &[String], unsubscribe: &[String]) -> Subscribed {
        let subscribed = self.subscriptions.change(legacy, subscribe, unsubscribe);
        self.unanswered |= !subscribed.prefixes.is_empty();
        subscribed
    }

    /// Makes a response of all that the client has once it has taken `response`.
    fn whole(&mut self, response: &Response) -> Sent {
        let mut whole = self.acknowledged.clone();
        for resource in &response.resources {
            if self.subscriptions.covers(&resource.name) {
                whole.insert(resource.name.clone(), resource.clone());
            }
        }
        for name in &response.removed {
            whole.remove(name);
        }
        let sent = state_of_the_world(response, whole.values());
        self.sent = Some(whole);
        sent
    }
}

fn state_of_the_world<'a>(
    response: &Response,
    resources: impl Iterator<Item = &'a Arc<Resource>>,
) -> Sent {
    Sent::StateOfTheWorld(Box::new(pb::DiscoveryResponse {
        version_info: response.revision.to_string(),
        resources: resources.map(|resource| resource.body.clone()).collect(),
        type_url: response.kind.type_url().to_owned(),
        nonce: response.nonce.clone(),
        ..Default::default()
    }))
}
