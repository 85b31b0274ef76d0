//! `POST /v1/explain/request`: what would become of an HTTP request, and which objects and fields
//! decide it; with the health that this node's probes know, and how its Envoy stands to it.

use std::collections::BTreeSet;

use axum::{extract::State, response::Response};
use consensus::Consistency;
use http::StatusCode;
use model::explain::request::{Grounds, RequestQuestion, engine, explain as decide};

use super::{
    super::{
        Shared,
        reply::{ApiError, json},
        request::Content,
    },
    date,
};

pub(in crate::api) async fn explain(
    State(shared): State<Shared>,
    content: Content,
) -> Result<Response, ApiError> {
    let question: RequestQuestion = serde_json::from_str(content.text()?)
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    question.check().map_err(|error| ApiError::invalid(error.to_string()))?;
    let control = &shared.control;
    let config = match question.revision {
        Some(revision) => control.configuration_at(revision)?,
        None => control.snapshot(Consistency::Stale).await?,
    };
    let revision = config.revision();
    let status = control.status().await;
    let node = status.node;
    let failing: BTreeSet<_> =
        status.endpoints.into_iter().filter(|it| !it.healthy).map(|it| it.endpoint).collect();
    let live = revision == status.revision;
    // A host may have thousands of expressions; the runtime's threads have other work.
    let decided = tokio::task::spawn_blocking(move || {
        decide(&question, &Grounds { node, config: &config, live, failing: &failing })
    });
    let decided = decided.await.map_err(|_| ApiError::unavailable("this node is stopping"))?;
    let mut answer = decided.map_err(|error| ApiError::invalid(error.to_string()))?;
    if live {
        let report = status.reports.iter().find(|report| report.node == node);
        answer.decisions.insert(0, engine(report, revision));
    }
    date(control, &mut answer.decisions, answer.revision).await;
    Ok(json(StatusCode::OK, &answer))
}
