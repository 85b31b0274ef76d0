//! Rollouts, seen by a data plane that is held back and by who follows the events.

use std::time::SystemTime;

use bytes::Bytes;
use model::{ObjectKey, api::Event, rollout::Phase};
use node::control::{ApplyOptions, Control, Spread};
use runtime::push::{Material, ToPlane};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::{
    cluster::{Cluster, DEADLINE, eventually, service},
    push::Plane,
};

/// Its step names a node that there is not, so all are held back.
const POLICY: &str =
    "kind: RolloutPolicy\nmetadata: { name: held }\nspec: { steps: [{ nodes: [nobody] }] }\n";
const ISSUER: &str = "kind: Issuer\nmetadata: { name: own }\nspec: { internal: {} }\n";

fn certificate(name: &str, host: &str) -> String {
    format!(
        "kind: Certificate\nmetadata: {{ name: {name} }}\nspec: {{ issuer: {{ name: own }}, hosts: [{host}] }}\n"
    )
}

async fn apply(control: &Control, documents: &[String], all_at_once: bool) {
    let objects = model::parse::parse_documents(&documents.join("---\n")).unwrap();
    let spread = if all_at_once { Spread::AtOnce } else { Spread::ByPolicy };
    let options = ApplyOptions { actor: "test".to_owned(), spread, ..ApplyOptions::default() };
    control.apply(objects, options).await.unwrap();
}

/// What the store has of a certificate.
async fn stored(control: &Control, name: &str) -> Option<Bytes> {
    let view = control.consensus().read(consensus::Consistency::Stale).await.unwrap();
    let key = format!("certificates/default/{name}");
    view.get(&key).map(|stored| stored.value.clone())
}

async fn put(control: &Control, key: &str, value: Bytes) {
    let write = consensus::Op::Put { key: key.to_owned(), value };
    let transaction = consensus::Transaction::new("test", "", vec![write]);
    control.consensus().propose(transaction).await.unwrap();
}

fn is_for(material: &Material, host: &str) -> bool {
    let shown = CertificateDer::from_pem_slice(material.chain.as_bytes()).unwrap();
    shown.windows(host.len()).any(|part| part == host.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_held_back_gets_the_certificates_that_it_asks_for_and_the_others_later() {
    let mut cluster = Cluster::new(23);
    cluster.up(1).await;
    let control = cluster.control(1).clone();
    let first = [ISSUER.to_owned(), certificate("a", "a.example"), certificate("b", "b.example")];
    apply(&control, &first, false).await;
    for name in ["a", "b"] {
        eventually(async || stored(&control, name).await).await;
    }
    apply(&control, &[POLICY.to_owned()], true).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let challenge = format!(
        r#"{{"host":"a.example","key_authorization":"t.x","by_handshake":false,"at_ms":{now}}}"#
    );
    put(&control, "acme/challenges/t", challenge.into()).await;
    let mut plane = Plane::connect(&control, None).await;
    let mut came = Vec::new();
    let mut challenged = false;
    while came.len() < 2 {
        match plane.any().await {
            ToPlane::Challenges { challenges } => challenged = challenges.contains_key("t"),
            ToPlane::Certificate(material) => {
                assert!(challenged, "what an authority waits for comes first");
                came.push(material.certificate.name);
            }
            _ => {}
        }
    }
    assert_eq!(came, ["a", "b"]);

    // One that changes is issued at once, for a configuration that the node does not have.
    let before = stored(&control, "a").await;
    apply(&control, &[certificate("a", "new.example")], false).await;
    eventually(async || (stored(&control, "a").await != before).then_some(())).await;
    // One that is renewed comes, held back or not.
    put(&control, "certificates/default/b", stored(&control, "b").await.unwrap()).await;
    let ToPlane::Certificate(material) = plane.next().await else { panic!("what is renewed") };
    assert!(is_for(&material, "b.example"), "{material:?}");
    // The end of the rollout brings both.
    apply(&control, &[service_document("s")], true).await;
    let ToPlane::Delta { puts, .. } = plane.next().await else { panic!("what was held back") };
    assert_eq!(puts.len(), 2);
    let ToPlane::Certificate(material) = plane.next().await else { panic!("what was withheld") };
    let expected: ObjectKey = "Certificate/default/a".parse().unwrap();
    assert!(material.certificate == expected && is_for(&material, "new.example"));
    plane.close().await;
    cluster.shutdown().await;
}

fn service_document(name: &str) -> String {
    serde_json::to_string(&service(name, 80).to_value()).unwrap() + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_of_a_rollout_from_its_begin_to_its_end() {
    let mut cluster = Cluster::new(24);
    cluster.up(1).await;
    let control = cluster.control(1).clone();
    apply(&control, &[POLICY.to_owned()], true).await;
    let mut events = control.events();
    apply(&control, &[service_document("a")], false).await;
    let target = control.snapshot(consensus::Consistency::Stale).await.unwrap().revision();
    let mut heard = Vec::new();
    let mut until = async |phase: Phase| {
        let end = async {
            loop {
                if let Event::Rollout(rollout) = events.recv().await.unwrap() {
                    heard.push((rollout.phase, rollout.step));
                    if rollout.phase == phase {
                        return rollout;
                    }
                }
            }
        };
        tokio::time::timeout(DEADLINE, end).await.expect("it is told")
    };
    let begun = until(Phase::Running).await;
    assert_eq!((begun.target, begun.step), (target, None));
    control.pause_rollout("test", true).await.unwrap();
    until(Phase::Paused).await;
    control.abort_rollout("test", "a mistake").await.unwrap();
    let over = until(Phase::Aborted).await;
    assert!(over.target == target && over.reason.contains("a mistake"), "{over:?}");
    // The first step was told of, too: of its nodes there is none.
    assert!(heard.contains(&(Phase::Running, None)), "{heard:?}");
    cluster.shutdown().await;
}
