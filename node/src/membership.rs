//! Membership: who belongs to the cluster, and learners becoming voters.
//!
//! The leader's autopilot makes one change at a time: a learner that has caught up becomes a voter
//! while there are fewer than [`autopilot::VOTERS_WANTED`]. It never takes a vote away; nodes leave by command.
//! Each node also writes its own record (whether it has a data plane) and tells the ledger whose
//! data planes are expected to answer.

pub(crate) mod autopilot;
pub(crate) mod removal;

use std::{collections::BTreeSet, time::Duration};

use consensus::{Compare, Consensus, Consistency, Op, ProposeError, RaftStatus, Transaction};
use model::{
    api::{Event, NodeInfo},
    cluster::NodeId,
};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::{control::store::node_key, ledger::Ledger};

/// How often the members are looked at when nothing was told: a promotion waits at most this long.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Silence after which a member is not reachable: more than a dozen heartbeats on a LAN.
const REACHABLE_WITHIN_MS: u64 = 2_000;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// Whether a data plane runs beside the control process.
    pub(crate) dataplane: bool,
    /// The version of its program.
    pub(crate) version: String,
}

/// The leader and the roles that listeners were told last.
type Told = (Option<NodeId>, Vec<(NodeId, bool)>);

/// What the membership loop works on.
#[derive(Clone)]
pub(crate) struct Membership {
    pub(crate) consensus: Consensus,
    pub(crate) ledger: Ledger,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) node: NodeId,
    pub(crate) record: Record,
}

impl Membership {
    /// Works until it is dropped.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut status = self.consensus.status();
        let mut told = None;
        let mut recorded = false;
        let mut orphans = removal::Orphans::default();
        loop {
            let present = status.borrow_and_update().clone();
            self.tell(&present, &mut told);
            if !recorded {
                recorded = self.write_record(&present).await;
            }
            expect_answers(&self.consensus, &self.ledger).await;
            self.promote(&present).await;
            orphans.bury(&self.consensus).await;
            tokio::select! {
                changed = status.changed() => changed?,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Tells listeners when members, roles or the leader changed.
    fn tell(&self, status: &RaftStatus, told: &mut Option<Told>) {
        let roles = status.members.iter().map(|(node, member)| (*node, member.voter)).collect();
        let present = Some((status.leader, roles));
        if *told != present {
            *told = present;
            metrics::gauge!("marchproxy_members").set(status.members.len() as f64);
            // Nobody listening is no error.
            let _ = self.events.send(Event::Membership {
                leader: status.leader,
                nodes: members(status, &self.ledger.peers()),
            });
        }
    }

    /// Writes this node's record unless it stands there; true when it does.
    async fn write_record(&self, status: &RaftStatus) -> bool {
        if !status.members.contains_key(&self.node) || status.leader.is_none() {
            return false;
        }
        let Ok(view) = self.consensus.read(Consistency::Stale).await else { return false };
        let key = node_key(self.node);
        let value = serde_json::to_vec(&self.record).expect("it has string keys only");
        let stored = view.get(&key);
        if stored.is_some_and(|stored| stored.value == value) {
            return true;
        }
        let compare =
            Compare::KeyRevision { key: key.clone(), revision: stored.map(|s| s.mod_revision) };
        let put = Op::Put { key, value: value.into() };
        let mut transaction =
            Transaction::new(format!("node {}", self.node), "describe itself", vec![put]);
        transaction.compare = vec![compare];
        match self.consensus.propose(transaction).await {
            Ok(_) => true,
            Err(ProposeError::Conflict { .. }) => false,
            Err(error) => {
                tracing::debug!(%error, "the node's record is not written yet");
                false
            }
        }
    }

    async fn promote(&self, status: &RaftStatus) {
        let Some(node) = autopilot::next_promotion(status) else { return };
        match self.consensus.promote(node).await {
            Ok(()) => tracing::info!(%node, "the learner has caught up and votes"),
            // It is looked at again in a moment, as it stands then.
            Err(error) => tracing::debug!(%node, %error, "the learner does not vote yet"),
        }
    }
}

/// Tells the ledger whose data planes must answer, as this node knows the members by now: all but
/// those that say in their record that they run none. A member that has joined but has not written
/// its record is about to run one.
pub(crate) async fn expect_answers(consensus: &Consensus, ledger: &Ledger) {
    let Ok(view) = consensus.read(Consistency::Stale).await else { return };
    let members: BTreeSet<NodeId> = consensus.status().borrow().members.keys().copied().collect();
    let without_dataplane = |node: &NodeId| {
        let record = view.get(&node_key(*node));
        let record = record.and_then(|stored| serde_json::from_slice::<Record>(&stored.value).ok());
        record.is_some_and(|record| !record.dataplane)
    };
    let expected = members.iter().copied().filter(|node| !without_dataplane(node)).collect();
    ledger.expect(expected, &members);
}

/// The members as the API shows them. Raft tells the leader whom it has heard of; a follower hears
/// of the leader only, and knows of the others by its connections to `peers`.
pub(crate) fn members(status: &RaftStatus, peers: &BTreeSet<NodeId>) -> Vec<NodeInfo> {
    let own = status.node;
    status
        .members
        .iter()
        .map(|(node, member)| NodeInfo {
            id: *node,
            addresses: member.addresses.clone(),
            voter: member.voter,
            leader: status.leader == Some(*node),
            reachable: Some(*node) == own
                || match member.last_contact_ms {
                    Some(ms) => ms <= REACHABLE_WITHIN_MS,
                    None => peers.contains(node),
                },
            matched: member.matched,
        })
        .collect()
}

/// The metrics that are written here, with their meaning.
pub(crate) fn describe() {
    metrics::describe_gauge!(
        "marchproxy_members",
        metrics::Unit::Count,
        "Members of the cluster, voters and learners"
    );
}
