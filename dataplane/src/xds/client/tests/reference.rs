//! The other end of a stream, as naive as it can be: it subscribes, takes all or refuses all, answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use envoy_types::pb::{
    envoy::service::discovery::v3 as pb,
    google::{protobuf::Any, rpc::Status},
};

use crate::{
    l7::ResourceType,
    xds::client::{Request, Sent, StreamId, Wire},
};

/// Encodes what a client has to see of a resource.
pub(super) fn body(kind: ResourceType, name: &str, version: &str) -> Any {
    let value = format!("{name}={version}").into_bytes();
    Any { type_url: kind.type_url().to_owned(), value }
}

pub(super) struct Reference {
    pub(super) id: StreamId,
    pub(super) wire: Wire,
    pub(super) outbox: VecDeque<Request>,
    kinds: [Kind; ResourceType::COUNT],
}

#[derive(Default)]
struct Kind {
    asked: bool,
    all: bool,
    names: BTreeSet<String>,
    held: BTreeMap<String, String>,
    nonce: String,
}

impl Kind {
    fn covers(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }
}

impl Reference {
    pub(super) fn new(id: StreamId, wire: Wire) -> Self {
        Self { id, wire, outbox: VecDeque::new(), kinds: Default::default() }
    }

    pub(super) fn has(&self, kind: ResourceType, name: &str) -> Option<&str> {
        self.kinds[kind as usize].held.get(name).map(String::as_str)
    }

    pub(super) fn is_subscribed(&self, kind: ResourceType, name: &str) -> bool {
        self.kinds[kind as usize].covers(name)
    }

    /// Whether it may not be told of removals of a kind: endpoints stay as long as their cluster.
    pub(super) fn is_silent_about(&self, kind: ResourceType) -> bool {
        kind == ResourceType::Endpoints
            || (self.wire == Wire::StateOfTheWorld && !kind.is_sent_whole())
    }

    pub(super) fn subscribe(&mut self, kind: ResourceType, names: BTreeSet<String>) {
        let state = &mut self.kinds[kind as usize];
        if names.is_empty() && state.all {
            return;
        }
        state.all = names.is_empty() && !state.asked && kind.has_legacy_wildcard();
        let before = std::mem::replace(&mut state.names, names);
        if !state.asked && self.wire == Wire::Delta && state.names.is_empty() && !state.all {
            return;
        }
        state.asked = true;
        let (all, wanted) = (state.all, &state.names);
        state.held.retain(|name, _| all || wanted.contains(name));
        let subscribe = state.names.difference(&before).cloned().collect();
        let unsubscribe = before.difference(&state.names).cloned().collect();
        // What is known last, whether it was answered or not: stale as often as not.
        let nonce = state.nonce.clone();
        self.request(kind, subscribe, unsubscribe, nonce, None);
    }

    pub(super) fn take(&mut self, sent: Sent) {
        let (type_url, nonce, resources, removed) = match sent {
            Sent::Delta(response) => {
                let bodies = response.resources.into_iter().filter_map(|one| one.resource);
                let bodies: Vec<Any> = bodies.collect();
                (response.type_url, response.nonce, bodies, response.removed_resources)
            }
            Sent::StateOfTheWorld(response) => {
                (response.type_url, response.nonce, response.resources, Vec::new())
            }
        };
        let kind = ResourceType::of_type_url(&type_url).unwrap();
        let whole = self.wire == Wire::StateOfTheWorld && kind.is_sent_whole();
        let resources: Vec<(String, String)> = resources
            .into_iter()
            .map(|body| {
                let text = String::from_utf8(body.value).unwrap();
                let (name, version) = text.split_once('=').unwrap();
                (name.to_owned(), version.to_owned())
            })
            .collect();
        let bad = resources.iter().any(|(_, version)| version.starts_with("bad"));
        let state = &mut self.kinds[kind as usize];
        state.nonce.clone_from(&nonce);
        if !bad {
            if whole {
                state.held.clear();
            }
            for (name, version) in resources {
                if state.covers(&name) {
                    state.held.insert(name, version);
                }
            }
            for name in removed {
                state.held.remove(&name);
            }
        }
        let refusal = bad.then(|| Status { message: "no".into(), ..Default::default() });
        self.request(kind, Vec::new(), Vec::new(), nonce, refusal);
    }

    fn request(
        &mut self,
        kind: ResourceType,
        subscribe: Vec<String>,
        unsubscribe: Vec<String>,
        response_nonce: String,
        error_detail: Option<Status>,
    ) {
        let type_url = kind.type_url().to_owned();
        self.outbox.push_back(match self.wire {
            Wire::Delta => Request::Delta(Box::new(pb::DeltaDiscoveryRequest {
                type_url,
                resource_names_subscribe: subscribe,
                resource_names_unsubscribe: unsubscribe,
                response_nonce,
                error_detail,
                ..Default::default()
            })),
            Wire::StateOfTheWorld => Request::StateOfTheWorld(Box::new(pb::DiscoveryRequest {
                type_url,
                resource_names: self.kinds[kind as usize].names.iter().cloned().collect(),
                response_nonce,
                error_detail,
                ..Default::default()
            })),
        });
    }
}
