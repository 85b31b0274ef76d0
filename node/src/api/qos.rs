//! `GET /v1/qos`: what this node's data plane tells of QoS policies.

use axum::{extract::State, response::Response};
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use model::qos_report::QosReport;

use super::{
    Shared, plane,
    reply::{ApiError, json as answer},
};

/// The most that is taken of an answer: a kilobyte for each direction of 1,000 listeners.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) async fn qos(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let response = plane::get(&shared, "/qos").await?;
    let failed = |error: &dyn std::fmt::Display| {
        ApiError::bad_gateway(format!("this node's data plane: {error}"))
    };
    let body = Limited::new(response.body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| failed(&error))?.to_bytes();
    // Read, so that what is no report does not pass for one.
    let report: QosReport = serde_json::from_slice(&body).map_err(|error| failed(&error))?;
    Ok(answer(StatusCode::OK, &report))
}
