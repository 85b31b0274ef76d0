//! How a listener's new traffic is spread over the endpoints of its services (pure).
//!
//! Rules: endpoints of weight 0 get nothing new, and keep the flows that they have; unhealthy ones
//! get nothing. Of the others those of the first priority that has one get all; the healthy ones of
//! other priorities keep what they have, as if their weight were 0. Where too few are healthy (none,
//! or less than the service's panic threshold, over all priorities), health does not count, and a
//! note says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use model::{
    EndpointId, Kind, ObjectKey, Service,
    route::WeightedBackend,
    service::{Endpoint, Locality},
};

use super::plan::Grounds;

/// Fixed-point factor of shares, so that small weights of large services survive the division.
const SHARE_SCALE: u128 = 1 << 20;

/// Collects the endpoints with their share of the listener's new traffic: 0 for those that keep what
/// they have.
pub(super) fn endpoints(
    backends: &[WeightedBackend],
    grounds: Grounds<'_>,
    notes: &mut Vec<String>,
) -> BTreeMap<SocketAddr, u64> {
    let mut shares = BTreeMap::new();
    for backend in backends {
        let (namespace, name) = (&backend.service.namespace, &backend.service.name);
        let Some(service) = grounds.config.service(namespace, name) else { continue };
        let key = ObjectKey::new(Kind::Service, namespace, name);
        note_what_is_envoys(&key, service, notes);
        let Use { used, idle } = in_use(&key, service, grounds.unhealthy, notes);
        let grown = |endpoint: &Endpoint| {
            let start = grounds.starts.share(&key, &endpoint.socket_address());
            u128::from(endpoint.weight) * u128::from(start)
        };
        let weights = by_place(service, &used, grown);
        let total: u128 = weights.iter().sum();
        for (endpoint, weight) in used.iter().zip(&weights) {
            let share = u128::from(backend.weight) * weight * SHARE_SCALE / total.max(1);
            // Bounded by 10^6 * 2^20, far below u64.
            *shares.entry(endpoint.socket_address()).or_insert(0) +=
                (share as u64).max(u64::from(backend.weight > 0));
        }
        for endpoint in idle {
            shares.entry(endpoint.socket_address()).or_insert(0);
        }
    }
    shares
}

/// The endpoints of a service that get something new, and those that keep what they have.
struct Use<'a> {
    used: Vec<&'a Endpoint>,
    idle: Vec<&'a Endpoint>,
}

fn in_use<'a>(
    key: &ObjectKey,
    service: &'a Service,
    unhealthy: &BTreeSet<EndpointId>,
    notes: &mut Vec<String>,
) -> Use<'a> {
    let is_healthy = |endpoint: &&Endpoint| {
        let address = endpoint.socket_address();
        unhealthy.is_empty() || !unhealthy.contains(&EndpointId { service: key.clone(), address })
    };
    let (weighted, drained): (Vec<_>, Vec<_>) =
        service.endpoints.iter().partition(|endpoint| endpoint.weight > 0);
    let healthy: Vec<_> = weighted.iter().copied().filter(is_healthy).collect();
    let mut idle: Vec<_> = drained.into_iter().filter(is_healthy).collect();
    let threshold = service.panic_threshold_percent();
    let panics = match threshold {
        None => healthy.is_empty(),
        Some(percent) => healthy.len() * 100 < weighted.len() * percent as usize,
    };
    let candidates = if panics && !weighted.is_empty() {
        notes.push(match healthy.len() {
            0 => format!("all endpoints of {key} are unhealthy: all are kept"),
            _ => format!("too few endpoints of {key} are healthy: all are kept"),
        });
        weighted
    } else if healthy.is_empty() {
        // Nothing begins; they are there so that the listener stays XDP's.
        idle.extend(&weighted);
        healthy
    } else {
        healthy
    };
    let first = candidates.iter().map(|endpoint| endpoint.priority).min();
    let (used, others): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|endpoint| Some(endpoint.priority) == first);
    idle.extend(others);
    Use { used, idle }
}

