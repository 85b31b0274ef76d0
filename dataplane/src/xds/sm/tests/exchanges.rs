//! What is sent in which order, and when it is answered for.

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::pair::Pair;
use crate::{l7::ResourceType, xds::cluster_use::LINGER};

fn urls(pair: &mut Pair) -> Vec<(ResourceType, usize, usize)> {
    let mut order = Vec::new();
    loop {
        if let Some(response) = pair.session.poll_delta(pair.now, &mut pair.ledger) {
            let kind = ResourceType::of_type_url(&response.type_url).unwrap();
            order.push((kind, response.resources.len(), response.removed_resources.len()));
            pair.envoy.take(&response, &pair.known);
        } else if let Some(request) = pair.envoy.outbox.pop_front() {
            pair.session.handle_request(pair.now, &request, &mut pair.ledger);
        } else {
            return order;
        }
    }
}

#[test]
fn what_is_new_goes_cluster_endpoints_route_and_leaves_in_reverse() {
    let mut pair = Pair::new();
    pair.service(1, 1, "RoundRobin");
    pair.route(1, 1, 1);
    pair.publish();
    use ResourceType::{Cluster, Endpoints, ScopedRoute};
    assert_eq!(urls(&mut pair), [(Cluster, 1, 0), (Endpoints, 1, 0), (ScopedRoute, 1, 0)]);
    pair.config.remove(&"Service/default/s1".parse().unwrap());
    pair.config.remove(&"HTTPRoute/default/r1".parse().unwrap());
    pair.publish();
    assert_eq!(urls(&mut pair), [(ScopedRoute, 0, 1)], "the cluster lingers");
    assert_eq!(pair.session.next_timeout(&pair.ledger), Some(pair.now + LINGER));
    pair.now += LINGER;
    assert_eq!(urls(&mut pair), [(Cluster, 0, 1)]);
    assert_eq!(pair.session.next_timeout(&pair.ledger), None);
}

#[test]
fn a_changed_cluster_gets_its_endpoints_again() {
    let mut pair = Pair::new();
    pair.service(1, 1, "RoundRobin");
    pair.publish();
    pair.settle();
    pair.service(1, 1, "Maglev");
    pair.publish();
    use ResourceType::{Cluster, Endpoints};
    assert_eq!(urls(&mut pair), [(Cluster, 1, 0), (Endpoints, 1, 0)]);
}

#[test]
fn changes_in_flight_are_coalesced_and_answered_for() {
    let mut pair = Pair::new();
    pair.service(1, 1, "RoundRobin");
    pair.publish();
    pair.settle();
    for port in 2..100 {
        pair.service(1, port, "RoundRobin");
        pair.publish();
        if port == 2 {
            let response = pair.session.poll_delta(pair.now, &mut pair.ledger).unwrap();
            pair.envoy.take(&response, &pair.known);
        } else {
            assert!(pair.session.poll_delta(pair.now, &mut pair.ledger).is_none());
        }
    }
    let before = pair.envoy.resources;
    pair.settle();
    assert_eq!(pair.envoy.resources - before, 1);
    assert_eq!(pair.answered.as_ref().map(|answer| answer.revision), Some(pair.config.revision()));
}

#[test]
fn a_missing_name_is_answered_at_once_and_a_name_asked_again_is_sent_again() {
    let mut pair = Pair::new();
    pair.service(1, 1, "RoundRobin");
    pair.publish();
    pair.settle();
    let ask = |pair: &mut Pair, name: &str| {
        pair.envoy.ask(ResourceType::Endpoints, vec![name.into()], vec![]);
        urls(pair)
    };
    assert_eq!(ask(&mut pair, "default/none"), [(ResourceType::Endpoints, 0, 1)]);
    assert_eq!(ask(&mut pair, "default/s1"), [(ResourceType::Endpoints, 1, 0)]);
}

#[test]
fn a_stale_nonce_acknowledges_nothing_but_its_subscriptions_count() {
    let mut pair = Pair::new();
    pair.service(1, 1, "RoundRobin");
    pair.publish();
    let response = pair.session.poll_delta(pair.now, &mut pair.ledger).unwrap();
    let stale = DeltaDiscoveryRequest {
        type_url: ResourceType::Endpoints.type_url().into(),
        response_nonce: "0".into(),
        resource_names_subscribe: vec!["default/s1".into()],
        ..Default::default()
    };
    pair.session.handle_request(pair.now, &stale, &mut pair.ledger);
    let second = pair.session.poll_delta(pair.now, &mut pair.ledger).unwrap();
    assert_eq!(second.resources[0].name, "default/s1");
    let stale = DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: "0".into(),
        ..Default::default()
    };
    pair.session.handle_request(pair.now, &stale, &mut pair.ledger);
    pair.service(2, 1, "RoundRobin");
    pair.publish();
    assert!(pair.session.poll_delta(pair.now, &mut pair.ledger).is_none(), "still in flight");
}

