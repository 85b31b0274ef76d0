//! Which endpoints of a service may get a request: by weight, health, priority and place, as
//! docs/configuration.md says under "Failover".

use std::{collections::BTreeSet, net::SocketAddr};

use super::CandidateEndpoint;
use crate::{
    endpoint::EndpointId,
    key::ObjectKey,
    service::{Endpoint, Service},
};

/// How much more than its share the healthy part of a priority is trusted with, in percent.
const OVERPROVISIONING_PERCENT: usize = 140;
/// All of the traffic, in percent.
const ALL: usize = 100;

/// The endpoints of one priority that have a weight.
#[derive(Clone, Copy, Debug)]
struct Priority {
    number: u32,
    healthy: usize,
    all: usize,
    /// The share of the traffic that it can be trusted with, in percent.
    trusted: usize,
}

/// Judges the endpoints of a service.
pub(super) fn endpoints(
    key: &ObjectKey,
    service: &Service,
    failing: &BTreeSet<EndpointId>,
) -> Vec<CandidateEndpoint> {
    let fails = |address: SocketAddr| {
        !failing.is_empty() && failing.contains(&EndpointId { service: key.clone(), address })
    };
    let used: Vec<&Endpoint> = service.endpoints.iter().filter(|one| one.weight > 0).collect();
    let is_probed = !service.is_checked_by_envoy();
    // When all fail, health counts no more, unless the service says when that is so.
    let counts = service.panic_threshold_percent().is_some()
        || used.iter().any(|one| !fails(one.socket_address()));
    let healthy = |one: &Endpoint| !is_probed || !counts || !fails(one.socket_address());
    let priorities = priorities(service, &used, healthy);
    let takers = takers(&priorities, service.panic_threshold_percent());
    let takes = |one: &Endpoint| {
        let mut own = takers.iter().filter(|(priority, _)| *priority == one.priority);
        one.weight > 0 && own.any(|(_, all)| *all || healthy(one))
    };
    let view = |one: &Endpoint| CandidateEndpoint {
        address: one.socket_address(),
        weight: one.weight,
        priority: one.priority,
        healthy: is_probed.then(|| !fails(one.socket_address())),
        takes: takes(one),
    };
    service.endpoints.iter().map(view).collect()
}

fn priorities(
    service: &Service,
    used: &[&Endpoint],
    healthy: impl Fn(&Endpoint) -> bool,
) -> Vec<Priority> {
    let factor = service.failover.as_ref().and_then(|failover| failover.overprovisioning_percent);
    let factor = factor.map_or(OVERPROVISIONING_PERCENT, |percent| percent as usize);
    let numbers: BTreeSet<u32> = used.iter().map(|one| one.priority).collect();
    let priority = |number: u32| {
        let own = || used.iter().filter(|one| one.priority == number);
        let (healthy, all) = (own().filter(|one| healthy(one)).count(), own().count());
        Priority { number, healthy, all, trusted: (factor * healthy / all).min(ALL) }
    };
    numbers.into_iter().map(priority).collect()
}

/// Returns the priorities that get traffic, and whether all of their endpoints do, healthy or not.
fn takers(priorities: &[Priority], panic_below: Option<u32>) -> Vec<(u32, bool)> {
    let trusted: usize = priorities.iter().map(|priority| priority.trusted).sum();
    let panics = |priority: &Priority| {
        let below = panic_below.unwrap_or(0) as usize;
        // While all of the traffic finds healthy endpoints, nobody panics.
        trusted < ALL && ALL * priority.healthy < below * priority.all
    };
    if priorities.iter().all(panics) {
        return priorities.iter().map(|priority| (priority.number, true)).collect();
    }
    let mut given = 0;
    let mut takers = Vec::new();
    for priority in priorities {
        if priority.trusted > 0 && given < ALL {
            takers.push((priority.number, panics(priority)));
        }
        given += priority.trusted;
    }
    takers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{key::Kind, service::Failover};

    /// Checks endpoints, given as (priority, fails), against those that get traffic.
    fn check(given: &[(u32, bool)], failover: Option<Failover>, expected: &[usize]) {
        let key = ObjectKey::new(Kind::Service, "default", "s");
        let endpoint = |(i, (priority, _)): (usize, &(u32, bool))| {
            let address = SocketAddr::from(([10, 0, 0, i as u8], 80));
            Endpoint { priority: *priority, ..Endpoint::new(address) }
        };
        let endpoints: Vec<Endpoint> = given.iter().enumerate().map(endpoint).collect();
        let failing = endpoints.iter().zip(given).filter(|(_, (_, fails))| *fails);
        let failing = failing
            .map(|(one, _)| EndpointId { service: key.clone(), address: one.socket_address() })
            .collect();
        let service = Service { failover, ..Service::of(endpoints) };
        let found = super::endpoints(&key, &service, &failing);
        let takes: Vec<usize> =
            found.iter().enumerate().filter(|(_, one)| one.takes).map(|(i, _)| i).collect();
        assert_eq!(takes, expected, "{given:?}");
    }

    #[test]
    fn endpoints_take_by_health_and_priority() {
        let (well, fails) = (false, true);
        check(&[], None, &[]);
        check(&[(0, well), (0, fails)], None, &[0]);
        check(&[(0, fails), (0, fails)], None, &[0, 1]);
        // 1.4 of two thirds is 93 %: the next priority gets the rest.
        check(&[(0, well), (0, well), (0, fails), (1, well)], None, &[0, 1, 3]);
        // Three of four are more than 71 %.
        check(&[(0, well), (0, well), (0, well), (0, fails), (1, well)], None, &[0, 1, 2]);
        check(&[(0, fails), (1, well), (2, well)], None, &[1]);
    }

    #[test]
    fn a_service_says_when_health_counts_no_more() {
        let (well, fails) = (false, true);
        let failover = |percent| {
            Some(Failover { panic_threshold_percent: Some(percent), ..Failover::default() })
        };
        check(&[(0, fails), (0, fails)], failover(0), &[]);
        check(&[(0, well), (0, fails), (0, fails)], failover(50), &[0, 1, 2]);
        check(&[(0, well), (0, fails), (0, fails)], failover(30), &[0]);
        // The next priority has room for all, so nobody panics.
        check(&[(0, well), (0, fails), (0, fails), (1, well)], failover(50), &[0, 3]);
        check(&[(0, fails), (1, fails)], failover(50), &[0, 1]);
    }
}
