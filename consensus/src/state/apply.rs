//! `apply`: a function of the state and an entry, and of nothing else.
//!
//! Preconditions are checked here, because only here the order is known; everything else about a
//! transaction was checked before it was proposed. The answer says which rows changed, so that the
//! store follows without reading the state.

use std::sync::Arc;

use bytes::Bytes;

use super::{Session, State};
use crate::history::{Batch, Event};
use crate::ids::Revision;
use crate::limits::{
    HISTORY_BYTES_MAX, HISTORY_REVISIONS_MAX, SESSION_TTL_MS, SESSIONS_MAX, SESSIONS_MIN,
};
use crate::transaction::{Committed, Compare, Op, RequestId, Transaction};
use crate::view::Versioned;

/// What the caller of a transaction is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The entry was no transaction.
    Nothing,
    Committed(Committed),
    Conflict {
        key: String,
        expected: Option<Revision>,
        found: Option<Revision>,
    },
    CompareCompacted {
        prefix: String,
        revision: Revision,
        floor: Revision,
    },
}

/// The rows that an entry touched.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) batch: Option<Batch>,
    pub(crate) session: Option<(RequestId, Session)>,
    pub(crate) expired: Vec<RequestId>,
    pub(crate) dropped: Vec<Revision>,
}

/// Applies an entry that carries no transaction.
pub(crate) fn apply_nothing(state: &mut State, index: u64) {
    state.revision = Revision(index);
}

/// Applies the transaction of entry `index`, which the leader stamped with `time_ms`.
pub(crate) fn apply(
    state: &mut State,
    index: u64,
    time_ms: u64,
    transaction: &Transaction,
) -> (Outcome, Changes) {
    let revision = Revision(index);
    state.revision = revision;
    // A leader whose clock is behind must not turn log time back.
    state.time_ms = state.time_ms.max(time_ms);

    if let Some(session) = state.sessions.get(&transaction.request) {
        let first = Committed { revision: session.revision, time_ms: session.time_ms };
        return (Outcome::Committed(first), Changes::default());
    }
    if let Some(refusal) = transaction.compare.iter().find_map(|c| check(state, c)) {
        return (refusal, Changes::default());
    }

    let time_ms = state.time_ms;
    let events: Vec<Event> =
        transaction.ops.iter().filter_map(|op| write(state, revision, time_ms, op)).collect();
    let batch = Batch {
        revision,
        time_ms,
        request: transaction.request,
        actor: transaction.actor.clone(),
        message: transaction.message.clone(),
        events: Arc::new(events),
    };
    let session = Session { revision, time_ms };
    let changes = Changes {
        dropped: remember(state, batch.clone()),
        batch: Some(batch),
        session: Some((transaction.request, session)),
        expired: enter_session(state, transaction.request, session),
    };
    (Outcome::Committed(Committed { revision, time_ms }), changes)
}

/// Returns why a precondition does not hold.
fn check(state: &State, compare: &Compare) -> Option<Outcome> {
    match compare {
        Compare::KeyRevision { key, revision } => {
            let found = state.objects.get(key.as_str()).map(|v| v.mod_revision);
            let conflict = Outcome::Conflict { key: key.clone(), expected: *revision, found };
            (found != *revision).then_some(conflict)
        }
        Compare::PrefixAtMost { prefix, revision } => {
            let newer = state.history.iter().rev().take_while(|b| b.revision > *revision);
            let touches = |b: &&Batch| b.events.iter().any(|e| e.key.starts_with(prefix.as_str()));
            if let Some(batch) = newer.into_iter().find(touches) {
                return Some(Outcome::Conflict {
                    key: prefix.clone(),
                    expected: Some(*revision),
                    found: Some(batch.revision),
                });
            }
            (*revision < state.floor).then(|| Outcome::CompareCompacted {
                prefix: prefix.clone(),
                revision: *revision,
                floor: state.floor,
            })
        }
    }
}

/// Performs one write; `None` when it changed nothing.
fn write(state: &mut State, revision: Revision, time_ms: u64, op: &Op) -> Option<Event> {
    match op {
        Op::Put { key, value } => {
            let previous = state.objects.get(key.as_str()).cloned();
            let create_revision = previous.as_ref().map_or(revision, |p| p.create_revision);
            // Copied, so that a small value does not keep the whole message that brought it alive.
            let value = Bytes::copy_from_slice(value);
            let current = Versioned { value, mod_revision: revision, create_revision, time_ms };
            state.objects.insert(key.as_str().into(), current.clone());
            Some(Event { key: key.clone(), previous, current: Some(current) })
        }
        Op::Delete { key } => {
            let previous = state.objects.remove(key.as_str())?;
            Some(Event { key: key.clone(), previous: Some(previous), current: None })
        }
    }
}

/// Adds a batch to the history and returns the revisions that had to go.
fn remember(state: &mut State, batch: Batch) -> Vec<Revision> {
    state.history_bytes += batch.weight();
    state.history.push_back(batch);
    let mut dropped = Vec::new();
    while state.history.len() > HISTORY_REVISIONS_MAX || state.history_bytes > HISTORY_BYTES_MAX {
        let Some(oldest) = state.history.pop_front() else { break };
        state.history_bytes = state.history_bytes.saturating_sub(oldest.weight());
        state.floor = oldest.revision;
        dropped.push(oldest.revision);
    }
    dropped
}

/// Remembers a request and returns those that were forgotten for it.
///
/// A request is forgotten when it is old in log time, but the newest ones stay whatever their
/// age: a leader whose clock is ahead must not make all of them old at once.
fn enter_session(state: &mut State, request: RequestId, session: Session) -> Vec<RequestId> {
    state.sessions.insert(request, session);
    state.session_order.insert(session.revision, request);
    let mut expired = Vec::new();
    while let Some(&(revision, oldest)) = state.session_order.get_min() {
        let age = state.sessions.get(&oldest).map_or(0, |s| state.time_ms - s.time_ms);
        let count = state.sessions.len();
        if count <= SESSIONS_MIN || (count <= SESSIONS_MAX && age <= SESSION_TTL_MS) {
            break;
        }
        state.session_order.remove(&revision);
        state.sessions.remove(&oldest);
        expired.push(oldest);
    }
    expired
}
