//! `POST /v1/join`: lets a node in that shows a join secret.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use model::api::JoinRequest;
use zeroize::Zeroizing;

use super::{
    JOIN_BODY_BYTES_MAX, Shared, access,
    reply::{ApiError, json},
    request::{Content, read},
};

/// A join's body is read before its secret is known to be right, so it is small.
pub(super) async fn join(
    State(shared): State<Shared>,
    request: Request,
) -> Result<Response, ApiError> {
    let secret = Zeroizing::new(access::bearer(request.headers())?.to_owned());
    let body = Content(read(request, JOIN_BODY_BYTES_MAX).await?);
    let request: JoinRequest = body.json()?;
    let grant = shared.control.join(&secret, request).await?;
    Ok(json(StatusCode::OK, &grant))
}
