//! Finding the leader for a call, and what to make of a call that did not answer.

use std::time::Duration;

use tokio::time::Instant;

use super::Inner;
use crate::ids::NodeId;
use crate::pb::rpc::{Answer, Call, ForwardRequest};

/// Pause between attempts, so that a call does not spin while the members elect.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Why there is no answer.
pub(super) enum Unanswered {
    /// It was never sent to a leader.
    NoLeader { waited: Duration },
    /// An attempt may have been executed.
    Unknown { reason: String },
    /// This node stopped, and no attempt may have been executed.
    Stopped { reason: String },
}

/// Whether a call may be executed more than once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It may: reads, and proposals under a request id.
    Safe,
    /// It must not.
    Never,
}

/// Brings a call to the leader, again and again until the request timeout.
pub(super) async fn call_leader(
    inner: &Inner,
    call: Call,
    repeat: Repeat,
) -> Result<Answer, Unanswered> {
    let begin = Instant::now();
    let deadline = begin + inner.request_timeout;
    let mut unknown = None;
    let mut hint = None;
    loop {
        if let Some(reason) = stopped(inner) {
            return Err(match unknown {
                Some(reason) => Unanswered::Unknown { reason },
                None => Unanswered::Stopped { reason },
            });
        }
        let leader = hint.take().or(inner.status.borrow().leader);
        let attempt = deadline.min(Instant::now() + inner.attempt_timeout);
        if let Some(leader) = leader {
            match one(inner, leader, call.clone(), attempt).await {
                Attempt::Answer(Answer::NotLeader(next)) => {
                    hint = (next != 0 && next != leader.0).then_some(NodeId(next));
                }
                Attempt::Answer(Answer::Unknown(reason)) | Attempt::Unknown(reason) => {
                    unknown = Some(reason);
                }
                Attempt::Answer(answer) => return Ok(answer),
                Attempt::NotSent => {}
            }
        }
        let late = Instant::now() + RETRY_PAUSE >= deadline;
        match unknown {
            Some(reason) if late || repeat == Repeat::Never => {
                return Err(Unanswered::Unknown { reason });
            }
            None if late => return Err(Unanswered::NoLeader { waited: begin.elapsed() }),
            _ => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

/// What one attempt led to.
enum Attempt {
    Answer(Answer),
    Unknown(String),
    NotSent,
}

async fn one(inner: &Inner, leader: NodeId, call: Call, deadline: Instant) -> Attempt {
    if leader == inner.node {
        let answer = tokio::time::timeout_at(deadline, inner.calls.answer(call)).await;
        return match answer {
            Ok(answer) => Attempt::Answer(answer),
            Err(_) => Attempt::Unknown("no majority confirmed it in time".to_owned()),
        };
    }
    let address = inner.status.borrow().members.get(&leader).map(|m| m.addresses.raft);
    let Some(address) = address else { return Attempt::NotSent };
    let request = ForwardRequest { header: inner.peers.header(leader), call: Some(call) };
    let timeout = deadline.saturating_duration_since(Instant::now());
    match inner.peers.forward(leader, address, request, timeout).await {
        Ok(response) => match response.answer {
            Some(answer) => Attempt::Answer(answer),
            None => Attempt::Unknown("the leader's answer is of a newer version".to_owned()),
        },
        // Refused before it was looked at.
        Err(status) if status.code() == tonic::Code::PermissionDenied => {
            tracing::warn!(%leader, reason = status.message(), "the leader refused this node");
            Attempt::NotSent
        }
        Err(status) => Attempt::Unknown(format!("node {leader}: {}", status.message())),
    }
}

/// Why this node can do nothing, if so.
pub(super) fn stopped(inner: &Inner) -> Option<String> {
    if let Some(fatal) = inner.failure.get() {
        return Some(fatal.to_string());
    }
    inner.stop.borrow().then(|| "it was shut down".to_owned())
}
