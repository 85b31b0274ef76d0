//! What was pushed is served through Envoy's death and a start without any control node.

use dataplane::Changed;
use model::{AckState, Revision};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use runtime::push::ToPlane;
use serde_json::{Value, json};

use crate::{
    control::Control,
    host::{Host, ask, eventually, free_port, nobody, soon, until_answered},
};

fn objects(port: u16, answer: &str) -> Vec<Value> {
    let listener = json!({
        "kind": "Listener",
        "metadata": {"name": "web"},
        "spec": {"protocol": "HTTP", "port": port},
    });
    let route = json!({
        "kind": "HTTPRoute",
        "metadata": {"name": "hello"},
        "spec": {
            "listeners": [{"name": "web"}],
            "hosts": ["shop.example"],
            "rules": [{"directResponse": {"status": 200, "body": answer}}],
        },
    });
    vec![listener, route]
}

#[tokio::test]
async fn envoy_serves_what_is_pushed_through_its_own_death_and_a_cold_start_without_control() {
    let host = Host::new();
    let control = Control::start(&host, "127.0.0.1:0".parse().unwrap());
    let plane = host.start(control.address()).await;
    let mut session = control.session().await;
    let port = free_port();
    session.push(Revision(5), objects(port, "first")).await;
    assert_eq!(session.answer(Revision(5)).await, AckState::Applied);
    until_answered(port, "first").await;

    // A change reaches Envoy, and is acknowledged in the same session.
    let puts = objects(port, "second");
    let delta = ToPlane::Delta { from: Revision(5), to: Revision(6), puts, deletes: vec![] };
    session.write(&delta).await;
    until_answered(port, "second").await;

    // Envoy dies and comes back with the accepted configuration.
    let first = host.envoy_pid().expect("Envoy's pid");
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    let mut actors = plane.supervisor().status();
    let restarted =
        actors.wait_for(|all| all.iter().any(|child| child.name == "envoy" && child.restarts == 1));
    soon("the restart", restarted).await.unwrap();
    until_answered(port, "second").await;
    assert_ne!(host.envoy_pid(), Some(first));
    // One to try changes on stands ready before anybody asks.
    let canary = host.place("run/preflight/envoy.pid");
    eventually("the canary", async || canary.exists().then_some(())).await;

    // All control is gone, and the data plane starts cold from its disk.
    soon("the stop", plane.stop("test")).await;
    assert_eq!(ask(port).await, None, "a stopped data plane leaves no Envoy behind");
    drop((session, control));
    let plane = host.start(nobody()).await;
    let desired = plane.desired().borrow().clone();
    assert_eq!((desired.revision, desired.changed), (Revision(6), Changed::Restored));
    until_answered(port, "second").await;
    soon("the stop", plane.stop("test")).await;
}
