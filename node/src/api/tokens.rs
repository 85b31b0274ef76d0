//! Tokens and join lines. Their secrets are in the answer that makes them and nowhere else.

use std::time::Duration;

use axum::{Extension, extract::State, response::Response};
use http::StatusCode;
use model::api::{JoinLineRequest, JoinLineResponse, TokenCreated, TokenList, TokenRequest};

use super::{
    Shared,
    reply::{ApiError, json},
    request::{Content, Segments},
};
use crate::tokens::Caller;

pub(super) async fn list(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let tokens = shared.control.list_tokens().await?;
    Ok(json(StatusCode::OK, &TokenList { tokens }))
}

pub(super) async fn create(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    content: Content,
) -> Result<Response, ApiError> {
    let TokenRequest { name, role } = content.json()?;
    let secret = shared.control.create_token(&caller.name, &name, role).await?;
    let token = shared.control.list_tokens().await?.into_iter().find(|token| token.name == name);
    let Some(token) = token else {
        return Err(ApiError::unavailable("the token was deleted while it was made"));
    };
    Ok(json(StatusCode::CREATED, &TokenCreated { token, secret }))
}

pub(super) async fn remove(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
) -> Result<StatusCode, ApiError> {
    if shared.control.delete_token(&caller.name, &name).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::not_found(format!("there is no token {name:?}")))
    }
}

pub(super) async fn join_line(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    content: Content,
) -> Result<Response, ApiError> {
    let JoinLineRequest { ttl_seconds } =
        if content.0.is_empty() { JoinLineRequest::default() } else { content.json()? };
    let time_to_live = ttl_seconds.map(Duration::from_secs);
    let line = shared.control.create_join_line(&caller.name, time_to_live).await?;
    let body = JoinLineResponse { line: line.to_string(), expires_ms: line.expires_ms };
    Ok(json(StatusCode::CREATED, &body))
}