#[test]
fn a_listener_is_answered_for_when_it_is_listened_on() {
    let mut pair = Pair::new();
    pair.envoy.slow_to_open = true;
    let put = |pair: &mut Pair, port: u16| {
        pair.put(&format!(
            "kind: Listener\nmetadata: {{ name: new }}\nspec: {{ protocol: HTTP, port: {port} }}"
        ));
        pair.publish()
    };
    let answered = |pair: &mut Pair| {
        if let Some(answer) = pair.session.poll_answer(&pair.ledger) {
            pair.answered = Some(answer);
        }
        pair.answered.as_ref().map(|answer| answer.revision)
    };
    let first = put(&mut pair, 81);
    pair.settle();
    assert!(answered(&mut pair) < Some(first));
    let asked = pair.session.opening().expect("it opens");
    pair.session.handle_listening(asked, &["default/web".to_owned()].into());
    assert!(answered(&mut pair) < Some(first), "another one listens");
    pair.listen();
    assert_eq!(answered(&mut pair), Some(first));
    assert_eq!(pair.session.opening(), None);

    // What was asked before a change was accepted tells nothing of the change.
    let second = put(&mut pair, 82);
    pair.settle();
    pair.session.handle_listening(asked, &["default/new".to_owned()].into());
    assert_eq!(answered(&mut pair), Some(first));
    pair.listen();
    assert_eq!(answered(&mut pair), Some(second));

    // What stood before a listener is answered for meanwhile, and one that goes is not waited for.
    pair.service(1, 1, "RoundRobin");
    let third = pair.publish();
    put(&mut pair, 83);
    pair.settle();
    assert_eq!(answered(&mut pair), Some(third));
    pair.config.remove(&"Listener/default/new".parse().unwrap());
    let last = pair.publish();
    pair.settle();
    assert_eq!(answered(&mut pair), Some(last));
}

#[test]
fn a_new_stream_is_answered_for_when_its_collections_were_asked_for() {
    let mut pair = Pair::new();
    pair.service(0, 1, "RoundRobin");
    pair.route(0, 0, 0);
    pair.publish();
    pair.settle();
    pair.reconnect(false);
    pair.route(0, 0, 1);
    let revision = pair.publish();
    let has_it = |pair: &Pair| {
        let world = pair.compiler.world();
        world.of_kind(ResourceType::ScopedRoute).all(|(name, resource)| {
            let held = &pair.envoy.held[ResourceType::ScopedRoute as usize];
            held.get(&**name).is_some_and(|version| **version == *resource.version)
        })
    };
    let answered = |pair: &mut Pair| {
        pair.session.poll_answer(&pair.ledger).is_some_and(|answer| answer.revision == revision)
    };
    while let Some(request) = pair.envoy.outbox.pop_front() {
        pair.session.handle_request(pair.now, &request, &mut pair.ledger);
        pair.listen();
        while let Some(response) = pair.session.poll_delta(pair.now, &mut pair.ledger) {
            pair.envoy.take(&response, &pair.known);
        }
        assert!(!answered(&mut pair) || has_it(&pair), "answered for too early");
    }
    assert!(has_it(&pair));
}

/// Envoy acknowledges no cluster while one warms, and a changed one warms until it has endpoints.
#[test]
fn endpoints_and_secrets_follow_a_changed_cluster_before_it_is_acknowledged() {
    let mut pair = Pair::new();
    pair.encrypted(1, 1);
    pair.publish();
    pair.settle();
    pair.put(
        "kind: Service\nmetadata: { name: s1 }\nspec: { endpoints: [{ address: 10.0.0.1, port: 1 }], \
         connectTimeout: 1s, tls: { serverName: a.example, certificateFile: /c1.pem, privateKeyFile: \
         /k.pem } }",
    );
    pair.publish();
    let mut sent = Vec::new();
    while let Some(response) = pair.session.poll_delta(pair.now, &mut pair.ledger) {
        let names: Vec<String> = response.resources.iter().map(|one| one.name.clone()).collect();
        sent.push((ResourceType::of_type_url(&response.type_url).unwrap(), names));
    }
    assert_eq!(
        sent,
        [
            (ResourceType::Cluster, vec!["default/s1".to_owned()]),
            (ResourceType::Endpoints, vec!["default/s1".to_owned()]),
            (
                ResourceType::Secret,
                vec!["default/s1/client-certificate".into(), "default/s1/trusted-ca".into()]
            ),
        ]
    );
}
