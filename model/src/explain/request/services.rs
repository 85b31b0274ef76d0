//! The services that a request may go to, and their endpoints.

use super::{
    Candidate, CandidateEndpoint, Grounds, Outcome, RequestExplanation, decision,
    forwarding::in_common, health, routes::Found,
};
use crate::{
    explain::Decision,
    key::{Kind, ObjectKey},
    route::WeightedBackend,
    service::{LoadBalancing, Service},
};

/// Endpoints of a service that are told of in words; the answer has all.
const TOLD_MAX: usize = 16;

/// Says who gets the request, and how that ends.
pub(super) fn choose(
    grounds: &Grounds<'_>,
    backends: &[WeightedBackend],
    found: &Found<'_>,
    answer: &mut RequestExplanation,
) {
    let used = || backends.iter().enumerate().filter(|(_, backend)| backend.weight > 0);
    let whole: u64 = used().map(|(_, backend)| u64::from(backend.weight)).sum();
    for (index, backend) in used() {
        let reference = &backend.service;
        let namespace = reference.namespace.as_str();
        let key = ObjectKey::new(Kind::Service, namespace, reference.name.as_str());
        let share = format!("{:.4}", f64::from(backend.weight) * 100.0 / whole as f64);
        let share = share.trim_end_matches('0').trim_end_matches('.');
        let said = match backend.weight {
            weight if u64::from(weight) == whole => format!("{key}"),
            weight => format!("{key}, by lot: {weight} of {whole} ({share} %)"),
        };
        let field = format!(".backends[{index}]");
        answer.say_at("service", said, found, &field);
        let service = grounds.config.service(&reference.namespace, &reference.name);
        let candidate = match service {
            Some(service) => {
                let endpoints = health::endpoints(&key, service, grounds.failing);
                serving(key, service, backend.weight, endpoints, found, &mut answer.decisions)
            }
            None => {
                answer.say_at("service", format!("{key} is not there: 500"), found, &field);
                Candidate {
                    service: key,
                    weight: backend.weight,
                    status: Some(500),
                    endpoint: None,
                    endpoints: Vec::new(),
                }
            }
        };
        answer.services.push(candidate);
    }
    let failures: Vec<u16> = answer.services.iter().filter_map(|one| one.status).collect();
    if failures.len() < answer.services.len() {
        return answer.end(Outcome::Forwarded, None);
    }
    let first = failures.first().copied();
    let status = first.filter(|first| failures.iter().all(|status| status == first));
    let outcome = if status == Some(500) { Outcome::NoService } else { Outcome::NoEndpoint };
    answer.end(outcome, status);
}

/// Says which endpoint of a service gets a request, or how one is chosen.
fn serving(
    key: ObjectKey,
    service: &Service,
    weight: u32,
    endpoints: Vec<CandidateEndpoint>,
    found: &Found<'_>,
    decisions: &mut Vec<Decision>,
) -> Candidate {
    let say = |said: String, field: &str| super::made_by("endpoint", said, &key, field);
    for (index, one) in endpoints.iter().enumerate().take(TOLD_MAX) {
        decisions.push(say(described(one), &format!("spec.endpoints[{index}]")));
    }
    if endpoints.len() > TOLD_MAX {
        let said = format!("{} more of {key}", endpoints.len() - TOLD_MAX);
        decisions.push(decision("endpoint", said));
    }
    let takers: Vec<&CandidateEndpoint> = endpoints.iter().filter(|one| one.takes).collect();
    let mut status = None;
    let mut endpoint = None;
    match (&service.dns, takers.as_slice()) {
        (Some(dns), _) => {
            let said = format!("an address of {}, which each Envoy asks for itself", dns.name);
            decisions.push(say(said, "spec.dns"));
        }
        (None, []) => {
            status = Some(503);
            let said = match endpoints.is_empty() {
                true => "there is none: 503",
                false => "none takes anything new: 503",
            };
            decisions.push(say(said.to_owned(), "spec.endpoints"));
        }
        (None, [only]) => {
            endpoint = Some(only.address);
            decisions
                .push(say(format!("{}, the only one that may", only.address), "spec.endpoints"));
        }
        (None, several) => {
            let how = chosen(service, found);
            let said = format!("one of {}, {how}", several.len());
            decisions.push(say(said, "spec.loadBalancing"));
        }
    }
    if service.is_checked_by_envoy() {
        let said = "which of them are healthy, each Envoy finds out for itself".to_owned();
        decisions.push(say(said, "spec.healthCheck.by"));
    }
    if service.outlier_detection.is_some() {
        let said = "outliers that Envoy has left out for their answers are not known here";
        decisions.push(say(said.to_owned(), "spec.outlierDetection"));
    }
    Candidate { service: key, weight, status, endpoint, endpoints }
}

fn described(one: &CandidateEndpoint) -> String {
    let health = match one.healthy {
        Some(true) => "healthy",
        Some(false) => "failing",
        None => "health not known here",
    };
    let takes = match (one.takes, one.weight) {
        (true, _) => "may get it",
        (false, 0) => "gets nothing new",
        (false, _) => "does not get it",
    };
    let CandidateEndpoint { address, weight, priority, .. } = one;
    format!("{address}, weight {weight}, priority {priority}, {health}: {takes}")
}

/// Says how one of several endpoints is chosen.
fn chosen(service: &Service, found: &Found<'_>) -> String {
    match service.load_balancing {
        LoadBalancing::RoundRobin => "in turn, by weight".to_owned(),
        LoadBalancing::LeastRequest => "the less busy of a few random ones".to_owned(),
        LoadBalancing::Random => "at random, by weight".to_owned(),
        LoadBalancing::Maglev | LoadBalancing::RingHash => {
            format!("by a hash {}", in_common(found.rule.affinity.as_ref()))
        }
    }
}
