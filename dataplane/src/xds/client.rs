//! One client and its streams, without I/O: a [`Session`] for all of them, and the wire of each.
//!
//! ```text
//! streams (ADS or of one type; delta or state of the world)
//!    requests  ── named in terms of delta, subscriptions joined ──▶ session
//!    responses ◀── parts that a stream has subscribed to, on its wire ── session
//! ```
//!
//! A client that opens a stream per type, or per resource as Envoy does for endpoints, has one
//! session all the same, so that what orders types (clusters and endpoints before routes, removals in
//! reverse) holds over its streams. A response counts as answered when each stream that got a part of
//! it has answered; it is refused when one of them refused.
//!
//! **Invariant.** The session subscribes to what at least one stream subscribes to, and to nothing
//! else. At most one response per type is without an answer.

mod stream;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use envoy_types::pb::{
    envoy::{config::core::v3::Node, service::discovery::v3 as pb},
    google::rpc,
};

use super::{
    ledger::{Ledger, Standing},
    listening::Listening,
    sm::{Answer, Session},
    subscription::Subscribed,
};
use crate::l7::{ResourceType, World};

use stream::Stream;

/// Tells a client's streams from each other.
pub(super) type StreamId = u64;

/// What a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Delta,
    StateOfTheWorld,
}

/// A request in either form.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Delta(Box<pb::DeltaDiscoveryRequest>),
    StateOfTheWorld(Box<pb::DiscoveryRequest>),
}

impl Request {
    /// Returns who sends it, where it says so.
    pub(super) fn node(&self) -> Option<&Node> {
        match self {
            Self::Delta(request) => request.node.as_ref(),
            Self::StateOfTheWorld(request) => request.node.as_ref(),
        }
    }
}

/// A response in either form.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sent {
    Delta(Box<pb::DeltaDiscoveryResponse>),
    StateOfTheWorld(Box<pb::DiscoveryResponse>),
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    session: Session,
    streams: BTreeMap<StreamId, Stream>,
    /// Responses without an answer, by type.
    open: [Option<Open>; ResourceType::COUNT],
    outbox: VecDeque<(StreamId, Sent)>,
    /// Whether the client has said who it is: each of its streams says it again.
    introduced: bool,
}

/// A response whose parts are with streams.
#[derive(Debug)]
struct Open {
    nonce: String,
    waits_for: BTreeSet<StreamId>,
    refusal: Option<rpc::Status>,
}

/// What a request says of a response.
struct Acknowledgement {
    nonce: String,
    refusal: Option<rpc::Status>,
}

