//! `GET /v1/endpoints`: the endpoints of this node's L4 data plane, with what was counted for each.

use axum::{extract::State, response::Response};
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use model::traffic::{EndpointList, EndpointQuery};

use super::{
    Shared, plane,
    reply::{ApiError, json as answer},
    request::Params,
};
use crate::client::request::encode;

/// The most that is taken of an answer: some hundreds of bytes an endpoint.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) async fn endpoints(
    State(shared): State<Shared>,
    Params(query): Params<EndpointQuery>,
) -> Result<Response, ApiError> {
    let text = serde_json::to_string(&query).expect("a query has string keys");
    let mut target = "/endpoints?".to_owned();
    encode(&text, &mut target);
    let response = plane::get(&shared, &target).await?;
    let failed = |error: &dyn std::fmt::Display| {
        ApiError::bad_gateway(format!("this node's data plane: {error}"))
    };
    let body = Limited::new(response.body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| failed(&error))?.to_bytes();
    // Read, so that what is no list does not pass for one.
    let list: EndpointList = serde_json::from_slice(&body).map_err(|error| failed(&error))?;
    Ok(answer(StatusCode::OK, &list))
}
