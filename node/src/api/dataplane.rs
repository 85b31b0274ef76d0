//! Restarts of this node's data plane and of its Envoy, without a failed request.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Shared, plane, reply::ApiError, request::Params};

/// The most that is taken of an answer, which is empty.
const ANSWER_BYTES_MAX: usize = 1024;

/// The query of a restart of Envoy.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestartQuery {
    /// Whether the one that runs is ended before the other one starts.
    #[serde(default)]
    drain: bool,
}

/// `POST /v1/dataplane/envoy/restart`: answers when the new Envoy takes traffic.
pub(super) async fn restart_envoy(
    State(shared): State<Shared>,
    query: Result<Params<RestartQuery>, ApiError>,
) -> Result<Response, ApiError> {
    let Params(query) = query?;
    order(&shared, &plane::with_query("/envoy/restart", &query)).await
}

/// `POST /v1/dataplane/restart`: answers when the data plane has begun to hand over.
pub(super) async fn restart(State(shared): State<Shared>) -> Result<Response, ApiError> {
    order(&shared, "/hand-over").await
}

async fn order(shared: &Shared, target: &str) -> Result<Response, ApiError> {
    let answer = plane::post(shared, target, Vec::new()).await?;
    let serde_json::Map { .. } = answer.json(ANSWER_BYTES_MAX).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
