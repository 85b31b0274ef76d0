//! What a data plane was told by its Envoys, and may be held to.
//!
//! It is not what they did: an answer that is lost on a broken stream tells nothing, and a data
//! plane that starts cold knows of accepted versions only where a refusal stands.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};

use super::envoy::Version;
use crate::l7::{ResourceType, World};

/// What was told, by all Envoys up to here.
#[derive(Default)]
pub(super) struct Told {
    /// The version of each resource that was accepted last, while Envoy has one.
    accepted: BTreeMap<(ResourceType, String), String>,
    /// What was refused alone and must not be sent again: until the configuration has another
    /// version, which is accepted and was not accepted before, or has none.
    pub(super) refused: BTreeSet<Version>,
    /// Responses of this stream that were not answered, by nonce.
    open: HashMap<String, DeltaDiscoveryResponse>,
}

impl Told {
    /// Begins a stream.
    pub(super) fn connect(&mut self) {
        self.open.clear();
    }

    /// Forgets what is not on disk.
    pub(super) fn start_cold(&mut self) {
        let refused = &self.refused;
        self.accepted.retain(|(kind, name), _| {
            refused.iter().any(|refused| (refused.0, &refused.1) == (*kind, name))
        });
    }

    /// Notes what is configured: what is taken away and put back is tried again.
    pub(super) fn configure(&mut self, world: &World) {
        self.refused.retain(|(kind, name, _)| world.get(*kind, name).is_some());
    }

    /// Notes, and checks, what is sent.
    pub(super) fn send(&mut self, response: &DeltaDiscoveryResponse) {
        let kind = ResourceType::of_type_url(&response.type_url).unwrap();
        for one in &response.resources {
            let version = (kind, one.name.clone(), one.version.clone());
            assert!(!self.refused.contains(&version), "{version:?} was refused and is sent again");
        }
        self.open.insert(response.nonce.clone(), response.clone());
    }

    /// Notes what Envoy says: what it has, when it connects, and its answers.
    pub(super) fn hear(&mut self, request: &DeltaDiscoveryRequest, world: &World) {
        let kind = ResourceType::of_type_url(&request.type_url).unwrap();
        for (name, version) in &request.initial_resource_versions {
            self.accept(world, kind, name, version);
        }
        let Some(response) = self.open.remove(&request.response_nonce) else { return };
        if request.error_detail.is_none() {
            for one in &response.resources {
                self.accept(world, kind, &one.name, &one.version);
            }
            for name in response.removed_resources {
                self.accepted.remove(&(kind, name));
            }
        } else if let ([one], []) = (&*response.resources, &*response.removed_resources)
            // What went from the configuration meanwhile is tried again as well.
            && world.get(kind, &one.name).is_some()
        {
            self.refused.insert((kind, one.name.clone(), one.version.clone()));
        }
    }

    fn accept(&mut self, world: &World, kind: ResourceType, name: &str, version: &str) {
        let before = self.accepted.insert((kind, name.to_owned()), version.to_owned());
        let configured = world.get(kind, name).is_some_and(|one| *one.version == *version);
        if configured && before.is_none_or(|before| before != version) {
            self.refused.retain(|refused| (refused.0, &*refused.1) != (kind, name));
        }
    }
}
