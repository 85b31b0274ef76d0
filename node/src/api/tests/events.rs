//! The event stream: live revisions, and no gap after a lost connection.

use std::time::Duration;

use model::api::ApplyResponse;

use super::harness::{Node, SHOP};
use crate::client::{
    Client, Request,
    sse::{EventStream, Message},
};

/// The next revision; other events may come between.
async fn revision(stream: &mut EventStream) -> Message {
    let next = async {
        loop {
            let message = stream.next().await.unwrap().expect("the stream goes on");
            if message.event == "revision" {
                return message;
            }
            assert!(message.id.is_empty(), "only revisions can be resumed after");
        }
    };
    tokio::time::timeout(Duration::from_secs(10), next).await.expect("a revision in time")
}

async fn apply(client: &Client, weight: u32) -> String {
    let text = SHOP.replace("weight: 90", &format!("weight: {weight}"));
    let response: ApplyResponse = client.call(Request::post("/v1/apply").yaml(text)).await.unwrap();
    response.revision.to_string()
}

#[tokio::test]
async fn a_caller_that_comes_back_gets_what_it_missed_once_and_in_order() {
    let node = Node::start().await;
    let client = node.client();
    let mut live = client.events(None).await.unwrap();
    let first = apply(&client, 1).await;
    assert_eq!(revision(&mut live).await.id, first);
    drop(live);
    let missed = [apply(&client, 2).await, apply(&client, 3).await];
    let mut resumed = client.events(Some(&first)).await.unwrap();
    let last = apply(&client, 4).await;
    for expected in missed.iter().chain([&last]) {
        assert_eq!(revision(&mut resumed).await.id, *expected);
    }
    let body: serde_json::Value =
        serde_json::from_str(&revision_again(&client, &missed[1], &last).await.data).unwrap();
    assert_eq!(body["revision"].to_string(), last);
    assert_eq!(body["actor"], "admin");
    node.stop().await;
}

/// Resumes after `after` and returns the first revision, which must be `expected`.
async fn revision_again(client: &Client, after: &str, expected: &str) -> Message {
    let message = revision(&mut client.events(Some(after)).await.unwrap()).await;
    assert_eq!(message.id, expected);
    message
}

#[tokio::test]
async fn an_id_that_is_no_revision_is_refused_and_a_stop_ends_the_stream() {
    let node = Node::start().await;
    let client = node.client();
    let raw = node
        .call(http::Method::GET, "/v1/events", Some(&node.admin), &[("last-event-id", "x")], "")
        .await;
    assert_eq!(raw.status, 400);
    let mut stream = client.events(None).await.unwrap();
    let reader = tokio::spawn(async move { while let Ok(Some(_)) = stream.next().await {} });
    node.stop().await;
    tokio::time::timeout(Duration::from_secs(10), reader).await.expect("an end in time").unwrap();
}
