//! Writes: what comes back, what is refused, and that a repeated write is done once.

use std::net::TcpListener;

use http::Method;
use model::api::{ApplyResponse, HistoryResponse, ObjectList};
use serde_json::Value;

use super::harness::{Node, SHOP};
use crate::{
    client::{Client, ClientError, Context, Request},
    control::{ApplyError, ApplyOptions},
};

#[tokio::test]
async fn an_apply_a_diff_a_deletion_and_a_rollback() {
    let node = Node::start().await;
    let client = node.client();
    let first: ApplyResponse = client
        .call(Request::post("/v1/apply").query("message", "why & how").yaml(SHOP))
        .await
        .unwrap();
    assert!(!first.dry_run && first.objects.len() > 5);
    let again: ApplyResponse = client.call(Request::post("/v1/apply").yaml(SHOP)).await.unwrap();
    assert_eq!(again.revision, first.revision, "nothing changed, so nothing was written");

    let changed = SHOP.replace("weight: 90", "weight: 80");
    let diff = node.post("/v1/diff", changed.clone()).await.json();
    assert_eq!(diff["objects"].as_array().unwrap().len(), 1, "{diff}");
    assert_eq!(diff["objects"][0]["object"], "HTTPRoute/default/shop");
    assert_eq!(diff["objects"][0]["fields"][0]["old"], 90);
    assert_eq!(diff["objects"][0]["fields"][0]["new"], 80);

    let second: ApplyResponse =
        client.call(Request::post("/v1/apply").yaml(changed)).await.unwrap();
    let detail = node.get(&format!("/v1/history/{}", second.revision)).await.json();
    assert_eq!(detail["changes"], diff["objects"]);

    let stored = node.get("/v1/objects/httproute/default/shop").await;
    assert_eq!(stored.json()["status"]["revision"], second.revision.0);
    assert_eq!(stored.headers["x-marchproxy-revision"], second.revision.to_string().as_str());
    assert_eq!(stored.headers["etag"], format!("\"{}\"", second.revision).as_str());

    let rollback = Request::post("/v1/rollback")
        .json(&model::api::RollbackRequest { revision: first.revision });
    let third: ApplyResponse = client.call(rollback).await.unwrap();
    assert!(third.revision > second.revision);
    let history: HistoryResponse = client.call(Request::get("/v1/history")).await.unwrap();
    let revisions: Vec<_> = history.entries.iter().map(|entry| entry.revision).collect();
    assert_eq!(revisions, [third.revision, second.revision, first.revision]);
    assert_eq!(history.entries[2].message, "why & how");
    assert_eq!(history.entries[2].actor, "admin");

    client.send(&Request::delete("/v1/objects/udproute/default/ticks")).await.unwrap();
    let left: ObjectList = client.call(Request::get("/v1/objects/udproutes")).await.unwrap();
    assert!(left.objects.is_empty());
    node.stop().await;
}

const DENY_ALL: &str =
    "kind: PacketFilter\nmetadata: { name: edge }\nspec: { rules: [{ action: Deny }] }\n";

#[tokio::test]
async fn a_filter_that_would_cut_off_its_writer_needs_force_and_the_history_tells() {
    let node = Node::start().await;
    let control = &node.running.control;
    let filter = || model::parse::parse_documents(DENY_ALL).unwrap();
    let caller = ("192.0.2.9".parse().unwrap(), "10.0.0.1:7800".parse().unwrap());
    let options = ApplyOptions {
        actor: "admin".to_owned(),
        message: "close it".to_owned(),
        caller: Some(caller),
        ..ApplyOptions::default()
    };
    let refused = control.apply(filter(), options.clone()).await.unwrap_err();
    let ApplyError::LockOut(errors) = &refused else { panic!("{refused}") };
    assert_eq!(errors.0.len(), 1);
    assert_eq!(errors.0[0].path, "spec.rules[0]");
    assert!(errors.0[0].message.contains("192.0.2.9"), "{errors}");
    assert!(node.get("/v1/history").await.json()["entries"].as_array().unwrap().is_empty());

    let forced = ApplyOptions { force: true, ..options.clone() };
    let response = control.apply(filter(), forced).await.unwrap();
    assert_eq!(response.forced, errors.0);
    let entry = node.get("/v1/history").await.json()["entries"][0].clone();
    assert_eq!(entry["message"], "close it [forced: cuts off the cluster or the caller]");
    // What is there already needs no force again, nor does its removal.
    let more = DENY_ALL.replace("[{ action: Deny }]", "[{ action: Deny }, { action: Deny }]");
    let more = model::parse::parse_documents(&more).unwrap();
    assert!(control.apply(more, options.clone()).await.unwrap().forced.is_empty());
    let key = "PacketFilter/default/edge".parse().unwrap();
    assert!(control.delete(vec![key], options).await.unwrap().forced.is_empty());
    node.stop().await;
}

