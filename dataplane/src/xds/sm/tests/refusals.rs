//! What is refused, what stands in for it, and what that needs.

use std::time::Duration;

use super::pair::Pair;
use crate::{
    l7::{Input, ResourceType},
    xds::{answer::Answer, cluster_use::LINGER, ledger::RETRY_INTERVAL},
};

#[test]
fn a_refused_response_of_many_finds_the_culprit() {
    for whole in [false, true] {
        let mut pair = Pair::new();
        pair.envoy.whole = whole;
        for n in 0..20 {
            pair.service(n, 1, "RoundRobin");
            pair.route(n, n, 1);
        }
        pair.publish();
        pair.settle();
        for n in 0..20 {
            pair.route(n, n, 2);
        }
        let mut compiler = pair.compiler.clone();
        compiler.update(Input { config: pair.config.clone(), ..Input::default() });
        let (name, resource) = compiler
            .world()
            .of_kind(ResourceType::ScopedRoute)
            .find(|(name, _)| name.ends_with("/h7.example"))
            .unwrap();
        let bad = (ResourceType::ScopedRoute, name.to_string(), resource.version.to_string());
        pair.envoy.bad.insert(bad);
        pair.publish();
        pair.settle();
        pair.check_at_rest();
        let refusals = &pair.answered.as_ref().unwrap().refusals;
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].object, Some("HTTPRoute/default/r7".parse().unwrap()));
    }
}

#[test]
fn a_listener_that_stands_in_keeps_its_certificate() {
    for cold in [false, true] {
        let mut pair = Pair::new();
        let put = |pair: &mut Pair, spec: &str| {
            pair.put(&format!("kind: Listener\nmetadata: {{ name: shop }}\nspec: {spec}"));
        };
        put(
            &mut pair,
            "{ protocol: HTTPS, port: 443, tls: { certificateFile: /a, privateKeyFile: /b } }",
        );
        pair.publish();
        pair.settle();
        put(&mut pair, "{ protocol: HTTP, port: 444 }");
        let mut compiler = pair.compiler.clone();
        compiler.update(Input { config: pair.config.clone(), ..Input::default() });
        let second = compiler.world().get(ResourceType::Listener, "default/shop").unwrap();
        let bad = (ResourceType::Listener, second.name.to_string(), second.version.to_string());
        pair.envoy.bad.insert(bad);
        pair.publish();
        pair.settle();
        if cold {
            pair.start_cold();
        } else {
            pair.reconnect(true);
        }
        pair.settle();
        for (kind, name) in [
            (ResourceType::Listener, "default/shop"),
            (ResourceType::Secret, "default/shop/certificate-0"),
        ] {
            assert!(pair.envoy.held[kind as usize].contains_key(name), "{kind}");
        }
    }
}

/// Steps until Envoy has heard of a route's next version and its answer is under way.
fn send_route(pair: &mut Pair, n: u8) {
    let sent = |pair: &Pair| {
        let scopes = &pair.session.kinds[ResourceType::ScopedRoute as usize];
        let in_flight = scopes.in_flight.iter().flat_map(|in_flight| &in_flight.items);
        in_flight.into_iter().any(|item| item.name.ends_with(&format!("/h{n}.example")))
    };
    while !sent(pair) {
        assert!(pair.step(), "it is never sent");
    }
}

/// Marks the version of a route that is published next as one that Envoy refuses.
fn poison_route(pair: &mut Pair, n: u8) {
    let mut compiler = pair.compiler.clone();
    compiler.update(Input { config: pair.config.clone(), ..Input::default() });
    let world = compiler.world();
    let mut scopes = world.of_kind(ResourceType::ScopedRoute);
    let (name, resource) =
        scopes.find(|(name, _)| name.ends_with(&format!("/h{n}.example"))).unwrap();
    let bad = (ResourceType::ScopedRoute, name.to_string(), resource.version.to_string());
    pair.envoy.bad.insert(bad);
}

/// An Envoy that has the first version of a route to s0 and refused a second one, to s1, on
/// another stream; both streams broke before its answer was heard.
fn twice_in_doubt() -> Pair {
    let mut pair = Pair::new();
    pair.service(0, 1, "RoundRobin");
    pair.service(1, 1, "RoundRobin");
    pair.route(0, 0, 0);
    pair.publish();
    send_route(&mut pair, 0);
    pair.reconnect(false);
    pair.route(0, 1, 0);
    poison_route(&mut pair, 0);
    pair.publish();
    send_route(&mut pair, 0);
    pair
}

#[test]
fn a_doubt_lasts_over_more_than_one_broken_stream() {
    let mut pair = twice_in_doubt();
    pair.reconnect(false);
    pair.config.remove(&"Service/default/s0".parse().unwrap());
    pair.route(0, 1, 1);
    pair.service(1, 1, "Maglev");
    pair.publish();
    // All is asked for.
    while !pair.session.clusters.is_complete() && pair.step() {}
    assert!(pair.session.clusters.is_complete());
    pair.now += LINGER + Duration::from_secs(1);
    pair.settle();
    pair.check_at_rest();
}

