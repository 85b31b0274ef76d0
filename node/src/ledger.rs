//! The acknowledgement ledger: what each engine of each node's data plane reports.
//!
//! Soft state: kept by the node whose data plane reported it, streamed to the others, rebuilt after
//! a restart. Never written through Raft.

use std::time::Duration;

use model::{Revision, ack::NodeReport, cluster::NodeId};

/// The ledger; clones share it.
#[derive(Clone)]
pub struct Ledger {}

/// What came of waiting for a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitOutcome {
    /// Whether every expected node's engines answered for the revision in time.
    pub complete: bool,
    /// The nodes that did not, whole or in part.
    pub missing: Vec<NodeId>,
    /// The reports as they stood at the end; refusals are in their engines' states.
    pub reports: Vec<NodeReport>,
}

impl Ledger {
    /// The reports of all nodes, ordered by node.
    pub fn reports(&self) -> Vec<NodeReport> {
        todo!()
    }

    /// Waits until the engines of every expected node answered for `revision` or a later one.
    pub async fn wait_for(&self, revision: Revision, timeout: Duration) -> WaitOutcome {
        let _ = (revision, timeout);
        todo!()
    }
}