impl Client {
    /// Starts a client without streams.
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            streams: BTreeMap::new(),
            open: Default::default(),
            outbox: VecDeque::new(),
            introduced: false,
        }
    }

    /// Adds a stream.
    pub(super) fn open(&mut self, id: StreamId, wire: Wire) {
        self.streams.insert(id, Stream::new(wire));
    }

    /// Takes a stream's end: what only that one subscribed to is subscribed to no more.
    pub(super) fn close(&mut self, now: Instant, id: StreamId, ledger: &mut Ledger) {
        let Some(stream) = self.streams.remove(&id) else { return };
        self.outbox.retain(|(to, _)| *to != id);
        for kind in ResourceType::ALL {
            let slot = &mut self.open[kind as usize];
            if slot.take_if(|open| open.waits_for.contains(&id)).is_some() {
                self.session.abandon(kind);
            }
            let ended = stream.forms(kind);
            let unsubscribe = self.alone(kind, ended);
            if !unsubscribe.is_empty() {
                let request = pb::DeltaDiscoveryRequest {
                    type_url: kind.type_url().to_owned(),
                    resource_names_unsubscribe: unsubscribe,
                    ..Default::default()
                };
                self.session.handle_request(now, &request, ledger);
            }
        }
    }

    /// Tells whether no stream is left.
    pub(super) fn is_gone(&self) -> bool {
        self.streams.is_empty()
    }

    /// Takes a request of a stream; one of a type that is not known is left alone.
    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        id: StreamId,
        request: Request,
        ledger: &mut Ledger,
    ) {
        let type_url = match &request {
            Request::Delta(request) => &request.type_url,
            Request::StateOfTheWorld(request) => &request.type_url,
        };
        let Some(kind) = ResourceType::of_type_url(type_url) else { return };
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let (acknowledgement, subscribed, mut core) = match request {
            Request::Delta(request) => {
                let acknowledgement = Acknowledgement {
                    nonce: request.response_nonce.clone(),
                    refusal: request.error_detail.clone(),
                };
                (acknowledgement, stream.take_delta(kind, &request), *request)
            }
            Request::StateOfTheWorld(request) => {
                let subscribed = stream.take_names(kind, &request.resource_names);
                let acknowledgement = Acknowledgement {
                    nonce: request.response_nonce,
                    refusal: request.error_detail,
                };
                let core = pb::DeltaDiscoveryRequest {
                    node: request.node,
                    type_url: request.type_url,
                    ..Default::default()
                };
                (acknowledgement, subscribed, core)
            }
        };
        core.node = core.node.take_if(|_| !self.introduced);
        self.introduced |= core.node.is_some();
        self.acknowledge(kind, id, acknowledgement, &mut core);
        self.subscribe(kind, subscribed, &mut core);
        self.session.handle_request(now, &core, ledger);
    }

    /// Puts into `core` the answer to a response, when that was the last part that waited for one.
    fn acknowledge(
        &mut self,
        kind: ResourceType,
        id: StreamId,
        acknowledgement: Acknowledgement,
        core: &mut pb::DeltaDiscoveryRequest,
    ) {
        (core.response_nonce, core.error_detail) = (String::new(), None);
        let slot = &mut self.open[kind as usize];
        let answered = slot
            .as_mut()
            .is_some_and(|open| open.nonce == acknowledgement.nonce && open.waits_for.remove(&id));
        let (Some(open), true) = (slot.as_mut(), answered) else { return };
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.answered(kind, acknowledgement.refusal.is_none());
        }
        if open.refusal.is_none() {
            open.refusal = acknowledgement.refusal;
        }
        if let Some(open) = slot.take_if(|open| open.waits_for.is_empty()) {
            (core.response_nonce, core.error_detail) = (open.nonce, open.refusal);
        }
    }

    /// Puts into `core` what a change of one stream's subscriptions means for all of them.
    fn subscribe(
        &self,
        kind: ResourceType,
        subscribed: Subscribed,
        core: &mut pb::DeltaDiscoveryRequest,
    ) {
        core.resource_names_subscribe = subscribed.forms();
        core.resource_names_unsubscribe = self.alone(kind, subscribed.ended);
    }

    /// Keeps of `forms` those that no stream subscribes to.
    fn alone(&self, kind: ResourceType, mut forms: Vec<String>) -> Vec<String> {
        forms.retain(|form| !self.streams.values().any(|stream| stream.names(kind, form)));
        forms
    }

    /// Returns the next response with the stream that it goes to.
    pub(super) fn poll(&mut self, now: Instant, ledger: &mut Ledger) -> Option<(StreamId, Sent)> {
        loop {
            if let Some(sent) = self.outbox.pop_front() {
                return Some(sent);
            }
            let response = self.session.poll(now, ledger)?;
            let mut waits_for = BTreeSet::new();
            for (id, stream) in &mut self.streams {
                if let Some(sent) = stream.encode(&response) {
                    waits_for.insert(*id);
                    self.outbox.push_back((*id, sent));
                }
            }
            if waits_for.is_empty() {
                // Removals that the state of the world tells by silence.
                let core = pb::DeltaDiscoveryRequest {
                    type_url: response.kind.type_url().to_owned(),
                    response_nonce: response.nonce,
                    ..Default::default()
                };
                self.session.handle_request(now, &core, ledger);
            } else {
                let open = Open { nonce: response.nonce, waits_for, refusal: None };
                self.open[response.kind as usize] = Some(open);
            }
        }
    }

    /// See [`Session::set_world`].
    pub(super) fn set_world(&mut self, world: World) {
        self.session.set_world(world);
    }

    /// See [`Session::next_timeout`].
    pub(super) fn next_timeout(&self, ledger: &Ledger) -> Option<Instant> {
        self.session.next_timeout(ledger)
    }

    /// See [`Session::opening`].
    pub(super) fn opening(&self) -> Option<u64> {
        self.session.opening()
    }

    /// See [`Session::handle_listening`].
    pub(super) fn handle_listening(&mut self, asked: u64, listening: &Listening) {
        self.session.handle_listening(asked, listening);
    }

    /// See [`Session::handle_listening_unseen`].
    pub(super) fn handle_listening_unseen(&mut self, asked: u64) {
        self.session.handle_listening_unseen(asked);
    }

    /// See [`Session::standing`].
    pub(super) fn standing(&self, ledger: &Ledger, saved: &Standing) -> Option<Standing> {
        self.session.standing(ledger, saved)
    }

    /// See [`Session::poll_answer`].
    pub(super) fn poll_answer(&mut self, ledger: &Ledger) -> Option<Answer> {
        self.session.poll_answer(ledger)
    }
}

#[cfg(test)]
mod tests;
