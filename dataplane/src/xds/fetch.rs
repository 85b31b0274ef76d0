//! The unary form of the protocol: what is asked for by name, or all of it, as it is (pure).
//!
//! It has no acknowledgements and no order over types, so it is for people and tools that look.

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3 as pb;

use crate::l7::{Resource, ResourceType, TOKENS, World, is_requirement, joined};

/// Answers a request; what is not there is left out.
pub(super) fn fetch(
    world: &World,
    kind: ResourceType,
    request: &pb::DiscoveryRequest,
) -> pb::DiscoveryResponse {
    let names = &request.resource_names;
    let all = names.is_empty() || names.iter().any(|name| name == "*");
    let found: Vec<Arc<Resource>> = if all {
        world.of_kind(kind).map(|(_, resource)| resource.clone()).collect()
    } else {
        names.iter().filter_map(|name| world.get(kind, name).cloned()).collect()
    };
    let required = world.of_kind(kind).filter(|(name, _)| is_requirement(name));
    let required: Vec<_> = required.map(|(_, it)| it.clone()).collect();
    let whole = |it: Arc<Resource>| match &*it.name {
        TOKENS => joined(&it, &required, 0).into(),
        _ => it,
    };
    let found = found.into_iter().filter(|it| !is_requirement(&it.name)).map(whole);
    pb::DiscoveryResponse {
        version_info: world.revision.to_string(),
        resources: found.map(|resource: Arc<Resource>| resource.body.clone()).collect(),
        type_url: kind.type_url().to_owned(),
        ..Default::default()
    }
}