/// Returns the weights of endpoints, of which those of a place with a share of its own have as much
/// as that together.
fn by_place(service: &Service, used: &[&Endpoint], grown: impl Fn(&Endpoint) -> u128) -> Vec<u128> {
    let places = service.failover.as_ref().map(|failover| failover.locality_weights.as_slice());
    let places: BTreeMap<&Locality, u32> =
        places.into_iter().flatten().map(|place| (&place.locality, place.weight)).collect();
    if places.is_empty() {
        return used.iter().map(|endpoint| grown(endpoint)).collect();
    }
    let mut totals: BTreeMap<&Locality, u128> = BTreeMap::new();
    for endpoint in used {
        *totals.entry(&endpoint.locality).or_default() += grown(endpoint);
    }
    let weight = |endpoint: &&Endpoint| {
        let place = places.get(&endpoint.locality).copied().unwrap_or(0);
        let total = totals.get(&endpoint.locality).copied().unwrap_or(0).max(1);
        // Bounded by 10^3 * (10^3 * 2^20) * 2^20, far below u128.
        u128::from(place) * grown(endpoint) * SHARE_SCALE / total
    };
    used.iter().map(weight).collect()
}

/// What is asked for and XDP does not do is said.
fn note_what_is_envoys(key: &ObjectKey, service: &Service, notes: &mut Vec<String>) {
    let asked = [
        ("circuitBreakers", service.circuit_breakers.is_some()),
        ("outlierDetection", service.outlier_detection.is_some()),
    ];
    for (field, _) in asked.into_iter().filter(|(_, asked)| *asked) {
        notes.push(format!("{field} of {key} count for what Envoy carries, not here"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: &str) -> Service {
        let text = format!("kind: Service\nmetadata: {{ name: s }}\nspec: {spec}\n");
        let object = model::parse::parse_documents(&text).unwrap().remove(0);
        match object.spec {
            model::Spec::Service(service) => *service,
            other => panic!("{other:?}"),
        }
    }

    /// Ports of those in use and of those that keep what they have, when some ports fail.
    fn check(spec: &str, failing: &[u16], used: &[u16], idle: &[u16], noted: bool) {
        let service = service(spec);
        let key = ObjectKey::new(Kind::Service, "default", "s");
        let id = |port: &u16| EndpointId {
            service: key.clone(),
            address: ([10, 0, 0, 1], *port).into(),
        };
        let mut notes = Vec::new();
        let found = in_use(&key, &service, &failing.iter().map(id).collect(), &mut notes);
        let ports = |all: &[&Endpoint]| all.iter().map(|one| one.port).collect::<Vec<_>>();
        assert_eq!(ports(&found.used), used, "{spec} {failing:?}");
        assert_eq!(ports(&found.idle), idle, "{spec} {failing:?}");
        assert_eq!(!notes.is_empty(), noted, "{notes:?}");
    }

    #[test]
    fn the_first_priority_with_a_healthy_endpoint_gets_all() {
        let spec = "{ endpoints: [{ address: 10.0.0.1, port: 1 }, { address: 10.0.0.1, port: 2 }, \
                    { address: 10.0.0.1, port: 3, priority: 1 }, { address: 10.0.0.1, port: 4, \
                    priority: 2 }, { address: 10.0.0.1, port: 5, weight: 0 }] }";
        check(spec, &[], &[1, 2], &[5, 3, 4], false);
        check(spec, &[1], &[2], &[5, 3, 4], false);
        check(spec, &[1, 2, 5], &[3], &[4], false);
        check(spec, &[1, 2, 3], &[4], &[5], false);
        check(spec, &[1, 2, 3, 4], &[1, 2], &[5, 3, 4], true);
    }

    #[test]
    fn the_panic_threshold_says_when_health_counts_no_more() {
        let spec = |percent: u32| {
            format!(
                "{{ endpoints: [{{ address: 10.0.0.1, port: 1 }}, {{ address: 10.0.0.1, port: 2 }}], \
                 failover: {{ panicThresholdPercent: {percent} }} }}"
            )
        };
        check(&spec(50), &[1], &[2], &[], false);
        check(&spec(51), &[1], &[1, 2], &[], true);
        check(&spec(1), &[1, 2], &[1, 2], &[], true);
        check(&spec(0), &[1, 2], &[], &[1, 2], false);
    }

    #[test]
    fn a_place_has_its_share_however_many_endpoints_it_has() {
        let service = service(
            "{ endpoints: [{ address: 10.0.0.1, port: 1, locality: { zone: a } }, { address: 10.0.0.1, \
             port: 2, locality: { zone: b } }, { address: 10.0.0.1, port: 3, weight: 3, locality: { \
             zone: b } }], failover: { localityWeights: [{ zone: a, weight: 9 }, { zone: b, weight: 1 \
             }] } }",
        );
        let used: Vec<&Endpoint> = service.endpoints.iter().collect();
        let weights = by_place(&service, &used, |endpoint| u128::from(endpoint.weight));
        let scale = SHARE_SCALE;
        assert_eq!(weights, [9 * scale, scale / 4, scale * 3 / 4]);
    }
}
