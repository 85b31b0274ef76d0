//! Proposing: check the bounds, bring it to the leader, wait until it is applied here.

use std::collections::BTreeSet;

use super::Inner;
use super::read::wait_applied;
use super::route::{Repeat, Unanswered, call_leader};
use crate::errors::ProposeError;
use crate::ids::{NodeId, Revision};
use crate::limits::{
    KEY_BYTES_MAX, NOTE_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_OPS_MAX, VALUE_BYTES_MAX,
};
use crate::pb::rpc::{Answer, Call};
use crate::raft::command;
use crate::telemetry;
use crate::transaction::{Committed, Compare, Op, RequestId, Transaction};

pub(super) async fn propose(
    inner: &Inner,
    transaction: Transaction,
) -> Result<Committed, ProposeError> {
    let request = transaction.request;
    let result = match check(&transaction) {
        Ok(()) => send(inner, transaction).await,
        Err(error) => Err(error),
    };
    let outcome = match &result {
        Ok(_) => "committed",
        Err(ProposeError::Conflict { .. } | ProposeError::CompareCompacted { .. }) => "conflict",
        Err(ProposeError::NoLeader { .. }) => "no_leader",
        Err(ProposeError::OutcomeUnknown { .. }) => "unknown",
        Err(ProposeError::TooLarge { .. } | ProposeError::Invalid { .. }) => "invalid",
        Err(ProposeError::Stopped { .. }) => "stopped",
    };
    metrics::counter!(telemetry::PROPOSALS, "outcome" => outcome).increment(1);
    tracing::debug!(%request, outcome, "proposed");
    result
}

async fn send(inner: &Inner, transaction: Transaction) -> Result<Committed, ProposeError> {
    let request = transaction.request;
    let call = Call::Propose(command::message(transaction));
    match call_leader(inner, call, Repeat::Safe).await {
        Ok(Answer::Committed(c)) => {
            let committed = Committed { revision: Revision(c.revision), time_ms: c.time_ms };
            // It is committed whether or not this node catches up in time.
            let _ = wait_applied(inner, committed.revision, inner.request_timeout).await;
            Ok(committed)
        }
        Ok(Answer::Conflict(c)) => Err(ProposeError::Conflict {
            key: c.key,
            expected: c.expected.map(Revision),
            found: c.found.map(Revision),
        }),
        Ok(Answer::CompareCompacted(c)) => Err(ProposeError::CompareCompacted {
            prefix: c.prefix,
            revision: Revision(c.revision),
            floor: Revision(c.floor),
        }),
        Ok(other) => Err(unexpected(request, &other)),
        Err(unanswered) => Err(failed(request, unanswered)),
    }
}

pub(super) async fn allocate_node_id(inner: &Inner) -> Result<NodeId, ProposeError> {
    // Only names the call in an error: a repeated call just draws another id.
    let request = RequestId(0);
    match call_leader(inner, Call::AllocateNodeId(true), Repeat::Safe).await {
        Ok(Answer::NodeId(id)) => Ok(NodeId(id)),
        Ok(other) => Err(unexpected(request, &other)),
        Err(unanswered) => Err(failed(request, unanswered)),
    }
}

fn unexpected(request: RequestId, answer: &Answer) -> ProposeError {
    ProposeError::OutcomeUnknown { request, reason: format!("unexpected answer {answer:?}") }
}

fn failed(request: RequestId, unanswered: Unanswered) -> ProposeError {
    match unanswered {
        Unanswered::NoLeader { waited } => ProposeError::NoLeader { waited },
        Unanswered::Unknown { reason } => ProposeError::OutcomeUnknown { request, reason },
        Unanswered::Stopped { reason } => ProposeError::Stopped { reason },
    }
}

/// Refuses what would pass a bound or contradicts itself, before anything is sent.
pub(super) fn check(transaction: &Transaction) -> Result<(), ProposeError> {
    let bound = |what: &str, size: usize, limit: usize| {
        let what = what.to_owned();
        if size > limit { Err(ProposeError::TooLarge { what, size, limit }) } else { Ok(()) }
    };
    let invalid = |reason: String| Err(ProposeError::Invalid { reason });
    let count = transaction.ops.len().max(transaction.compare.len());
    bound("the number of operations", count, TRANSACTION_OPS_MAX)?;
    bound("the actor", transaction.actor.len(), NOTE_BYTES_MAX)?;
    bound("the message", transaction.message.len(), NOTE_BYTES_MAX)?;
    let mut total = 0;
    let mut keys = BTreeSet::new();
    for op in &transaction.ops {
        let key = op.key();
        if key.is_empty() || key.chars().any(char::is_control) {
            return invalid(format!("{key:?} is no key"));
        }
        bound(&format!("the key {key:.40}"), key.len(), KEY_BYTES_MAX)?;
        if !keys.insert(key) {
            return invalid(format!("{key} is written twice"));
        }
        total += key.len();
        if let Op::Put { value, .. } = op {
            bound(&format!("the value of {key}"), value.len(), VALUE_BYTES_MAX)?;
            total += value.len();
        }
    }
    for compare in &transaction.compare {
        let (Compare::KeyRevision { key, .. } | Compare::PrefixAtMost { prefix: key, .. }) =
            compare;
        bound("a compared key", key.len(), KEY_BYTES_MAX)?;
        total += key.len();
    }
    bound("the transaction", total, TRANSACTION_BYTES_MAX)
}
