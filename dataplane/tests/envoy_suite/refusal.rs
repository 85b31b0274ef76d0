//! What Envoy refuses is reported by object and field, and harms nothing else.

use std::{sync::Arc, time::Duration};

use model::{Refusal, Spec, route::PathMatch};

use crate::{
    backend::Backend,
    client::get,
    plane::{DEADLINE, Plane, eventually, free_port, http_listener, route, service, to},
};

/// RE2 takes at most 1,000 repetitions.
const POISON: &str = "/a{1001}";

/// Puts a regex that validation may know to be bad past it.
fn poison(plane: &mut Plane, name: &str) {
    let key = format!("HTTPRoute/default/{name}").parse().unwrap();
    let mut object = (**plane.config.get(&key).unwrap()).clone();
    let Spec::HttpRoute(route) = &mut object.spec else { panic!("{name} is a route") };
    route.rules[0].matches[0].path = PathMatch::Regex(POISON.into());
    plane.config.put(Arc::new(object));
}

fn assert_names_the_regex(refusals: &[Refusal], name: &str) {
    let [refusal] = refusals else { panic!("{refusals:?}") };
    assert_eq!(refusal.object, Some(format!("HTTPRoute/default/{name}").parse().unwrap()));
    assert_eq!(refusal.field, "spec.rules[0].matches[0].path.regex", "{refusal:?}");
    assert!(refusal.resource.starts_with("ScopedRouteConfiguration "), "{refusal:?}");
    assert!(refusal.message.contains("repetition"), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_poisoned_regex_is_named_and_the_running_config_stays() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = free_port();
    let config = http_listener(port)
        + &service("a", &[a.port])
        + &service("b", &[b.port])
        + &route("bad", "bad.example", &to("a"))
        + &route("good", "good.example", &to("a"));
    let mut plane = Plane::with(&config).await;

    // One revision holds the poison, a repoint of the same route, and two good changes.
    for object in model::parse::parse_documents(
        &(route("bad", "bad.example", &to("b"))
            + &route("good", "good.example", &to("b"))
            + &route("new", "new.example", &to("b"))),
    )
    .unwrap()
    {
        plane.config.put(Arc::new(object));
    }
    poison(&mut plane, "bad");
    let revision = plane.next();
    assert_names_the_regex(&plane.refused(revision).await, "bad");
    assert_eq!(get(port, "bad.example", "/").await.backend(), "a", "the running config stays");
    assert_eq!(get(port, "good.example", "/").await.backend(), "b", "the others are applied");
    assert_eq!(get(port, "new.example", "/").await.backend(), "b");

    // Other changes flow, and the refusal stays in the answer; nothing refused is sent again.
    let (before, _) = plane.sent();
    let revision = plane.publish(&route("later", "later.example", &to("a")));
    assert_names_the_regex(&plane.refused(revision).await, "bad");
    assert_eq!(plane.sent().0 - before, 1, "the new scope and nothing else");
    assert_eq!(get(port, "later.example", "/").await.backend(), "a");

    // The next good change of the same object takes effect.
    plane.apply(&route("bad", "bad.example", &to("b"))).await;
    assert_eq!(get(port, "bad.example", "/").await.backend(), "b");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_restarted_envoy_gets_the_accepted_versions() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = free_port();
    let config = http_listener(port)
        + &service("a", &[a.port])
        + &service("b", &[b.port])
        + &route("bad", "bad.example", &to("a"));
    let mut plane = Plane::with(&config).await;
    for object in model::parse::parse_documents(&route("bad", "bad.example", &to("b"))).unwrap() {
        plane.config.put(Arc::new(object));
    }
    // The service that the accepted version needs goes with the same revision.
    assert!(plane.config.remove(&"Service/default/a".parse().unwrap()));
    poison(&mut plane, "bad");
    let revision = plane.next();
    assert_names_the_regex(&plane.refused(revision).await, "bad");
    let pid = plane.pid();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    eventually("another envoy", async || (plane.pid() != pid).then_some(())).await;
    let served = eventually("the route of before", async || {
        let mut client = crate::client::Client::connect(port).await?;
        client.get("bad.example", "/").await
    })
    .await;
    assert_eq!(served.backend(), "a");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_taken_port_is_named_and_other_listeners_work() {
    let a = Backend::start("a").await;
    let occupant = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, taken) = (free_port(), occupant.local_addr().unwrap().port());
    let config = http_listener(port)
        + "---\n"
        + &http_listener(taken).replace("name: web", "name: taken")
        + &service("a", &[a.port])
        + &route("r", "shop.example", &to("a"));
    let mut plane = Plane::start().await;
    let revision = plane.publish(&config);
    let refusals = plane.refused(revision).await;
    let [refusal] = refusals.as_slice() else { panic!("{refusals:?}") };
    assert_eq!(refusal.object, Some("Listener/default/taken".parse().unwrap()));
    assert_eq!(refusal.field, "spec.port", "{refusal:?}");
    assert!(refusal.message.contains("in use") || refusal.message.contains("bind"), "{refusal:?}");
    let answer = eventually("the other listener", async || {
        crate::client::Client::connect(port).await?.get("shop.example", "/").await
    })
    .await;
    assert_eq!(answer.backend(), "a");
    // Bounded: the refused listener is not tried over and over.
    let (before, _) = plane.sent();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(plane.sent().0, before);

    // It is tried again in time, and works as soon as the port is free.
    drop(occupant);
    let mut report = plane.report();
    let applied = report.wait_for(|report| {
        report.as_ref().is_some_and(|report| report.ack == model::AckState::Applied)
    });
    tokio::time::timeout(DEADLINE, applied).await.expect("a retry").unwrap();
    assert!(crate::client::Client::connect(taken).await.is_some());
    plane.stop().await;
}
