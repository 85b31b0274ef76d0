//! The newest rollout: how it stands, and stopping it, letting it go on or taking it back.

use axum::{Extension, extract::State, response::Response};
use http::StatusCode;
use model::api::RolloutResponse;
use serde::Deserialize;

use super::{
    Shared,
    reply::{ApiError, json, json_at},
    request::Params,
    types::WriteResponse,
    writes::checked_message,
};
use crate::tokens::Caller;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AbortQuery {
    #[serde(default)]
    message: String,
}

pub(super) async fn show(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let rollout = shared.control.rollout().await?;
    Ok(json(StatusCode::OK, &RolloutResponse { rollout }))
}

pub(super) async fn pause(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    let rollout = Some(shared.control.pause_rollout(&caller.name, true).await?);
    Ok(json(StatusCode::OK, &RolloutResponse { rollout }))
}

pub(super) async fn resume(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    let rollout = Some(shared.control.pause_rollout(&caller.name, false).await?);
    Ok(json(StatusCode::OK, &RolloutResponse { rollout }))
}

pub(super) async fn abort(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Params(AbortQuery { message }): Params<AbortQuery>,
) -> Result<Response, ApiError> {
    checked_message(&message)?;
    let reason = if message.is_empty() { format!("by {}", caller.name) } else { message };
    let response = shared.control.abort_rollout(&caller.name, &reason).await?;
    Ok(json_at(response.revision, &WriteResponse { written: response, acks: None }))
}
