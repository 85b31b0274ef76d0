//! Sessions against a model of Envoy, in virtual time: random changes, refusals, restarts and
//! reconnections, after each of which the model checks what must hold.

mod envoy;
mod exchanges;
mod extension;
mod pair;
mod recorded;
mod refusals;
mod told;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use model::ObjectKey;
use proptest::prelude::*;

use self::pair::Pair;
use super::Session;
use crate::{
    l7::{Input, ResourceType},
    xds::{cluster_use::LINGER, ledger::Ledger},
};

impl Session {
    /// Returns the next response as the delta protocol has it.
    fn poll_delta(&mut self, now: Instant, ledger: &mut Ledger) -> Option<DeltaDiscoveryResponse> {
        self.poll(now, ledger).map(|response| response.to_delta(|_| true))
    }
}

#[derive(Clone, Debug)]
enum Action {
    Service(u8, u16, bool),
    Encrypted(u8, u16),
    ByName(u8),
    RemoveService(u8),
    Route(u8, u8, u8),
    RemoveRoute(u8),
    Guarded(u8, u8, u8),
    Policy(u8, u8),
    RemovePolicy(u8),
    Publish,
    Steps(u8),
    /// The next version of a route or service is one that Envoy refuses.
    Poison(u8, bool),
    Whole(bool),
    Reconnect(bool),
    StartCold,
    Wait,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0..4u8, 1..5u16, any::<bool>()).prop_map(|(n, port, b)| Action::Service(n, port, b)),
        2 => (0..4u8, 1..4u16).prop_map(|(n, file)| Action::Encrypted(n, file)),
        1 => (0..4u8).prop_map(Action::ByName),
        2 => (0..4u8).prop_map(Action::RemoveService),
        6 => (0..4u8, 0..4u8, 0..3u8).prop_map(|(n, service, p)| Action::Route(n, service, p)),
        2 => (0..4u8).prop_map(Action::RemoveRoute),
        3 => (0..4u8, 0..4u8, 0..3u8).prop_map(|(n, service, p)| Action::Guarded(n, service, p)),
        3 => (0..3u8, 0..3u8).prop_map(|(n, issuer)| Action::Policy(n, issuer)),
        1 => (0..3u8).prop_map(Action::RemovePolicy),
        6 => Just(Action::Publish),
        8 => (1..20u8).prop_map(Action::Steps),
        2 => (0..4u8, any::<bool>()).prop_map(|(n, route)| Action::Poison(n, route)),
        1 => any::<bool>().prop_map(Action::Whole),
        1 => any::<bool>().prop_map(Action::Reconnect),
        1 => Just(Action::StartCold),
        1 => Just(Action::Wait),
    ]
}

/// Services and policies that routes refer to are there: validation sees to it.
fn keep_references(pair: &mut Pair) {
    let rules = pair.config.http_routes().flat_map(|(_, route)| &route.rules);
    let policies: BTreeSet<u8> =
        rules.filter_map(|rule| rule.filters.auth.as_ref()?.name[1..].parse().ok()).collect();
    for n in policies {
        if pair.config.auth_policy("default", &format!("p{n}")).is_none() {
            pair.policy(n, 9);
        }
    }
    let used: BTreeSet<ObjectKey> = pair
        .config
        .http_routes()
        .flat_map(|(_, route)| &route.rules)
        .filter_map(|rule| match &rule.action {
            model::route::HttpAction::Forward { backends, .. } => Some(&backends[0].service.name),
            _ => None,
        })
        .map(|name| ObjectKey::new(model::Kind::Service, "default", name.as_str()))
        .collect();
    for key in used {
        if pair.config.get(&key).is_none() {
            let n: u8 = key.name[1..].parse().unwrap();
            pair.service(n, 9, "RoundRobin");
        }
    }
}

fn run(actions: Vec<Action>) {
    let mut pair = Pair::new();
    for action in actions {
        match action {
            Action::Service(n, port, maglev) => {
                pair.service(n, port, if maglev { "Maglev" } else { "RoundRobin" });
            }
            Action::Encrypted(n, file) => pair.encrypted(n, file),
            Action::ByName(n) => pair.by_name(n),
            Action::RemoveService(n) => {
                pair.config.remove(&format!("Service/default/s{n}").parse().unwrap());
            }
            Action::Route(n, service, prefix) => pair.route(n, service, prefix),
            Action::RemoveRoute(n) => {
                pair.config.remove(&format!("HTTPRoute/default/r{n}").parse().unwrap());
            }
            Action::Guarded(n, service, policy) => pair.guarded(n, service, policy),
            Action::Policy(n, issuer) => pair.policy(n, issuer),
            Action::RemovePolicy(n) => {
                pair.config.remove(&format!("AuthPolicy/default/p{n}").parse().unwrap());
            }
            Action::Publish => {
                keep_references(&mut pair);
                pair.publish();
            }
            Action::Steps(count) => {
                for _ in 0..count {
                    pair.step();
                }
            }
            Action::Poison(n, route) => {
                keep_references(&mut pair);
                let mut compiler = pair.compiler.clone();
                compiler.update(Input { config: pair.config.clone(), ..Input::default() });
                let (kind, suffix) = if route {
                    (ResourceType::ScopedRoute, format!("/h{n}.example"))
                } else {
                    (ResourceType::Cluster, format!("/s{n}"))
                };
                let poisoned = compiler.world().of_kind(kind).find(|(name, resource)| {
                    let version = (kind, name.to_string(), resource.version.to_string());
                    // What Envoy took once it takes again.
                    name.ends_with(&suffix) && !pair.known.contains_key(&version)
                });
                if let Some((name, resource)) = poisoned {
                    let version = (kind, name.to_string(), resource.version.to_string());
                    pair.envoy.bad.insert(version);
                }
            }
            Action::Whole(whole) => pair.envoy.whole = whole,
            Action::Reconnect(restarted) => pair.reconnect(restarted),
            Action::StartCold => pair.start_cold(),
            Action::Wait => pair.now += LINGER + Duration::from_secs(1),
        }
    }
    keep_references(&mut pair);
    pair.publish();
    pair.settle();
    pair.check_at_rest();
    // What is gone goes, after its time.
    for _ in 0..2 {
        pair.now += LINGER + Duration::from_secs(1);
        pair.settle();
    }
    pair.check_at_rest();
    pair.check_gone();
    // A stream that breaks at rest costs nothing.
    let before = pair.envoy.resources;
    pair.reconnect(false);
    pair.settle();
    assert_eq!(
        pair.envoy.resources, before,
        "a reconnection sends nothing again: {:?}",
        pair.envoy.last
    );
    pair.check_at_rest();
    // A new Envoy gets what was accepted.
    pair.reconnect(true);
    pair.settle();
    pair.check_at_rest();
    // So does one of a new data plane, which knows no more than what is on disk.
    let (held, answered) = (pair.envoy.held.clone(), pair.answered.clone());
    pair.start_cold();
    pair.settle();
    pair.check_at_rest();
    assert_eq!(pair.envoy.held, held);
    assert_eq!(pair.answered, answered);
}

/// Cases where `PROPTEST_CASES` does not say how many.
const CASES: u32 = 300;

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|count| count.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(CASES),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn envoy_always_has_what_it_routes_to_and_ends_with_what_is_wanted(
        actions in proptest::collection::vec(action(), 0..60),
    ) {
        run(actions);
    }
}
