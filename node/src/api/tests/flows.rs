//! The stream of flows: relayed line by line from the data plane's socket.

use model::flow::{FlowQuery, LostEvents, Verdict};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

use super::harness::Node;
use crate::client::ClientError;

const LOST: LostEvents =
    LostEvents { node: model::cluster::NodeId(1), ring: 1, held_back: 0, slow: 0 };

/// Answers the next request with this head and body; returns the request's first line.
pub(super) async fn answer(listener: &UnixListener, head: &str, body: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = vec![0; 4096];
    let length = stream.read(&mut request).await.unwrap();
    let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8_lossy(&request[..length]).lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn lines_of_the_data_plane_become_events_and_its_refusals_errors() {
    let node = Node::start().await;
    let listener = UnixListener::bind(node.run_dir().join("dataplane.sock")).unwrap();
    let client = node.client();
    let lost = serde_json::to_string(&model::flow::FlowMessage::Lost(LOST)).unwrap();
    let lines = format!("{{\"event\":\"flow\"}}\n{lost}\n");
    let query = FlowQuery {
        follow: true,
        service: Some("shop/a b".to_owned()),
        verdict: Some(Verdict::Dropped),
        ..FlowQuery::default()
    };
    let (asked, stream) = tokio::join!(answer(&listener, "200 OK", &lines), client.flows(&query));
    let wanted = "GET /flows?%7B%22follow%22%3Atrue%2C%22service%22%3A%22shop%2Fa%20b%22%2C\
                  %22verdict%22%3A%22dropped%22%7D HTTP/1.1";
    assert_eq!(asked, wanted);
    let mut stream = stream.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!((first.event.as_str(), first.data.as_str()), ("flow", "{\"event\":\"flow\"}"));
    let second = stream.next().await.unwrap().unwrap();
    assert_eq!((second.event.as_str(), second.data), ("lost", lost));
    assert_eq!(stream.next().await.unwrap(), None, "it ends with the data plane's answer");

    let any = FlowQuery::default();
    for (head, status) in [("503 Busy", 503), ("400 Wrong", 400), ("404 Old", 502)] {
        let (_, refused) = tokio::join!(answer(&listener, head, "why\n"), client.flows(&any));
        let Err(ClientError::Api { status: found, body, .. }) = refused else {
            panic!("{head}: {refused:?}");
        };
        assert_eq!(found, status);
        assert!(body.message.ends_with("why"), "{}", body.message);
    }
    node.stop().await;
}
