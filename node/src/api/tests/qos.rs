//! The report of QoS policies: asked of the data plane's socket, and read before it is passed on.

use model::{
    cluster::NodeId,
    flow::Direction,
    qos_policy::{Excess, TrafficClass},
    qos_report::{Amount, ClassQos, DroppedPackets, ListenerQos, QosReport, WorkerQos},
};
use tokio::net::UnixListener;

use super::{flows::answer, harness::Node, schema::differences};
use crate::api::openapi::document;

#[tokio::test]
async fn a_report_of_the_data_plane_is_passed_on_and_nothing_else_is() {
    let node = Node::start().await;
    let listener = UnixListener::bind(node.run_dir().join("dataplane.sock")).unwrap();
    let limited = |allowed_mbps, measured_kbps| ListenerQos {
        policy: "QoSPolicy/default/gold".parse().unwrap(),
        listener: "Listener/default/web".parse().unwrap(),
        direction: Direction::Out,
        class: TrafficClass::P1,
        excess: Excess::Queue,
        allowed_mbps,
        share_kbps: allowed_mbps.map(|mbps| u64::from(mbps) * 500),
        measured_kbps,
        passed: Amount { packets: 2, bytes: 120 },
        waited: Amount::default(),
        waiting: Amount::default(),
        dropped: DroppedPackets { over_limit: 3, ..DroppedPackets::default() },
        recoded_packets: 4,
        marked_packets: 5,
    };
    let report = QosReport {
        node: NodeId(1),
        revision: model::Revision(9),
        listeners: vec![limited(Some(40), Some(39_500)), limited(None, None)],
        classes: vec![ClassQos {
            class: TrafficClass::P1,
            p50_us: 10,
            p99_us: 210,
            p999_us: 300,
            limit_us: 5_000,
        }],
        workers: vec![WorkerQos {
            interface: "eth0".to_owned(),
            queue: 3,
            running: true,
            priority: "realtime".to_owned(),
            lost_in: 0,
            lost_out: 1,
        }],
    };
    let text = serde_json::to_string(&report).unwrap();
    let (asked, answered) = tokio::join!(answer(&listener, "200 OK", &text), node.get("/v1/qos"));
    assert_eq!(asked, "GET /qos HTTP/1.1");
    assert_eq!(answered.status, 200);
    let document = document();
    let schema = &document["components"]["schemas"]["QosReport"];
    assert_eq!(differences(&document, schema, &answered.json()), Vec::<String>::new());
    assert_eq!(serde_json::from_value::<QosReport>(answered.json()).unwrap(), report);

    for (head, body, status) in [
        ("200 OK", "{\"node\":1}", 502),
        ("503 Busy", "XDP runs nothing", 503),
        ("404 Old", "there is no such page", 502),
    ] {
        let (_, refused) = tokio::join!(answer(&listener, head, body), node.get("/v1/qos"));
        assert_eq!(refused.status, status, "{head}: {}", refused.json());
    }
    node.stop().await;
}
