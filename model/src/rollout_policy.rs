//! `RolloutPolicy`: which nodes get a revision before the others, and what must hold there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use crate::{cluster::NodeId, object::serialize_duration};

/// The way of each revision to the data planes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RolloutPolicy {
    /// The nodes that get it early, a group after the other; at least one. All others follow.
    pub steps: Vec<RolloutStep>,
    /// What takes a revision back.
    pub gates: Gates,
}

/// A group of nodes, added to those of the steps before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RolloutStep {
    /// Which nodes.
    #[serde(flatten)]
    pub group: NodeGroup,
    /// How long the revision runs there, from when all of them have answered, before the next step;
    /// 1 s to 24 h, 30 s by default.
    #[serde(serialize_with = "serialize_duration")]
    pub hold: Duration,
}

/// Nodes of a step. Exactly one of the keys stands in the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NodeGroup {
    /// Those with these names.
    Nodes(BTreeSet<String>),
    /// So many of all that have a data plane, rounded up: those of the steps before first, then by
    /// number; 1 to 99.
    Percent(u32),
}

/// What must hold on nodes that have got a revision. A refusal by an engine always takes it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gates {
    /// The share of HTTP responses with a status of 500 to 599.
    pub errors: ErrorGate,
    /// How long HTTP requests take; not looked at when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyGate>,
    /// The share of packets that XDP drops; not looked at when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drops: Option<DropGate>,
}

/// The share of HTTP responses with a status of 500 to 599, since a node has the revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorGate {
    /// More takes the revision back; 1 by default, and 100 never does.
    pub max_percent: u32,
    /// Requests before the share counts; 100 by default.
    pub min_requests: u32,
}

/// How long HTTP requests take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyGate {
    /// The 99th percentile of the listener where it is highest; more takes the revision back.
    #[serde(serialize_with = "serialize_duration")]
    pub p99: Duration,
    /// Requests before it counts; 100 by default.
    pub min_requests: u32,
}

/// The share of the packets at XDP that it drops, since a node has the revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DropGate {
    /// More takes the revision back; 1 by default.
    pub max_percent: u32,
    /// Packets before the share counts; 1,000 by default.
    pub min_packets: u32,
}

impl RolloutPolicy {
    /// Returns the nodes that have a revision in a step, of all that have a data plane, with their
    /// names.
    #[must_use]
    pub fn nodes(&self, step: usize, all: &BTreeMap<NodeId, String>) -> BTreeSet<NodeId> {
        let mut chosen = BTreeSet::new();
        for step in self.steps.iter().take(step + 1) {
            match &step.group {
                NodeGroup::Nodes(names) => {
                    let named = all.iter().filter(|(_, name)| names.contains(*name));
                    chosen.extend(named.map(|(node, _)| *node));
                }
                NodeGroup::Percent(percent) => {
                    let wanted = (all.len() * *percent as usize).div_ceil(100);
                    let rest = all.keys().filter(|node| !chosen.contains(*node));
                    let rest: Vec<NodeId> = rest.copied().collect();
                    let missing = wanted.saturating_sub(chosen.len());
                    chosen.extend(rest.into_iter().take(missing));
                }
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_add_up_and_a_share_is_rounded_up() {
        let step = |group| RolloutStep { group, hold: Duration::from_secs(1) };
        let policy = RolloutPolicy {
            steps: vec![
                step(NodeGroup::Nodes(["n4".to_owned(), "n9".to_owned()].into())),
                step(NodeGroup::Percent(50)),
                step(NodeGroup::Percent(10)),
            ],
            gates: Gates {
                errors: ErrorGate { max_percent: 1, min_requests: 100 },
                latency: None,
                drops: None,
            },
        };
        let all = (1..=5).map(|node| (NodeId(node), format!("n{node}"))).collect();
        let nodes =
            |step| policy.nodes(step, &all).into_iter().map(|node| node.0).collect::<Vec<_>>();
        assert_eq!(nodes(0), [4], "9 is no member");
        assert_eq!(nodes(1), [1, 2, 4]);
        assert_eq!(nodes(2), [1, 2, 4], "a smaller share takes nothing away");
        assert!(policy.nodes(0, &BTreeMap::new()).is_empty());
    }
}
