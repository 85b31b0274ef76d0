//! What the data planes answered to a revision.

use std::time::Duration;

use axum::{extract::State, response::Response};
use consensus::Consistency;
use model::{
    Revision,
    ack::AckState,
    api::{AckOutcome, AcksResponse},
};
use serde::Deserialize;

use super::{
    ACK_WAIT_MAX, Shared,
    reply::{ApiError, json_at},
    request::Params,
};
use crate::{cli::arguments::parse_time, ledger::WaitOutcome};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AcksQuery {
    revision: Option<u64>,
    wait: Option<String>,
}

pub(super) async fn acks(
    State(shared): State<Shared>,
    Params(query): Params<AcksQuery>,
) -> Result<Response, ApiError> {
    let timeout = match &query.wait {
        Some(text) => time(text)?.min(ACK_WAIT_MAX),
        None => Duration::ZERO,
    };
    let revision = match query.revision {
        Some(revision) => Revision(revision),
        None => shared.control.snapshot(Consistency::Stale).await?.revision(),
    };
    let response = wait(&shared, revision, timeout).await;
    Ok(json_at(revision, &response))
}

/// Waits for the answers to a revision, or for the end of the server.
pub(super) async fn wait(shared: &Shared, revision: Revision, timeout: Duration) -> AcksResponse {
    // A member that joined a moment before the revision was written is waited for, too.
    shared.control.expect_answers().await;
    let ledger = shared.control.ledger();
    let outcome = tokio::select! {
        outcome = ledger.wait_for(revision, timeout) => outcome,
        () = shared.stop.cancelled() => ledger.wait_for(revision, Duration::ZERO).await,
    };
    judge(revision, outcome)
}

/// Puts the answers of the engines in one word. A refusal counts at once, even while others are
/// missing; the last state of an engine that has not answered for the revision does not.
pub(super) fn judge(revision: Revision, outcome: WaitOutcome) -> AcksResponse {
    let refused = outcome.reports.iter().flat_map(|report| &report.engines).any(|engine| {
        engine.revision >= revision && matches!(engine.ack, AckState::Refused { .. })
    });
    let word = match (refused, outcome.complete) {
        (true, _) => AckOutcome::Refused,
        (false, true) => AckOutcome::Applied,
        (false, false) => AckOutcome::Pending,
    };
    AcksResponse { revision, outcome: word, missing: outcome.missing, reports: outcome.reports }
}

/// Reads a time of the query.
pub(super) fn time(text: &str) -> Result<Duration, ApiError> {
    parse_time(text).map_err(ApiError::bad_request)
}

#[cfg(test)]
mod tests {
    use model::{Engine, EngineReport, Refusal, ack::NodeReport, cluster::NodeId};

    use super::*;

    fn outcome(answers: &[(u64, AckState)], complete: bool) -> WaitOutcome {
        let engines = answers
            .iter()
            .map(|(revision, ack)| {
                EngineReport::new(Engine::Envoy, Revision(*revision), ack.clone())
            })
            .collect();
        let reports =
            vec![NodeReport { node: NodeId(1), connected: true, engines, addresses: vec![] }];
        WaitOutcome { complete, missing: vec![], reports }
    }

    #[test]
    fn answers_come_to_one_word() {
        let refused = || AckState::Refused {
            refusals: vec![Refusal {
                object: None,
                field: String::new(),
                resource: String::new(),
                message: String::new(),
            }],
        };
        let check = |answers: &[(u64, AckState)], complete: bool, expected: AckOutcome| {
            let found = judge(Revision(5), outcome(answers, complete)).outcome;
            assert_eq!(found, expected, "{answers:?} {complete}");
        };
        check(&[(5, AckState::Applied)], true, AckOutcome::Applied);
        check(&[(4, AckState::Applied)], false, AckOutcome::Pending);
        check(&[(5, AckState::Applied), (6, refused())], true, AckOutcome::Refused);
        check(&[(5, refused()), (4, AckState::Applied)], false, AckOutcome::Refused);
        check(&[(4, refused())], false, AckOutcome::Pending);
    }
}
