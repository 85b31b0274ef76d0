//! Reading: confirm the leader's commit index where asked, wait until it is applied here.

use std::time::Duration;

use tokio::time::Instant;

use super::route::{Repeat, Unanswered, call_leader, stopped};
use super::{Consistency, Inner};
use crate::errors::ReadError;
use crate::ids::Revision;
use crate::pb::rpc::{Answer, Call};
use crate::view::View;

pub(super) async fn read(inner: &Inner, consistency: Consistency) -> Result<View, ReadError> {
    let begin = Instant::now();
    let wanted = match consistency {
        Consistency::Stale => return Ok(inner.published.borrow().view.clone()),
        Consistency::AtLeast(revision) => revision,
        Consistency::Linearizable => confirmed(inner).await?,
    };
    let left = inner.request_timeout.saturating_sub(begin.elapsed());
    wait_applied(inner, wanted, left).await
}

/// The same as [`read_index`], shared with the reads that ask at the same time.
async fn confirmed(inner: &Inner) -> Result<Revision, ReadError> {
    let answer = inner.confirmations.ask(|| read_index(inner));
    // A question may have waited for a turn; no read waits longer than it would alone.
    let late = |_| ReadError::NoLeader { waited: inner.request_timeout };
    tokio::time::timeout(inner.request_timeout, answer).await.map_err(late)?
}

/// The entry up to which a read that begins now must see, from the leader.
async fn read_index(inner: &Inner) -> Result<Revision, ReadError> {
    match call_leader(inner, Call::ReadIndex(true), Repeat::Safe).await {
        Ok(Answer::ReadIndex(id)) => Ok(Revision(id.index)),
        Ok(other) => Err(ReadError::Stopped { reason: format!("unexpected answer {other:?}") }),
        Err(Unanswered::Stopped { reason }) => Err(ReadError::Stopped { reason }),
        Err(Unanswered::NoLeader { waited }) => Err(ReadError::NoLeader { waited }),
        Err(Unanswered::Unknown { .. }) => {
            Err(ReadError::NoLeader { waited: inner.request_timeout })
        }
    }
}

/// Waits until an entry is applied here and returns the state.
pub(super) async fn wait_applied(
    inner: &Inner,
    wanted: Revision,
    timeout: Duration,
) -> Result<View, ReadError> {
    let mut published = inner.published.clone();
    let mut stop = inner.stop.subscribe();
    let mut failed = inner.failure.subscribe();
    let reached = async {
        tokio::select! {
            state = published.wait_for(|p| p.view.revision() >= wanted) => {
                state.ok().map(|state| state.view.clone())
            }
            _ = stop.wait_for(|stop| *stop) => None,
            _ = failed.wait_for(Option::is_some) => None,
        }
    };
    match tokio::time::timeout(timeout, reached).await {
        Ok(Some(view)) => Ok(view),
        Ok(None) => {
            let reason = stopped(inner).unwrap_or_else(|| "raft stopped".to_owned());
            Err(ReadError::Stopped { reason })
        }
        Err(_) => {
            let applied = inner.published.borrow().view.revision();
            Err(ReadError::Behind { applied, wanted, waited: timeout })
        }
    }
}
