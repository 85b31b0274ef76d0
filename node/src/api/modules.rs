//! Modules of filters: upload, list, removal.

use axum::{Extension, extract::State, response::Response};
use http::StatusCode;
use model::{ModuleId, api::ModuleList};

use super::{
    Shared,
    reply::{ApiError, json},
    request::{Content, Segments},
};
use crate::tokens::Caller;

pub(super) async fn list(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let modules = shared.control.modules().list().await?;
    Ok(json(StatusCode::OK, &ModuleList { modules }))
}

pub(super) async fn one(
    State(shared): State<Shared>,
    Segments(sha256): Segments<String>,
) -> Result<Response, ApiError> {
    let module = shared.control.modules().one(id(&sha256)?).await?;
    Ok(json(StatusCode::OK, &module))
}

pub(super) async fn push(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segments(sha256): Segments<String>,
    Content(body): Content,
) -> Result<Response, ApiError> {
    let modules = shared.control.modules();
    let module = Box::pin(modules.push(&caller.name, id(&sha256)?, body)).await?;
    Ok(json(StatusCode::OK, &module))
}

pub(super) async fn remove(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segments(sha256): Segments<String>,
) -> Result<StatusCode, ApiError> {
    shared.control.modules().delete(&caller.name, id(&sha256)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn id(text: &str) -> Result<ModuleId, ApiError> {
    text.parse().map_err(|error| ApiError::bad_request(format!("{text:?} is no module: {error}")))
}
