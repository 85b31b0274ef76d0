//! From a configuration and what is known of endpoints to targets and to what the data plane is
//! told. Pure.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use model::{
    Change, EndpointId, Object, Snapshot, Spec,
    endpoint::EndpointHealth,
    service::{Endpoint, HealthCheck},
};
use model::{ObjectKey, Service};
use runtime::push::HealthUpdate;

/// Every endpoint of a service with a health check, with that check.
pub(super) fn targets(snapshot: &Snapshot) -> BTreeMap<EndpointId, HealthCheck> {
    probed(snapshot)
        .flat_map(|(key, service, check)| {
            endpoints(key, service).map(move |endpoint| (endpoint, check.clone()))
        })
        .collect()
}

/// Tells whether a change is about services whose endpoints are ours to probe.
pub(super) fn concerned(before: &Snapshot, after: &Snapshot) -> bool {
    let is_probed = |object: Option<&Arc<Object>>| match object.map(|object| &object.spec) {
        Some(Spec::Service(service)) => check_of(service).is_some(),
        _ => false,
    };
    before.diff(after).iter().filter_map(Change::of_spec).any(|(old, new)| {
        is_probed(old) || is_probed(new) //
    })
}

/// What the data plane is told: the endpoints to leave out, and the services all of whose endpoints
/// fail. Those of the latter are not left out, unless the service says so: traffic to a failing
/// endpoint beats none.
pub(super) fn update(
    snapshot: &Snapshot,
    known: &BTreeMap<EndpointId, EndpointHealth>,
) -> HealthUpdate {
    let mut update = HealthUpdate::default();
    for (key, service, _) in probed(snapshot) {
        let fails = |endpoint: &EndpointId| known.get(endpoint).is_some_and(|h| !h.healthy);
        let failing: Vec<EndpointId> = endpoints(key, service).filter(fails).collect();
        if failing.is_empty() {
            continue;
        }
        let panics = service.panic_threshold_percent() != Some(0);
        if panics && failing.len() == endpoints(key, service).count() {
            update.panicking.push(key.clone());
        } else {
            update.unhealthy.extend(failing);
        }
    }
    update
}

/// The services whose endpoints are ours to probe.
fn probed(snapshot: &Snapshot) -> impl Iterator<Item = (&ObjectKey, &Service, &HealthCheck)> {
    snapshot.services().filter_map(|(key, service)| Some((key, service, check_of(service)?)))
}

fn check_of(service: &Service) -> Option<&HealthCheck> {
    service.health_check.as_ref().filter(|_| !service.is_checked_by_envoy())
}

fn endpoints<'a>(
    key: &'a ObjectKey,
    service: &'a Service,
) -> impl Iterator<Item = EndpointId> + 'a {
    let id = |endpoint: &Endpoint| EndpointId {
        service: key.clone(),
        address: SocketAddr::new(endpoint.address, endpoint.port),
    };
    service.endpoints.iter().map(id)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use model::{
        Kind, Metadata, Object, Spec,
        service::{CheckedBy, Probe},
    };

    use super::*;

    pub(in crate::probes) fn service(name: &str, addresses: &[&str], check: bool) -> Object {
        let endpoint = |address: &&str| Endpoint::new(address.parse().unwrap());
        let health_check = check.then(|| HealthCheck {
            by: CheckedBy::Probes,
            probe: Probe::Tcp {},
            port: None,
            interval: Duration::from_millis(100),
            timeout: Duration::from_millis(100),
            unhealthy_threshold: 2,
            healthy_threshold: 1,
            jitter_percent: None,
        });
        let service =
            Service { health_check, ..Service::of(addresses.iter().map(endpoint).collect()) };
        let metadata = Metadata {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            labels: BTreeMap::new(),
        };
        Object { metadata, spec: Spec::Service(Box::new(service)) }
    }

    pub(in crate::probes) fn snapshot(objects: Vec<Object>) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.set_revision(model::Revision(1));
        objects.into_iter().for_each(|object| snapshot.put(Arc::new(object)));
        snapshot
    }

    fn id(service: &str, address: &str) -> EndpointId {
        EndpointId {
            service: ObjectKey::new(Kind::Service, "default", service),
            address: address.parse().unwrap(),
        }
    }

    const A: &str = "10.0.0.1:80";
    const B: &str = "10.0.0.2:80";

    #[test]
    fn only_services_with_a_check_have_targets() {
        let snapshot = snapshot(vec![service("a", &[A, B], true), service("b", &[A], false)]);
        let found: Vec<_> = targets(&snapshot).into_keys().collect();
        assert_eq!(found, [id("a", A), id("a", B)]);
    }

    #[test]
    fn a_change_of_what_is_not_probed_concerns_nobody() {
        let with = |a: Object| snapshot(vec![a, service("b", &[A], false)]);
        let probed = with(service("a", &[A], true));
        let open = with(service("a", &[A], false));
        for (before, after, expected) in [
            (&probed, &probed, false),
            (&open, &with(service("a", &[A, B], false)), false),
            (&probed, &with(service("a", &[A, B], true)), true),
            (&probed, &open, true),
            (&open, &probed, true),
            (&probed, &snapshot(Vec::new()), true),
        ] {
            assert_eq!(concerned(before, after), expected);
        }
    }

    #[test]
    fn some_failing_are_left_out_and_all_failing_are_kept() {
        let check = |failing: &[&str], unhealthy: &[&str], panicking: bool| {
            let snapshot = snapshot(vec![service("a", &[A, B], true), service("b", &[A], true)]);
            let health = |address: &&str| EndpointHealth {
                endpoint: id("a", address),
                healthy: false,
                rtt_us: None,
                reason: "refused".to_owned(),
            };
            let known = failing.iter().map(|a| (id("a", a), health(a))).collect();
            let found = update(&snapshot, &known);
            let expected: Vec<_> = unhealthy.iter().map(|a| id("a", a)).collect();
            assert_eq!(found.unhealthy, expected);
            assert_eq!(!found.panicking.is_empty(), panicking);
        };
        check(&[], &[], false);
        check(&[A], &[A], false);
        check(&[B], &[B], false);
        check(&[A, B], &[], true);
    }
}
