//! The list of endpoints: asked of the data plane's socket, and read before it is passed on.

use model::{
    cluster::NodeId,
    traffic::{EndpointList, EndpointState, EndpointTraffic, TrafficCounters},
};
use tokio::net::UnixListener;

use super::{flows::answer, harness::Node, schema::differences};
use crate::api::openapi::document;

#[tokio::test]
async fn a_list_of_the_data_plane_is_passed_on_and_nothing_else_is() {
    let node = Node::start().await;
    let listener = UnixListener::bind(node.run_dir().join("dataplane.sock")).unwrap();
    let counters = TrafficCounters {
        connections: 1,
        packets_in: 2,
        bytes_in: 104,
        packets_out: 3,
        bytes_out: 156,
    };
    let endpoint = |counters| EndpointTraffic {
        endpoint: "[2001:db8::9]:80".parse().unwrap(),
        state: EndpointState::Draining,
        listeners: vec!["Listener/default/web".parse().unwrap()],
        services: vec!["Service/shop/cart".parse().unwrap()],
        counters,
    };
    let list = EndpointList {
        node: NodeId(1),
        revision: model::Revision(9),
        endpoints: vec![endpoint(Some(counters)), endpoint(None)],
    };
    let text = serde_json::to_string(&list).unwrap();
    let path = "/v1/endpoints?service=shop%2Fcart&listener=web";
    let (asked, answered) = tokio::join!(answer(&listener, "200 OK", &text), node.get(path));
    let wanted = "GET /endpoints?%7B%22service%22%3A%22shop%2Fcart%22%2C%22listener%22%3A%22web%22%7D \
                  HTTP/1.1";
    assert_eq!(asked, wanted);
    assert_eq!(answered.status, 200);
    let document = document();
    let schema = &document["components"]["schemas"]["EndpointList"];
    assert_eq!(differences(&document, schema, &answered.json()), Vec::<String>::new());
    assert_eq!(serde_json::from_value::<EndpointList>(answered.json()).unwrap(), list);

    for (head, body, status) in [
        ("200 OK", "{\"node\":1}", 502),
        ("503 Busy", "XDP runs nothing", 503),
        ("404 Old", "there is no such page", 502),
    ] {
        let (_, refused) = tokio::join!(answer(&listener, head, body), node.get("/v1/endpoints"));
        assert_eq!(refused.status, status, "{head}: {}", refused.json());
    }
    node.stop().await;
}
