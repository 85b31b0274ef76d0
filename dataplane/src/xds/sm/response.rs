//! What a session sends, before it takes the form of a wire.

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3 as pb;
use model::Revision;

use crate::l7::{Resource, ResourceType};

/// One response of the delta protocol.
#[derive(Clone, Debug)]
pub(in crate::xds) struct Response {
    pub(in crate::xds) kind: ResourceType,
    pub(in crate::xds) revision: Revision,
    pub(in crate::xds) nonce: String,
    pub(in crate::xds) resources: Vec<Arc<Resource>>,
    pub(in crate::xds) removed: Vec<Arc<str>>,
    /// Whether it is the first answer to a wildcard or a collection, to be sent though it be empty.
    pub(in crate::xds) answers_prefix: bool,
}

impl Response {
    /// Encodes what `covers` lets through.
    pub(in crate::xds) fn to_delta(
        &self,
        covers: impl Fn(&str) -> bool,
    ) -> pb::DeltaDiscoveryResponse {
        let resources = self.resources.iter().filter(|resource| covers(&resource.name));
        let removed = self.removed.iter().filter(|name| covers(name));
        pb::DeltaDiscoveryResponse {
            system_version_info: self.revision.to_string(),
            type_url: self.kind.type_url().to_owned(),
            resources: resources
                .map(|resource| pb::Resource {
                    name: resource.name.to_string(),
                    version: resource.version.to_string(),
                    resource: Some(resource.body.clone()),
                    ..Default::default()
                })
                .collect(),
            removed_resources: removed.map(|name| name.to_string()).collect(),
            nonce: self.nonce.clone(),
            ..Default::default()
        }
    }
}
