//! The calls that only a leader answers, the same for a local caller and for a forwarded one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use openraft::errors::{ChangeMembershipError, ClientWriteError, LinearizableReadError, RaftError};
use openraft::{ChangeMembers, Instant as _, Precondition, RaftMetrics, ReadPolicy};

use super::{Command, Node, Raft, Types, convert};
use crate::limits::{PROMOTION_LAG_MAX, VOTERS_MAX};
use crate::pb::rpc::{
    Answer, Call, Change, ChangeKind, ChangeReason, ChangeRefused, Committed, CompareCompacted,
    Conflict,
};
use crate::pb::storage::Command as CommandMessage;
use crate::state::apply::Outcome;
use crate::telemetry;

/// Executes calls on the local openraft handle.
#[derive(Clone)]
pub(crate) struct LeaderCalls {
    pub(crate) raft: Raft,
    /// A voter that was silent for longer is not counted on.
    pub(crate) contact_max: Duration,
}

type WriteError = RaftError<Types, ClientWriteError<Types>>;

impl LeaderCalls {
    /// Executes one call; [`Answer::NotLeader`] means that nothing was done.
    pub(crate) async fn answer(&self, call: Call) -> Answer {
        match call {
            Call::Propose(message) => self.propose(message).await,
            Call::ReadIndex(_) => self.read_index().await,
            Call::AllocateNodeId(_) => match self.raft.write_blank().await {
                Ok(written) => Answer::NodeId(written.log_id.index()),
                Err(error) => write_failed(error),
            },
            Call::Change(Change { kind: Some(kind) }) => match self.change(kind).await {
                Ok(()) => Answer::Changed(true),
                Err(answer) => answer,
            },
            Call::Change(Change { kind: None }) => Answer::Unknown("an unknown change".into()),
        }
    }

