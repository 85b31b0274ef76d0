//! A rollout: a revision on its way to the data planes, as it lies in the store and as it is told.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{cluster::NodeId, revision::Revision};

/// The newest rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
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
