//! What Envoy refused stays refused over a start without any control node, and what it accepted
//! before is served in its place.

use std::fs;

use dataplane::{DataPlane, admin::Pages};
use model::{AckState, Engine, EngineReport, Refusal, Revision};
use runtime::push::ToPlane;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    control::Control,
    host::{Host, ask, eventually, free_port, nobody, soon, until_answered},
};

/// A program of more than the 100 instructions that Envoy takes, which ours is not told.
const POISON: &str = "/a{500}";

fn listener(port: u16) -> Value {
    json!({
        "kind": "Listener",
        "metadata": {"name": "web"},
        "spec": {"protocol": "HTTP", "port": port},
    })
}

fn route(rule: Value) -> Value {
    json!({
        "kind": "HTTPRoute",
        "metadata": {"name": "hello"},
        "spec": {"listeners": [{"name": "web"}], "hosts": ["shop.example"], "rules": [rule]},
    })
}

fn answers(body: &str) -> Value {
    route(json!({"directResponse": {"status": 200, "body": body}}))
}

/// Starts a backend with one answer and returns its service.
async fn backend(answer: &'static str) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                let length = answer.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n");
                let whole = format!("{head}connection: close\r\n\r\n{answer}");
                // A client that is gone needs no answer.
                let _ = stream.write_all(whole.as_bytes()).await;
            }
        }
    });
    json!({
        "kind": "Service",
        "metadata": {"name": "a"},
        "spec": {"endpoints": [{"address": "127.0.0.1", "port": port}]},
    })
}

fn assert_names_the_regex(refusals: &[Refusal]) {
    let [refusal] = refusals else { panic!("{refusals:?}") };
    assert_eq!(refusal.object, Some("HTTPRoute/default/hello".parse().unwrap()));
    assert_eq!(refusal.field, "spec.rules[0].matches[0].path.regex", "{refusal:?}");
    assert!(refusal.message.contains("program size"), "{refusal:?}");
}

/// What the data plane's own page says that Envoy refuses.
async fn told_refusals(plane: &DataPlane) -> Vec<Refusal> {
    eventually("a report of refusals", async || {
        let engines = plane.status().status()["engines"].take();
        let reports: Vec<EngineReport> = serde_json::from_value(engines).unwrap();
        let envoy = reports.into_iter().find(|report| report.engine == Engine::Envoy)?;
        match envoy.ack {
            AckState::Refused { refusals } => Some(refusals),
            _ => None,
        }
    })
    .await
}

/// How often Envoy has refused, by type, since this process began.
fn refused_responses(plane: &DataPlane) -> Vec<String> {
    let metrics = plane.status().metrics();
    let lines = metrics.lines().filter(|line| line.starts_with("marchproxy_xds_refusals_total{"));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn envoy_gets_the_accepted_version_of_what_it_refused_at_a_cold_start_without_control() {
    let host = Host::new();
    let control = Control::start(&host, "127.0.0.1:0".parse().unwrap());
    let plane = host.start(control.address()).await;
    let mut session = control.session().await;
    let port = free_port();
    let first = route(json!({"backends": [{"service": {"name": "a"}}]}));
    session.push(Revision(1), vec![listener(port), backend("first").await, first]).await;
    assert_eq!(session.answer(Revision(1)).await, AckState::Applied);
    until_answered(port, "first").await;
    let saved = || fs::read(host.place("state/refusals")).ok();
    assert_eq!(saved(), None, "nothing is refused, and nothing is written");

    // The service that the accepted version needs goes with the same revision.
    let second = route(json!({
        "matches": [{"path": {"regex": POISON}}],
        "directResponse": {"status": 200, "body": "second"},
    }));
    let deletes = vec!["Service/default/a".parse().unwrap()];
    let (from, to) = (Revision(1), Revision(2));
    session.write(&ToPlane::Delta { from, to, puts: vec![second], deletes }).await;
    let AckState::Refused { refusals } = session.answer(to).await else { panic!("not refused") };
    assert_names_the_regex(&refusals);
    assert_eq!(ask(port).await.as_deref(), Some("first"), "the accepted version stays");
    let before = refused_responses(&plane);
    assert!(!before.is_empty());

    // What is on disk before the stop is what a crash would leave.
    let on_disk = eventually("the saved refusal", async || saved()).await;
    soon("the stop", plane.stop("test")).await;
    assert_eq!(saved(), Some(on_disk), "the stop writes nothing more");
    drop((session, control));

    let control = nobody();
    let plane = host.start(control).await;
    until_answered(port, "first").await;
    assert_names_the_regex(&told_refusals(&plane).await);
    assert_eq!(refused_responses(&plane), before, "it is not offered again");

    // Control is back with a good version.
    let control = Control::start(&host, control);
    let mut session = control.session().await;
    session.push(Revision(3), vec![listener(port), answers("third")]).await;
    assert_eq!(session.answer(Revision(3)).await, AckState::Applied);
    assert_eq!(ask(port).await.as_deref(), Some("third"));
    soon("the stop", plane.stop("test")).await;

    // The refusal has ended on disk too.
    let plane = host.start(nobody()).await;
    until_answered(port, "third").await;
    assert_eq!(refused_responses(&plane), before);
    soon("the stop", plane.stop("test")).await;
}
