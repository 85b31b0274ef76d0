//! Nodes that were taken out for good.
//!
//! A removal is a tombstone in the store (`cluster/removed/<id>`), so a member that knows of it has
//! applied it: it is never mistaken, however far behind it is. From then on the member refuses the
//! node's Raft connections, and its requests on those that stand, and ends its push sessions with the
//! reason; the node, which hears no more of the log, learns it from that answer, and its process ends.
//!
//! The tombstone is written after the membership change. When that fails half way, the record of the
//! node outlives its membership, and the leader buries it ([`Orphans`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use consensus::{
    Consensus, Consistency, MembershipError, Op, RaftState, Transaction, View, WatchError,
};
use model::cluster::NodeId;
use tokio::sync::watch;

use crate::control::{
    RemoveError,
    store::{NODES, REMOVED, node_key, removed_key},
};

/// How long a record without a member stands before it is taken for that of a removed node: by far
/// longer than the news of a member and that of its record can lie apart on one node.
const ORPHANED_FOR: Duration = Duration::from_secs(5);

/// A node was removed from its cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "node {node} was removed from cluster {cluster} and is stopped: to join again, give an empty \
     --data-dir (this one is {}) and a new line of `marchproxy token join`", data_dir.display()
)]
pub(crate) struct RemovedError {
    /// The node.
    pub(crate) node: NodeId,
    /// Its cluster.
    pub(crate) cluster: String,
    /// Its data directory.
    pub(crate) data_dir: std::path::PathBuf,
}

/// The removed nodes, as far as this node knows; clones share them. It only grows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Removed(Arc<watch::Sender<BTreeSet<NodeId>>>);

impl Removed {
    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.0.borrow().contains(&node)
    }

    /// Takes in what a member said.
    pub(crate) fn note(&self, node: NodeId) {
        self.add([node]);
    }

    /// Waits until the node is removed.
    pub(crate) async fn wait_for(&self, node: NodeId) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(|removed| removed.contains(&node)).await;
    }

    /// Follows the store until it stops.
    pub(crate) async fn follow(self, consensus: Consensus) -> anyhow::Result<()> {
        loop {
            let view = consensus.read(Consistency::Stale).await?;
            self.add(numbers(&view, REMOVED));
            let Ok(mut watcher) = consensus.watch(REMOVED, view.revision()) else { continue };
            match watcher.next().await {
                // What changed is read from the whole.
                Ok(_) | Err(WatchError::Lagged { .. }) => {}
                Err(error @ WatchError::Stopped) => return Err(error.into()),
            }
        }
    }

    fn add(&self, nodes: impl IntoIterator<Item = NodeId>) {
        self.0.send_if_modified(|removed| {
            let before = removed.len();
            removed.extend(nodes);
            removed.len() > before
        });
    }
}

/// Takes a node out: the membership first, then its record and the tombstone.
pub(crate) async fn remove(
    consensus: &Consensus,
    actor: &str,
    node: NodeId,
) -> Result<(), RemoveError> {
    // A node that just joined is known here after this.
    consensus
        .read(Consistency::Linearizable)
        .await
        .map_err(|error| RemoveError::Unavailable { reason: error.to_string() })?;
    if !consensus.status().borrow().members.contains_key(&node) {
        return Err(RemoveError::Unknown { node });
    }
    consensus.remove(node).await.map_err(|error| match error {
        MembershipError::Unknown { node } => RemoveError::Unknown { node },
        MembershipError::QuorumAtRisk { .. } => RemoveError::Unsafe { reason: error.to_string() },
        other => RemoveError::Unavailable { reason: other.to_string() },
    })?;
    bury(consensus, actor, node).await;
    Ok(())
}

async fn bury(consensus: &Consensus, actor: &str, node: NodeId) {
    let ops = vec![
        Op::Delete { key: node_key(node) },
        Op::Put { key: removed_key(node), value: bytes::Bytes::new() },
    ];
    let transaction = Transaction::new(actor, format!("remove node {node}"), ops);
    if let Err(error) = consensus.propose(transaction).await {
        tracing::warn!(%node, %error, "the leader will note the removal");
    }
}

/// Records of nodes that are no members, and since when the leader has seen them.
#[derive(Debug, Default)]
pub(crate) struct Orphans(BTreeMap<NodeId, Instant>);

impl Orphans {
    /// On the leader, finishes removals that were left half done.
    pub(crate) async fn bury(&mut self, consensus: &Consensus) {
        let Ok(view) = consensus.read(Consistency::Stale).await else { return };
        let status = consensus.status().borrow().clone();
        let orphans = numbers(&view, NODES).filter(|node| !status.members.contains_key(node));
        let orphans = match status.state {
            RaftState::Leader => orphans.collect(),
            _ => BTreeSet::new(),
        };
        for node in self.due(&orphans, Instant::now()) {
            bury(consensus, "membership", node).await;
        }
    }

    fn due(&mut self, orphans: &BTreeSet<NodeId>, now: Instant) -> Vec<NodeId> {
        self.0.retain(|node, _| orphans.contains(node));
        let mut since = |node: NodeId| *self.0.entry(node).or_insert(now);
        let mut due = |node: &NodeId| now.duration_since(since(*node)) >= ORPHANED_FOR;
        orphans.iter().copied().filter(|node| due(node)).collect()
    }
}

/// The node numbers in the keys below a prefix.
fn numbers<'a>(view: &'a View, prefix: &'static str) -> impl Iterator<Item = NodeId> + 'a {
    view.scan(prefix)
        .filter_map(move |(key, _)| Some(NodeId(key.strip_prefix(prefix)?.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_a_member_is_buried_only_when_it_has_stood_for_long() {
        let mut orphans = Orphans::default();
        let (start, three) = (Instant::now(), BTreeSet::from([NodeId(3)]));
        let soon = start + ORPHANED_FOR / 2;
        assert!(orphans.due(&three, start).is_empty());
        assert!(orphans.due(&three, soon).is_empty());
        assert_eq!(orphans.due(&three, start + ORPHANED_FOR), [NodeId(3)]);
        // Seen as a member in between: the time begins anew.
        assert!(orphans.due(&BTreeSet::new(), soon).is_empty());
        assert!(orphans.due(&three, start + ORPHANED_FOR).is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_a_removal_is_told() {
        let removed = Removed::default();
        let waiting = tokio::spawn({
            let removed = removed.clone();
            async move { removed.wait_for(NodeId(3)).await }
        });
        removed.note(NodeId(2));
        assert!(!removed.contains(NodeId(3)) && removed.contains(NodeId(2)));
        removed.note(NodeId(3));
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    }
}
