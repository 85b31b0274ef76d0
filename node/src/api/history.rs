//! The history, and what one revision changed.

use axum::{extract::State, response::Response};
use model::{
    Revision,
    api::{HistoryResponse, RevisionDetail},
};
use serde::Deserialize;

use super::{
    Shared, fields,
    reply::{ApiError, json},
    request::{Params, Segments},
};

/// The most revisions in one answer.
const LIMIT_MAX: usize = 1000;
const LIMIT_DEFAULT: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    limit: Option<usize>,
}

pub(super) async fn list(
    State(shared): State<Shared>,
    Params(query): Params<HistoryQuery>,
) -> Result<Response, ApiError> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::bad_request(format!(
            "limit is {limit}; 1 to {LIMIT_MAX} are allowed"
        )));
    }
    let entries = shared.control.history(limit).await;
    let floor = Revision(shared.control.consensus().history_floor().0);
    Ok(json(http::StatusCode::OK, &HistoryResponse { floor, entries }))
}

pub(super) async fn one(
    State(shared): State<Shared>,
    Segments(revision): Segments<u64>,
) -> Result<Response, ApiError> {
    let revision = Revision(revision);
    let history = shared.control.history(usize::MAX).await;
    let Some(entry) = history.into_iter().find(|entry| entry.revision == revision) else {
        return Err(ApiError::not_found(format!(
            "revision {revision} changed no object, or is not kept; `marchproxy history` lists \
             those that are"
        )));
    };
    let before = Revision(revision.0.saturating_sub(1));
    let changes = shared.control.diff(before, Some(revision)).await?;
    let changes = changes.iter().map(fields::of_change).collect();
    Ok(json(http::StatusCode::OK, &RevisionDetail { entry, changes }))
}
