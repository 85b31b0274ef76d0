//! Membership changes; the leader decides whether one may be made.

use super::Inner;
use super::route::{Repeat, Unanswered, call_leader};
use crate::errors::MembershipError;
use crate::ids::{NodeAddresses, NodeId};
use crate::pb::rpc::{Answer, Call, Change, ChangeKind, ChangeReason, ChangeRefused};
use crate::pb::storage::{Member, Membership};
use crate::raft::convert::addresses_message;

pub(super) async fn add_learner(
    inner: &Inner,
    node: NodeId,
    addresses: &NodeAddresses,
) -> Result<(), MembershipError> {
    let member = Member { node: node.0, addresses: Some(addresses_message(addresses)) };
    let kind = ChangeKind::AddLearner(Membership { configs: vec![], members: vec![member] });
    change(inner, kind).await
}

pub(super) async fn promote(inner: &Inner, node: NodeId) -> Result<(), MembershipError> {
    change(inner, ChangeKind::Promote(node.0)).await
}

pub(super) async fn remove(inner: &Inner, node: NodeId) -> Result<(), MembershipError> {
    change(inner, ChangeKind::Remove(node.0)).await
}

async fn change(inner: &Inner, kind: ChangeKind) -> Result<(), MembershipError> {
    let call = Call::Change(Change { kind: Some(kind) });
    match call_leader(inner, call, Repeat::Never).await {
        Ok(Answer::Changed(_)) => Ok(()),
        Ok(Answer::ChangeRefused(refused)) => Err(explain(&refused)),
        Ok(other) => Err(MembershipError::OutcomeUnknown { reason: format!("{other:?}") }),
        Err(Unanswered::NoLeader { waited }) => Err(MembershipError::NoLeader { waited }),
        Err(Unanswered::Unknown { reason }) => Err(MembershipError::OutcomeUnknown { reason }),
        Err(Unanswered::Stopped { reason }) => Err(MembershipError::Stopped { reason }),
    }
}

fn explain(refused: &ChangeRefused) -> MembershipError {
    let ChangeRefused { node, have, limit, .. } = *refused;
    let node = NodeId(node);
    match refused.reason() {
        ChangeReason::InProgress => MembershipError::InProgress,
        ChangeReason::Unknown => MembershipError::Unknown { node },
        ChangeReason::AddressesDiffer => MembershipError::AddressesDiffer { node },
        ChangeReason::NotCaughtUp => MembershipError::NotCaughtUp { node, behind: have, limit },
        ChangeReason::QuorumAtRisk => {
            MembershipError::QuorumAtRisk { node, healthy: have as usize, voters: limit as usize }
        }
        ChangeReason::TooManyVoters => MembershipError::TooManyVoters { voters: have as usize },
        ChangeReason::Unspecified => MembershipError::OutcomeUnknown {
            reason: "the leader refused for a reason that this program does not know".to_owned(),
        },
    }
}