#[test]
fn what_was_in_doubt_before_a_refusal_stands_in() {
    let mut pair = twice_in_doubt();
    pair.settle();
    pair.check_at_rest();
    pair.config.remove(&"Service/default/s0".parse().unwrap());
    pair.publish();
    pair.settle();
    pair.now += LINGER + Duration::from_secs(1);
    pair.settle();
    pair.check_at_rest();
}

#[test]
fn a_refused_listener_is_tried_again_in_time_and_alone() {
    let mut pair = Pair::new();
    pair.put("kind: Listener\nmetadata: { name: taken }\nspec: { protocol: HTTP, port: 81 }");
    let mut compiler = pair.compiler.clone();
    compiler.update(Input { config: pair.config.clone(), ..Input::default() });
    let resource = compiler.world().get(ResourceType::Listener, "default/taken").unwrap();
    let bad = (ResourceType::Listener, resource.name.to_string(), resource.version.to_string());
    pair.envoy.bad.insert(bad);
    let revision = pair.publish();
    pair.settle();
    assert_eq!(pair.answered.as_ref().map(|answer| answer.refusals.len()), Some(1));

    // It is refused again, which is no news; nothing is sent in between.
    for _ in 0..2 {
        assert_eq!(pair.session.next_timeout(&pair.ledger), Some(pair.now + RETRY_INTERVAL));
        let sent = pair.envoy.resources;
        pair.now += RETRY_INTERVAL / 2;
        pair.settle();
        assert_eq!(pair.envoy.resources, sent);
        pair.now += RETRY_INTERVAL / 2;
        pair.told.refused.clear();
        pair.answered = None;
        pair.settle();
        assert_eq!(pair.envoy.resources, sent + 1);
        assert_eq!(pair.answered, None);
    }

    // Its port is free at last; a stream that breaks in between harms nothing.
    pair.envoy.bad.clear();
    pair.told.refused.clear();
    pair.now += RETRY_INTERVAL;
    assert!(pair.session.poll_delta(pair.now, &mut pair.ledger).is_some());
    pair.reconnect(false);
    pair.settle();
    pair.check_at_rest();
    assert_eq!(pair.answered, Some(Answer { revision, refusals: vec![] }));
    assert_eq!(pair.session.next_timeout(&pair.ledger), None);
}

/// Envoy takes a secret that it was sent last for known, without a look at the files.
#[test]
fn a_refused_secret_is_spelled_otherwise_when_it_is_tried_again() {
    let mut pair = Pair::new();
    pair.put(
        "kind: Listener\nmetadata: { name: shop }\nspec: { protocol: HTTPS, port: 443, tls: { \
         certificateFile: /a, privateKeyFile: /b } }",
    );
    let name = "default/shop/certificate-0";
    let mut compiler = pair.compiler.clone();
    compiler.update(Input { config: pair.config.clone(), ..Input::default() });
    let secret = compiler.world().get(ResourceType::Secret, name).unwrap().clone();
    let bad = (ResourceType::Secret, name.to_owned(), secret.version.to_string());
    pair.envoy.bad.insert(bad);
    pair.publish();
    pair.settle();
    let mut last = secret.body.value.clone();
    for _ in 0..3 {
        pair.now += RETRY_INTERVAL;
        pair.told.refused.clear();
        let response = pair.session.poll_delta(pair.now, &mut pair.ledger).unwrap();
        let [resource] = response.resources.as_slice() else { panic!("{response:?}") };
        let body = resource.resource.as_ref().unwrap().value.clone();
        assert_ne!(body, last);
        let as_written = String::from_utf8_lossy(&body).matches("/./").count() == 0;
        assert_eq!(as_written, body == secret.body.value);
        assert_eq!(resource.version, &*secret.version);
        last = body;
        pair.take(&response);
        pair.settle();
    }
    let refusals = &pair.answered.as_ref().unwrap().refusals;
    assert_eq!(refusals[0].object, Some("Listener/default/shop".parse().unwrap()));
}

#[test]
fn a_refused_cluster_that_a_stand_in_keeps_is_tried_again_when_it_is_put_back() {
    let mut pair = Pair::new();
    pair.service(0, 1, "RoundRobin");
    pair.service(1, 1, "RoundRobin");
    pair.route(0, 0, 0);
    pair.publish();
    pair.settle();
    pair.service(0, 1, "Maglev");
    pair.route(0, 1, 0);
    poison_route(&mut pair, 0);
    let mut compiler = pair.compiler.clone();
    compiler.update(Input { config: pair.config.clone(), ..Input::default() });
    let second = compiler.world().get(ResourceType::Cluster, "default/s0").unwrap();
    let bad = (ResourceType::Cluster, second.name.to_string(), second.version.to_string());
    pair.envoy.bad.insert(bad.clone());
    pair.publish();
    pair.settle();
    pair.check_at_rest();
    pair.config.remove(&"Service/default/s0".parse().unwrap());
    pair.publish();
    pair.settle();
    pair.check_at_rest();
    // What Envoy lacked is there.
    pair.envoy.bad.remove(&bad);
    pair.service(0, 1, "Maglev");
    pair.publish();
    pair.settle();
    pair.check_at_rest();
}
