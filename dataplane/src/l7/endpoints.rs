//! Endpoints of a service, by place, with weights and health.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use model::{
    EndpointId, ObjectKey, Service,
    service::{Endpoint, Locality},
};

use super::{
    ResourceType, names,
    origin::Origin,
    pb::{self, core, endpoint},
    resource::Resource,
    version::Version,
};

/// Makes the load assignment of a service.
///
/// Endpoints that fail keep their open connections and get nothing new. When all of them fail, all
/// of them get traffic: some may work after all, and none certainly does not.
pub(super) fn assignment(
    key: &ObjectKey,
    service: &Service,
    unhealthy: &BTreeSet<EndpointId>,
) -> Resource {
    let name = names::plain(key);
    let failing: BTreeSet<SocketAddr> = failing(key, service, unhealthy);
    let mut places: BTreeMap<&Locality, Vec<(usize, &Endpoint)>> = BTreeMap::new();
    // Envoy knows no weight 0: such an endpoint is left out.
    for (i, one) in service.endpoints.iter().enumerate().filter(|(_, one)| one.weight > 0) {
        places.entry(&one.locality).or_default().push((i, one));
    }
    let message = endpoint::ClusterLoadAssignment {
        cluster_name: name.clone(),
        endpoints: places
            .iter()
            .map(|(locality, endpoints)| endpoint::LocalityLbEndpoints {
                locality: (!locality.is_empty()).then(|| core::Locality {
                    region: locality.region.clone(),
                    zone: locality.zone.clone(),
                    ..Default::default()
                }),
                lb_endpoints: endpoints.iter().map(|(_, one)| member(one, &failing)).collect(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let origins = places.values().flatten().map(|(i, one)| Origin {
        object: key.clone(),
        field: format!("spec.endpoints[{i}].address"),
        text: one.address.to_string(),
        route: None,
    });
    Resource {
        version: Version::of(ResourceType::Endpoints)
            .part(&name)
            .part(&service.endpoints)
            .part(&failing)
            .finish(),
        origins: origins.collect(),
        name: name.into(),
        body: pb::any(&message),
        clusters: Vec::new(),
        wants: Vec::new(),
        object: key.clone(),
    }
}

/// Returns the addresses that get nothing new: none when all would.
fn failing(
    key: &ObjectKey,
    service: &Service,
    unhealthy: &BTreeSet<EndpointId>,
) -> BTreeSet<SocketAddr> {
    let used = service.endpoints.iter().filter(|one| one.weight > 0);
    let used: BTreeSet<SocketAddr> =
        used.map(|one| SocketAddr::new(one.address, one.port)).collect();
    let failing: BTreeSet<SocketAddr> = used
        .iter()
        .copied()
        .filter(|address| {
            !unhealthy.is_empty()
                && unhealthy.contains(&EndpointId { service: key.clone(), address: *address })
        })
        .collect();
    if failing.len() == used.len() { BTreeSet::new() } else { failing }
}

fn member(one: &Endpoint, failing: &BTreeSet<SocketAddr>) -> endpoint::LbEndpoint {
    let address = SocketAddr::new(one.address, one.port);
    let health = if failing.contains(&address) {
        core::HealthStatus::Unhealthy
    } else {
        core::HealthStatus::Healthy
    };
    endpoint::LbEndpoint {
        health_status: health as i32,
        load_balancing_weight: Some(pb::uint32(one.weight)),
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
            endpoint::Endpoint {
                address: Some(pb::socket_address(one.address, one.port, false)),
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}