    async fn propose(&self, message: CommandMessage) -> Answer {
        let begin = Instant::now();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let command = Command::stamp(message, u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        if let Err(error) = command.check() {
            return Answer::Unknown(error.to_string());
        }
        let written = match self.raft.client_write(command).await {
            Ok(written) => written,
            Err(error) => return write_failed(error),
        };
        metrics::histogram!(telemetry::COMMIT_SECONDS).record(begin.elapsed().as_secs_f64());
        match written.data {
            Outcome::Committed(c) => {
                Answer::Committed(Committed { revision: c.revision.0, time_ms: c.time_ms })
            }
            Outcome::Conflict { key, expected, found } => Answer::Conflict(Conflict {
                key,
                expected: expected.map(|r| r.0),
                found: found.map(|r| r.0),
            }),
            Outcome::CompareCompacted { prefix, revision, floor } => {
                let (revision, floor) = (revision.0, floor.0);
                Answer::CompareCompacted(CompareCompacted { prefix, revision, floor })
            }
            Outcome::Nothing => Answer::Unknown("the entry held no transaction".into()),
        }
    }

    async fn read_index(&self) -> Answer {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read, _)) => Answer::ReadIndex(convert::log_id_message(read.log_id())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Answer::NotLeader(to.leader_id.unwrap_or(0))
            }
            Err(error) => Answer::Unknown(error.to_string()),
        }
    }

    /// Makes one membership change, on the membership that was looked at.
    async fn change(&self, kind: ChangeKind) -> Result<(), Answer> {
        // Look only at a membership that this leader has committed in its own term; a new leader
        // has to commit its first entry before openraft lets it change anything.
        let committed = match self.read_index().await {
            Answer::ReadIndex(id) => id.index,
            other => return Err(other),
        };
        let applied = self.raft.wait(Some(self.contact_max));
        let applied = applied.applied_index_at_least(Some(committed), "membership change").await;
        let metrics = applied.map_err(|e| Answer::Unknown(e.to_string()))?;
        let Some(change) = self.plan(&metrics, kind)? else { return Ok(()) };
        let last_membership_log_id = *metrics.membership_config.log_id();
        let on = [Precondition::LastMembershipLogId { last_membership_log_id }];
        let changed = self.raft.change_membership_if(change, false, on).await;
        changed.map(|_| ()).map_err(write_failed)
    }

    /// Decides whether a change may be made; `None` when it is already made.
    fn plan(
        &self,
        metrics: &RaftMetrics<Types>,
        kind: ChangeKind,
    ) -> Result<Option<ChangeMembers<u64, Node>>, Answer> {
        let membership = metrics.membership_config.membership();
        if membership.get_joint_config().len() > 1 {
            return Err(refused(ChangeReason::InProgress, 0, 0, 0));
        }
        let voters: Vec<u64> = membership.voter_ids().collect();
        match kind {
            ChangeKind::AddLearner(message) => {
                let members = convert::members(&message);
                let members = members.map_err(|e| Answer::Unknown(e.to_string()))?;
                let mut new = BTreeMap::new();
                for (node, addresses) in members {
                    match membership.get_node(&node) {
                        Some(known) if *known == addresses => {}
                        Some(_) => return Err(refused(ChangeReason::AddressesDiffer, node, 0, 0)),
                        None => drop(new.insert(node, addresses)),
                    }
                }
                Ok((!new.is_empty()).then_some(ChangeMembers::AddNodes(new)))
            }
            ChangeKind::Promote(node) => {
                if membership.get_node(&node).is_none() {
                    return Err(refused(ChangeReason::Unknown, node, 0, 0));
                }
                if voters.contains(&node) {
                    return Ok(None);
                }
                if voters.len() >= VOTERS_MAX {
                    let count = voters.len() as u64;
                    return Err(refused(ChangeReason::TooManyVoters, node, count, 0));
                }
                let matched = metrics.replication.as_ref().and_then(|r| r.get(&node).copied());
                // A learner that was never reached must not count towards a majority.
                let matched = matched.flatten().filter(|_| self.in_contact(metrics, node));
                let last = metrics.last_log_index.unwrap_or(0);
                let behind = matched.map_or(u64::MAX, |id| last.saturating_sub(id.index()));
                if behind > PROMOTION_LAG_MAX {
                    let limit = PROMOTION_LAG_MAX;
                    return Err(refused(ChangeReason::NotCaughtUp, node, behind, limit));
                }
                Ok(Some(ChangeMembers::AddVoterIds([node].into())))
            }
            ChangeKind::Remove(node) => {
                if membership.get_node(&node).is_none() {
                    return Ok(None);
                }
                if !voters.contains(&node) {
                    return Ok(Some(ChangeMembers::RemoveNodes([node].into())));
                }
                let left: Vec<u64> = voters.into_iter().filter(|v| *v != node).collect();
                let healthy = left.iter().filter(|v| self.in_contact(metrics, **v)).count();
                if healthy <= left.len() / 2 {
                    let (healthy, left) = (healthy as u64, left.len() as u64);
                    return Err(refused(ChangeReason::QuorumAtRisk, node, healthy, left));
                }
                Ok(Some(ChangeMembers::RemoveVoters([node].into())))
            }
        }
    }

    fn in_contact(&self, metrics: &RaftMetrics<Types>, node: u64) -> bool {
        let last = metrics.heartbeat.as_ref().and_then(|h| h.get(&node).copied().flatten());
        node == metrics.id || last.is_some_and(|at| at.elapsed() < self.contact_max)
    }
}

fn refused(reason: ChangeReason, node: u64, have: u64, limit: u64) -> Answer {
    Answer::ChangeRefused(ChangeRefused { reason: reason.into(), node, have, limit })
}

fn write_failed(error: WriteError) -> Answer {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
            Answer::NotLeader(to.leader_id.unwrap_or(0))
        }
        // The membership moved between the look and the change.
        RaftError::APIError(
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_))
            | ClientWriteError::PreconditionFailed(_),
        ) => refused(ChangeReason::InProgress, 0, 0, 0),
        error => Answer::Unknown(error.to_string()),
    }
}
