//! What nodes' Envoys count while a rollout is under way there.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use model::{cluster::NodeId, rollout::NodeTraffic};
use tokio::{sync::watch, time::Instant};

/// How long what a node said counts: some words of it, which come once a second.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// What is known of traffic; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    heard: Arc<watch::Sender<BTreeMap<NodeId, Heard>>>,
}

/// What a node said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) traffic: NodeTraffic,
    pub(crate) at: Instant,
    /// Whether its data plane is connected to this node, which passes it on.
    pub(crate) own: bool,
}

impl Traffic {
    /// Takes in what a node counts.
    pub(crate) fn counted(&self, node: NodeId, traffic: NodeTraffic, own: bool) {
        let heard = Heard { traffic, at: Instant::now(), own };
        self.heard.send_modify(|all| {
            all.insert(node, heard);
        });
    }

    /// Follows what nodes count.
    pub(crate) fn subscribe(&self) -> watch::Receiver<BTreeMap<NodeId, Heard>> {
        self.heard.subscribe()
    }

    /// What nodes have said of late.
    pub(super) fn of_late(&self) -> BTreeMap<NodeId, Heard> {
        let heard = self.heard.borrow();
        let of_late = heard.iter().filter(|(_, heard)| heard.at.elapsed() < HEARD_WITHIN);
        of_late.map(|(node, heard)| (*node, *heard)).collect()
    }
}
