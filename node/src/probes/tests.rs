//! Real probes of loopback servers, and the death of a target.

use std::time::Duration;

use tokio::net::TcpListener;

use super::{
    verdict::tests::{service, snapshot},
    *,
};

const DEADLINE: Duration = Duration::from_secs(20);

async fn until(results: &Results, mut wanted: impl FnMut(&HealthUpdate) -> bool) {
    let mut update = results.subscribe();
    let seen = update.wait_for(|update| update.as_ref().is_some_and(&mut wanted));
    tokio::time::timeout(DEADLINE, seen).await.expect("in time").expect("results live");
}

#[tokio::test]
async fn a_closed_port_leaves_the_set_comes_back_and_all_closed_is_panic() {
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let flapping = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (steady, address) = (open.local_addr().unwrap(), flapping.local_addr().unwrap());
    let texts = [steady.to_string(), address.to_string()];
    let addresses: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (publish, configuration) = watch::channel(snapshot(vec![service("a", &addresses, true)]));
    let results = Results::new();
    let (events, mut heard) = broadcast::channel(64);
    let arguments = ProbesArguments { configuration, results: results.clone(), events };
    let (actor, join) = Actor::spawn(None, Probes, arguments).await.unwrap();

    drop(flapping);
    until(&results, |update| update.unhealthy.iter().any(|e| e.address == address)).await;
    assert!(matches!(heard.recv().await.unwrap(), Event::Health(_)));
    assert!(results.panicking().is_empty());

    drop(open);
    until(&results, |update| update.panicking.len() == 1 && update.unhealthy.is_empty()).await;

    let flapping = TcpListener::bind(address).await.unwrap();
    until(&results, |update| {
        update.panicking.is_empty() && update.unhealthy.iter().all(|e| e.address == steady)
    })
    .await;

    // A service that is gone has no health.
    publish.send_replace(snapshot(Vec::new()));
    until(&results, |update| update.unhealthy.is_empty()).await;
    assert!(results.endpoints().is_empty());
    drop(flapping);
    actor.stop(None);
    join.await.unwrap();
}

#[tokio::test]
async fn a_killed_target_is_started_again_and_goes_on_probing() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap().to_string();
    let (_publish, configuration) = watch::channel(snapshot(vec![service("a", &[&address], true)]));
    let results = Results::new();
    let (events, mut heard) = broadcast::channel(64);
    let arguments = ProbesArguments { configuration, results: results.clone(), events };
    let (actor, join) = Actor::spawn(None, Probes, arguments).await.unwrap();
    heard.recv().await.unwrap();
    let children = actor.get_cell().get_children();
    assert_eq!(children.len(), 1);
    children[0].kill();
    drop(server);
    until(&results, |update| update.panicking.len() == 1).await;
    assert_ne!(actor.get_cell().get_children()[0].get_id(), children[0].get_id());
    actor.stop(None);
    join.await.unwrap();
}

#[tokio::test]
async fn nothing_is_told_before_every_target_has_a_verdict() {
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let texts = [open.local_addr().unwrap().to_string(), closed.to_string()];
    let addresses: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (_publish, configuration) = watch::channel(snapshot(vec![service("a", &addresses, true)]));
    let results = Results::new();
    let mut update = results.subscribe();
    let (events, _heard) = broadcast::channel(64);
    let arguments = ProbesArguments { configuration, results: results.clone(), events };
    let (actor, join) = Actor::spawn(None, Probes, arguments).await.unwrap();
    // The first thing that is told knows of the dead endpoint already.
    let told = tokio::time::timeout(DEADLINE, update.changed()).await;
    told.expect("in time").expect("results live");
    let first = update.borrow_and_update().clone().expect("an update");
    assert_eq!(first.unhealthy.len(), 1, "{first:?}");
    actor.stop(None);
    join.await.unwrap();
}