#[tokio::test]
async fn a_caller_on_the_node_itself_is_not_cut_off() {
    let node = Node::start().await;
    let answer = node.post("/v1/apply?force=true", DENY_ALL).await;
    assert_eq!(answer.status, 200);
    assert!(answer.json().get("forced").is_none(), "{:?}", answer.json());
    node.stop().await;
}

#[tokio::test]
async fn refusals_name_every_error_and_write_nothing() {
    let node = Node::start().await;
    let bad = SHOP.replace("port: 8080", "port: 0").replace("weight: 90", "weight: many");
    let raw = node.post("/v1/apply", bad).await;
    assert_eq!((raw.status.as_u16(), raw.code().as_str()), (422, "invalid"));
    let errors = raw.json()["errors"].as_array().unwrap().clone();
    let paths: Vec<&str> = errors.iter().filter_map(|error| error["path"].as_str()).collect();
    assert!(paths.contains(&"spec.port"), "{paths:?}");
    assert!(paths.iter().any(|path| path.ends_with(".weight")), "{paths:?}");

    let revision = node.get("/v1/status").await.json()["revision"].clone();
    let conflict = node.post("/v1/apply?expectRevision=12345", SHOP).await;
    assert_eq!((conflict.status.as_u16(), conflict.code().as_str()), (409, "conflict"));
    let not_text = node.post("/v1/apply", &b"\xff\xfe"[..]).await;
    assert_eq!(not_text.status, 400);
    let long = format!("/v1/apply?message={}", "x".repeat(1025));
    assert_eq!(node.post(&long, SHOP).await.status, 400);
    let large = vec![b'#'; crate::api::BODY_BYTES_MAX + 1];
    assert_eq!(node.post("/v1/apply", large).await.status, 413);
    assert_eq!(node.get("/v1/history").await.json()["entries"], Value::Array(vec![]));
    assert_eq!(node.get("/v1/status").await.json()["revision"], revision);
    node.stop().await;
}

#[tokio::test]
async fn a_write_that_is_repeated_under_its_key_is_done_once() {
    let node = Node::start().await;
    let key = [("idempotency-key", "one-apply")];
    let send = async |path: &str, body: &str| {
        node.call(Method::POST, path, Some(&node.admin), &key, body.to_owned()).await
    };
    // The condition held when the first one was done, and no longer holds.
    let path = "/v1/apply?expectRevision=0";
    let first = send(path, SHOP).await;
    assert_eq!(first.status, 200, "{:?}", first.json());
    let again = send(path, SHOP).await;
    assert_eq!(again.status, 200, "{:?}", again.json());
    assert_eq!(first.json()["revision"], again.json()["revision"]);
    assert_eq!(node.get("/v1/history").await.json()["entries"].as_array().unwrap().len(), 1);
    node.stop().await;
}

#[tokio::test]
async fn the_client_asks_the_next_server_and_names_those_that_are_down() {
    let node = Node::start().await;
    // A port that was free a moment ago: nobody listens.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let context = node.context(&node.admin);
    let both =
        Context { servers: vec![free.into(), context.servers[0].clone()], ..context.clone() };
    let client = Client::new(&both).unwrap();
    let _: Value = client.call(Request::get("/v1/status")).await.unwrap();
    let written: ApplyResponse = client.call(Request::post("/v1/apply").yaml(SHOP)).await.unwrap();
    assert!(written.revision.0 > 0);

    let down = Client::new(&Context { servers: vec![free.into()], ..context.clone() }).unwrap();
    let error = down.send(&Request::get("/v1/status")).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }));
    let text = error.to_string();
    assert!(text.contains(&free.to_string()) && text.contains("marchproxy up"), "{text}");

    let other_pin = "A".repeat(43).parse().unwrap();
    let stranger = Client::new(&Context { ca_pin: other_pin, ..context }).unwrap();
    let error = stranger.send(&Request::get("/v1/status")).await.unwrap_err().to_string();
    assert!(error.contains("pin"), "{error}");
    node.stop().await;
}
