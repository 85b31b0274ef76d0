//! `GET /v1/qos`: what this node's data plane tells of QoS policies.

use axum::{extract::State, response::Response};
use http::StatusCode;
use model::qos_report::QosReport;

use super::{
    Shared, plane,
    reply::{ApiError, json as answer},
};

/// The most that is taken of an answer: a kilobyte for each direction of 1,000 listeners.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) async fn qos(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let report: QosReport = plane::get(&shared, "/qos").await?.json(ANSWER_BYTES_MAX).await?;
    Ok(answer(StatusCode::OK, &report))
}
