//! A model of Envoy, as far as the protocol goes: what it has, asks for and refuses.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Sent},
    },
    google::{
        protobuf::{Struct, Value, value},
        rpc::Status,
    },
};

use crate::{
    l7::{Resource, ResourceType},
    xds::sm::INSTANCE_FIELD,
};

pub(super) type Version = (ResourceType, String, String);

/// Envoy.
#[derive(Default)]
pub(super) struct Model {
    pub(super) held: [BTreeMap<String, String>; ResourceType::COUNT],
    pub(super) asked: [bool; ResourceType::COUNT],
    pub(super) names: [BTreeSet<String>; ResourceType::COUNT],
    pub(super) outbox: VecDeque<DeltaDiscoveryRequest>,
    /// What it will refuse.
    pub(super) bad: BTreeSet<Version>,
    /// Refuses whole responses (a broken protobuf rule), instead of the bad resources only.
    pub(super) whole: bool,
    /// Does not listen on what it accepts until it is told to.
    pub(super) slow_to_open: bool,
    pub(super) starts: usize,
    pub(super) last: Vec<Version>,
    pub(super) resources: usize,
}

impl Model {
    /// Connects: with what it has, when it has something.
    pub(super) fn connect(&mut self) {
        self.outbox.clear();
        self.asked = Default::default();
        for kind in [ResourceType::Cluster, ResourceType::Listener] {
            self.ask(kind, vec!["*".into()], vec![]);
        }
        for kind in [
            ResourceType::Endpoints,
            ResourceType::Secret,
            ResourceType::ExtensionConfig,
            ResourceType::ScopedRoute,
        ] {
            let names: Vec<String> = self.names[kind as usize].iter().cloned().collect();
            if !names.is_empty() {
                self.ask(kind, names, vec![]);
            }
        }
    }

    pub(super) fn ask(
        &mut self,
        kind: ResourceType,
        subscribe: Vec<String>,
        unsubscribe: Vec<String>,
    ) {
        // Of collections it tells no versions.
        let initial = if self.asked[kind as usize] || kind == ResourceType::ScopedRoute {
            HashMap::new()
        } else {
            self.held[kind as usize].clone().into_iter().collect()
        };
        let node = (self.asked == [false; ResourceType::COUNT]).then(|| self.node());
        self.asked[kind as usize] = true;
        self.outbox.push_back(DeltaDiscoveryRequest {
            node,
            type_url: kind.type_url().into(),
            resource_names_subscribe: subscribe,
            resource_names_unsubscribe: unsubscribe,
            initial_resource_versions: initial,
            ..Default::default()
        });
    }

    pub(super) fn node(&self) -> Node {
        let kind = Some(value::Kind::StringValue(self.starts.to_string()));
        let fields = HashMap::from([(INSTANCE_FIELD.to_owned(), Value { kind })]);
        Node { metadata: Some(Struct { fields }), ..Default::default() }
    }

    pub(super) fn take(
        &mut self,
        response: &DeltaDiscoveryResponse,
        known: &HashMap<Version, Arc<Resource>>,
    ) {
        let kind = ResourceType::of_type_url(&response.type_url).unwrap();
        self.resources += response.resources.len();
        let version = |one: &Sent| (kind, one.name.clone(), one.version.clone());
        self.last = response.resources.iter().map(version).collect();
        let bad: Vec<Version> = response
            .resources
            .iter()
            .map(version)
            .filter(|version| self.bad.contains(version))
            .collect();
        let take_some = bad.is_empty() || !self.whole;
        for one in response.resources.iter().filter(|_| take_some) {
            if bad.contains(&version(one)) {
                continue;
            }
            self.held[kind as usize].insert(one.name.clone(), one.version.clone());
            let resource = &known[&version(one)];
            for want in &resource.wants {
                let name = match want.kind {
                    ResourceType::ScopedRoute => {
                        format!("{}/*", want.name.rsplit_once('/').unwrap().0)
                    }
                    _ => want.name.to_string(),
                };
                if self.names[want.kind as usize].insert(name.clone()) {
                    self.ask(want.kind, vec![name], vec![]);
                }
            }
        }
        for name in response.removed_resources.iter().filter(|_| take_some) {
            let held = self.held[kind as usize].remove(name);
            let gone = held.and_then(|held| known.get(&(kind, name.clone(), held)).cloned());
            // Several listeners may want the same.
            let wanted: BTreeSet<_> = self.held[kind as usize]
                .iter()
                .filter_map(|(name, version)| known.get(&(kind, name.clone(), version.clone())))
                .flat_map(|resource| resource.wants.clone())
                .collect();
            let ended = gone.iter().flat_map(|gone| &gone.wants);
            for want in ended.filter(|want| !wanted.contains(want)) {
                let path = want.name.rsplit_once('/').unwrap().0.to_owned() + "/";
                let (name, held) = (want.name.to_string(), &mut self.held[want.kind as usize]);
                let name = if want.kind == ResourceType::ScopedRoute {
                    held.retain(|name, _| !name.starts_with(&path));
                    path + "*"
                } else {
                    held.remove(&name);
                    name
                };
                self.names[want.kind as usize].remove(&name);
                self.ask(want.kind, vec![], vec![name]);
            }
        }
        let named = if self.whole { String::new() } else { format!("{bad:?}") };
        self.outbox.push_back(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: (!bad.is_empty())
                .then(|| Status { message: format!("no: {named}"), ..Default::default() }),
            ..Default::default()
        });
    }
}
