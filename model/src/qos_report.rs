//! What a node's data plane tells of QoS policies: rates, what waits, what was dropped and why.

use serde::{Deserialize, Serialize};

use crate::{
    cluster::NodeId,
    flow::Direction,
    key::ObjectKey,
    qos_policy::{Excess, TrafficClass},
    revision::Revision,
};

/// Packets and their bytes, from their IP headers on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Packets that were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DroppedPackets {
    /// Over the limit, and they could not begin to wait.
    pub over_limit: u64,
    /// They waited longer than they may.
    pub too_late: u64,
    /// They would wait longer than they may, by what waits before them.
    pub lane_full: u64,
    /// Too many packets wait.
    pub no_room: u64,
    /// They are larger than the burst.
    pub too_large: u64,
    /// Their policy was removed while they waited.
    pub no_policy: u64,
}

impl DroppedPackets {
    /// Returns the reasons as metrics name them, with their counts.
    #[must_use]
    pub fn by_reason(&self) -> [(&'static str, u64); 6] {
        [
            ("over_limit", self.over_limit),
            ("too_late", self.too_late),
            ("lane_full", self.lane_full),
            ("no_room", self.no_room),
            ("too_large", self.too_large),
            ("no_policy", self.no_policy),
        ]
    }
}

/// A direction of a listener under a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerQos {
    /// The policy.
    pub policy: ObjectKey,
    /// The listener.
    pub listener: ObjectKey,
    /// The direction.
    pub direction: Direction,
    /// The policy's class.
    pub class: TrafficClass,
    /// What becomes of what exceeds the limit.
    pub excess: Excess,
    /// The limit in Mbit/s (1,000,000 bit); absent where packets are only marked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_mbps: Option<u32>,
    /// The node's share in kbit/s (1,000 bit), of a limit that nodes share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_kbps: Option<u64>,
    /// What went on in the last 5 to 10 s, in kbit/s (1,000 bit); absent before so long has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_kbps: Option<u64>,
    /// What went on at once, since the policy came to the listener.
    pub passed: Amount,
    /// What waited and went on, since the data plane began.
    pub waited: Amount,
    /// What waits.
    pub waiting: Amount,
    /// What was dropped: `overLimit` since the policy came, the others since the data plane began.
    pub dropped: DroppedPackets,
    /// Packets that got another code point, since the policy came.
    pub recoded_packets: u64,
    /// Packets that were marked as having met congestion, those that waited since the data plane began.
    pub marked_packets: u64,
}

/// How long packets of a class waited that were sent in the last 15 to 30 s, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassQos {
    /// The class.
    pub class: TrafficClass,
    /// Half of them at most.
    pub p50_us: u64,
    /// All but one in a hundred at most.
    pub p99_us: u64,
    /// All but one in a thousand at most.
    #[serde(rename = "p999Us")]
    pub p999_us: u64,
    /// The shortest latency limit of the class's policies.
    pub limit_us: u64,
}

/// A worker, in which packets wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerQos {
    /// The interface.
    pub interface: String,
    /// The queue.
    pub queue: u32,
    /// Whether it runs.
    pub running: bool,
    /// Its priority: `realtime` or `usual`.
    pub priority: String,
    /// Packets that found no room on their way to it.
    pub lost_in: u64,
    /// Packets that the way out did not take.
    pub lost_out: u64,
}

/// What a node tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QosReport {
    /// The node.
    pub node: NodeId,
    /// The revision that its program runs.
    pub revision: Revision,
    /// Directions of listeners under a policy that XDP carries, by listener.
    pub listeners: Vec<ListenerQos>,
    /// The classes of which packets have waited in the last 15 to 30 s.
    pub classes: Vec<ClassQos>,
    /// The workers.
    pub workers: Vec<WorkerQos>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_is_written() {
        let report = QosReport {
            node: NodeId(2),
            revision: Revision(9),
            listeners: vec![ListenerQos {
                policy: "QoSPolicy/default/gold".parse().unwrap(),
                listener: "Listener/default/web".parse().unwrap(),
                direction: Direction::Out,
                class: TrafficClass::P0,
                excess: Excess::Drop,
                allowed_mbps: Some(200),
                share_kbps: None,
                measured_kbps: None,
                passed: Amount { packets: 1, bytes: 60 },
                waited: Amount::default(),
                waiting: Amount::default(),
                dropped: DroppedPackets { no_policy: 4, ..DroppedPackets::default() },
                recoded_packets: 0,
                marked_packets: 5,
            }],
            classes: vec![ClassQos {
                class: TrafficClass::P3,
                p50_us: 1,
                p99_us: 3,
                p999_us: 2_000,
                limit_us: 100_000,
            }],
            workers: Vec::new(),
        };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<QosReport>(&text).unwrap(), report, "{text}");
        assert!(text.contains(r#""direction":"out","class":"P0","excess":"Drop""#), "{text}");
        assert!(text.contains(r#""p999Us":2000,"limitUs":100000"#), "{text}");
    }
}
