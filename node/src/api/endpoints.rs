//! `GET /v1/endpoints`: the endpoints of this node's L4 data plane, with what was counted for each.

use axum::{extract::State, response::Response};
use http::StatusCode;
use model::traffic::{EndpointList, EndpointQuery};

use super::{
    Shared, plane,
    reply::{ApiError, json as answer},
    request::Params,
};

/// The most that is taken of an answer: some hundreds of bytes an endpoint.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) async fn endpoints(
    State(shared): State<Shared>,
    Params(query): Params<EndpointQuery>,
) -> Result<Response, ApiError> {
    let response = plane::get(&shared, &plane::with_query("/endpoints", &query)).await?;
    let list: EndpointList = response.json(ANSWER_BYTES_MAX).await?;
    Ok(answer(StatusCode::OK, &list))
}
