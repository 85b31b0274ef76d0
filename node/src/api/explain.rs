//! `POST /v1/explain`: what would become of a packet on this node, and which objects decide it.
//!
//! The data plane answers; here it is given the configuration of a kept revision, and each object
//! that decided gets the revision that changed it last.

pub(super) mod request;

use axum::{extract::State, response::Response};
use http::StatusCode;
use model::{
    Revision,
    explain::{Decision, ExplainRequest, Explanation},
};
use serde_json::json;

use super::{
    Shared, plane,
    reply::{ApiError, json as answer},
    request::Content,
};
use crate::control::Control;

/// The most that is taken of an answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

pub(super) async fn explain(
    State(shared): State<Shared>,
    content: Content,
) -> Result<Response, ApiError> {
    let request: ExplainRequest = serde_json::from_str(content.text()?)
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    request.to_frame().map_err(|error| ApiError::invalid(error.to_string()))?;
    let control = &shared.control;
    let kept = match request.revision {
        Some(revision) => Some(control.configuration_at(revision)?),
        None => None,
    };
    let kept = kept.map(|kept| {
        let objects: Vec<_> = kept.objects().map(|(_, object)| object.to_value()).collect();
        json!({"revision": kept.revision(), "objects": objects})
    });
    let body = json!({"request": request, "kept": kept});
    let body = serde_json::to_vec(&body).expect("it has string keys");
    let response = plane::post(&shared, "/explain", body).await?;
    let mut explanation: Explanation = response.json(ANSWER_BYTES_MAX).await?;
    date(control, &mut explanation.decisions, explanation.revision).await;
    Ok(answer(StatusCode::OK, &explanation))
}

/// Notes when each object that decided was last changed, up to a revision.
async fn date(control: &Control, decisions: &mut [Decision], at: Revision) {
    for decision in decisions {
        let Some(object) = &decision.object else { continue };
        // An object of a revision that is kept no longer is told without.
        let changed = control.object_revision(object, at).await;
        decision.object_revision = changed.unwrap_or_default();
    }
}
