//! Endpoints of a service, by priority and place, with weights and health.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use model::{
    EndpointId, ObjectKey, Service,
    service::{Endpoint, Locality},
};

use super::{
    ResourceType,
    cluster::health,
    names,
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
    let mut places: BTreeMap<(u32, &Locality), Vec<(usize, &Endpoint)>> = BTreeMap::new();
    // Envoy knows no weight 0: such an endpoint is left out.
    for (i, one) in service.endpoints.iter().enumerate().filter(|(_, one)| one.weight > 0) {
        places.entry((one.priority, &one.locality)).or_default().push((i, one));
    }
    let message = endpoint::ClusterLoadAssignment {
        cluster_name: name.clone(),
        endpoints: places
            .iter()
            .map(|((priority, locality), endpoints)| endpoint::LocalityLbEndpoints {
                locality: (!locality.is_empty()).then(|| core::Locality {
                    region: locality.region.clone(),
                    zone: locality.zone.clone(),
                    ..Default::default()
                }),
                lb_endpoints: endpoints
                    .iter()
                    .map(|(_, one)| member(service, one, &failing))
                    .collect(),
                load_balancing_weight: weight(service, locality),
                priority: *priority,
                ..Default::default()
            })
            .collect(),
        policy: policy(service),
        ..Default::default()
    };
    let origins = places.values().flatten().map(|(i, one)| Origin {
        object: key.clone(),
        field: format!("spec.endpoints[{i}].address"),
        text: one.address.to_string(),
        route: None,
    });
    let mut version =
        Version::of(ResourceType::Endpoints).part(&name).part(&service.endpoints).part(&failing);
    // What is not asked for is no part, so that versions of before stay.
    if let Some(failover) = &service.failover {
        version.add(&("failover", failover));
    }
    if let Some(check) = service.health_check.as_ref().filter(|_| service.is_checked_by_envoy()) {
        version.add(&("healthCheck", check));
    }
    Resource {
        version: version.finish(),
        origins: origins.collect(),
        name: name.into(),
        body: pb::any(&message),
        clusters: Vec::new(),
        wants: Vec::new(),
        object: key.clone(),
    }
}

/// Makes how far the healthy endpoints of a priority or place are trusted.
pub(super) fn policy(service: &Service) -> Option<endpoint::cluster_load_assignment::Policy> {
    let factor = service.failover.as_ref()?.overprovisioning_percent?;
    Some(endpoint::cluster_load_assignment::Policy {
        overprovisioning_factor: Some(pb::uint32(factor)),
        ..Default::default()
    })
}

/// Returns the share of a place, where places have shares.
fn weight(service: &Service, locality: &Locality) -> Option<pb::UInt32Value> {
    let weights = &service.failover.as_ref()?.locality_weights;
    let own = weights.iter().find(|weight| weight.locality == *locality)?;
    Some(pb::uint32(own.weight))
}

/// Returns the addresses that get nothing new: none when all would, unless the service says when
/// health counts no more, which Envoy then sees to.
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
    let says_when = service.panic_threshold_percent().is_some();
    if failing.len() == used.len() && !says_when { BTreeSet::new() } else { failing }
}

fn member(
    service: &Service,
    one: &Endpoint,
    failing: &BTreeSet<SocketAddr>,
) -> endpoint::LbEndpoint {
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
                health_check_config: health::of_endpoint(service, Some(one.address)),
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}
