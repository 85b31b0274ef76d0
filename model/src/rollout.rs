//! A rollout: a revision on its way to the data planes, as it lies in the store and as it is told.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{cluster::NodeId, revision::Revision};

/// The newest rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// What nodes have that are not reached yet.
    pub base: Revision,
    /// What is rolled out.
    pub target: Revision,
    /// The step, from 0; none before the first.
    pub step: Option<usize>,
    /// The nodes that have got the target.
    pub nodes: BTreeSet<NodeId>,
    /// How it stands.
    pub phase: Phase,
    /// Who stopped it or took it back, and why; empty otherwise.
    pub reason: String,
    /// When the phase or step began, in milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
}

/// How a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It goes on by itself.
    Running,
    /// It goes on when somebody says so; gates count.
    Paused,
    /// All nodes get the target.
    Completed,
    /// All nodes get what was before, as a new revision.
    Aborted,
}

impl Phase {
    /// Tells whether nodes are held back.
    #[must_use]
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl Rollout {
    /// Returns the revision that a node should have while the configuration's is `newest`.
    #[must_use]
    pub fn revision_for(&self, node: NodeId, newest: Revision) -> Revision {
        let held = self.phase.is_under_way() && !self.nodes.contains(&node);
        if held { self.base } else { newest }
    }
}

/// Traffic of a node since its Envoy began to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeTraffic {
    /// Requests.
    pub requests: u64,
    /// Responses with a status of 500 to 599.
    pub errors: u64,
    /// The 99th percentile of how long requests of late took, of the listener where it is highest.
    pub p99_ms: Option<u64>,
    /// Packets, once they were read.
    #[serde(default)]
    pub packets: Option<PacketCounts>,
}

/// Packets of a node since XDP began to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PacketCounts {
    /// Those that it has seen.
    pub all: u64,
    /// Those of them that it dropped.
    pub dropped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_are_not_reached_keep_what_was_before_while_it_is_under_way() {
        let rollout = |phase| Rollout {
            base: Revision(3),
            target: Revision(4),
            step: Some(0),
            nodes: [NodeId(1)].into(),
            phase,
            reason: String::new(),
            since_ms: 0,
        };
        for (phase, held) in [
            (Phase::Running, true),
            (Phase::Paused, true),
            (Phase::Completed, false),
            (Phase::Aborted, false),
        ] {
            let rollout = rollout(phase);
            assert_eq!(rollout.revision_for(NodeId(1), Revision(5)), Revision(5));
            let expected = Revision(if held { 3 } else { 5 });
            assert_eq!(rollout.revision_for(NodeId(2), Revision(5)), expected, "{phase:?}");
        }
    }
}
