//! Follows openraft's metrics: the published status, the gauges, and a stop that nobody asked for.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, RaftMetrics, ServerState};
use tokio::sync::watch;

use crate::errors::{Fatal, StartError};
use crate::failure::Failure;
use crate::ids::{NodeId, Revision};
use crate::raft::{Node, Raft, Types};
use crate::status::{Member, RaftState, RaftStatus};
use crate::telemetry;

/// How long openraft may take to tell what it read from its own storage.
const FIRST_METRICS_TIMEOUT: Duration = Duration::from_secs(30);

/// The status that a start begins with.
pub(super) async fn first(raft: &Raft) -> Result<RaftStatus, StartError> {
    let failed = |reason: String| StartError::Raft { reason };
    let stored = raft.with_raft_state(|state| *state.membership_state.effective().log_id()).await;
    let stored = stored.map_err(|fatal| failed(fatal.to_string()))?;
    let metrics = raft
        .wait(Some(FIRST_METRICS_TIMEOUT))
        .metrics(|m| *m.membership_config.log_id() >= stored, "the stored membership")
        .await;
    Ok(summarize(&metrics.map_err(|e| failed(e.to_string()))?))
}

/// Runs until Raft stops or is told to.
pub(super) async fn follow(
    raft: Raft,
    status: watch::Sender<RaftStatus>,
    failure: Failure,
    mut stop: watch::Receiver<bool>,
) {
    let mut metrics = raft.metrics();
    loop {
        let now = metrics.borrow_watched().clone();
        let next = summarize(&now);
        metrics::gauge!(telemetry::TERM).set(next.term as f64);
        metrics::gauge!(telemetry::LAST_APPLIED).set(next.last_applied.0 as f64);
        let leads = next.state == RaftState::Leader;
        metrics::gauge!(telemetry::LEADER).set(f64::from(u8::from(leads)));
        status.send_if_modified(|current| {
            let changed = *current != next;
            if changed {
                *current = next;
            }
            changed
        });
        if let Err(fatal) = &now.running_state
            && !*stop.borrow()
        {
            failure.report(Fatal { part: "raft", reason: fatal.to_string() });
        }
        let ended = tokio::select! {
            changed = metrics.changed() => changed.is_err(),
            _ = stop.wait_for(|stop| *stop) => true,
        };
        if ended {
            if !*stop.borrow() {
                let reason = "raft ended without being asked to".to_owned();
                failure.report(Fatal { part: "raft", reason });
            }
            return;
        }
    }
}

/// The status that the metrics amount to.
pub(super) fn summarize(metrics: &RaftMetrics<Types>) -> RaftStatus {
    let membership = metrics.membership_config.membership();
    let voters: std::collections::BTreeSet<u64> = membership.voter_ids().collect();
    let member = |(node, addresses): (&u64, &Node)| {
        let matched = metrics.replication.as_ref().and_then(|r| r.get(node).copied().flatten());
        let contact = metrics.heartbeat.as_ref().and_then(|h| h.get(node).copied().flatten());
        let member = Member {
            voter: voters.contains(node),
            addresses: addresses.0.clone(),
            matched: matched.map(|id| id.index()),
            last_contact_ms: contact.map(|at| at.elapsed().as_millis() as u64),
        };
        (NodeId(*node), member)
    };
    let revision = |id: Option<crate::raft::LogId>| Revision(id.map_or(0, |id| id.index()));
    RaftStatus {
        node: Some(NodeId(metrics.id)),
        term: metrics.current_term,
        leader: metrics.current_leader.map(NodeId),
        state: match metrics.state {
            ServerState::Learner => RaftState::Learner,
            ServerState::Follower => RaftState::Follower,
            ServerState::Candidate => RaftState::Candidate,
            ServerState::Leader => RaftState::Leader,
            ServerState::Shutdown => RaftState::Shutdown,
        },
        last_applied: revision(metrics.last_applied),
        committed: revision(metrics.local_committed),
        snapshot: revision(metrics.snapshot),
        last_log: metrics.last_log_index.unwrap_or(0),
        members: membership.nodes().map(member).collect(),
    }
}
