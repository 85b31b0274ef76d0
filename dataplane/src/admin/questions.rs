//! The questions with a body or a consequence, and their answers.

use std::sync::Arc;

use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use model::{ObjectKey, Revision, Snapshot, explain::ExplainRequest};

use super::{Pages, asked};
use crate::{
    envoy::{Restart, RestartError},
    preflight::Candidate,
    xdp::explain::{ExplainError, Question},
};

/// The largest question: a whole configuration in JSON.
const QUESTION_BYTES_MAX: usize = 256 * 1024 * 1024;

type Refused = (StatusCode, String);

fn wrong(reason: String) -> Refused {
    (StatusCode::BAD_REQUEST, reason)
}

/// What is asked of `POST /explain`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    request: ExplainRequest,
    kept: Option<Kept>,
}

/// The configuration of a kept revision.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    revision: Revision,
    objects: Vec<serde_json::Value>,
}

impl Kept {
    fn snapshot(self) -> Result<Snapshot, String> {
        let mut snapshot = Snapshot::default();
        for object in self.objects {
            let text = object.to_string();
            let object = model::parse::object_from_slice(text.as_bytes());
            snapshot.put(Arc::new(object.map_err(|errors| errors.to_string())?));
        }
        snapshot.set_revision(self.revision);
        Ok(snapshot)
    }
}

/// Answers what would become of a packet.
pub(super) async fn explain(body: Incoming, pages: &dyn Pages) -> Result<String, Refused> {
    let body = Limited::new(body, QUESTION_BYTES_MAX).collect().await;
    let body = body.map_err(|error| wrong(error.to_string()))?.to_bytes();
    let Asked { request, kept } =
        serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))?;
    let kept = kept.map(Kept::snapshot).transpose().map_err(wrong)?;
    let question = Question { request, kept, node: pages.flows().node() };
    let answer = pages.explain(question).await.map_err(|error| {
        let status = match &error {
            ExplainError::Packet(_) | ExplainError::Interface { .. } => StatusCode::BAD_REQUEST,
            ExplainError::NotRunning => StatusCode::SERVICE_UNAVAILABLE,
            ExplainError::Apart(_) | ExplainError::Engine(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, runtime::chain::chain(&error))
    })?;
    Ok(serde_json::to_string(&answer).expect("an answer has string keys"))
}

/// What is asked of `POST /preflight`.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct CandidateQuestion {
    base: Revision,
    puts: Vec<serde_json::Value>,
    deletes: Vec<ObjectKey>,
}

/// Answers what Envoy refuses of a change.
pub(super) async fn preflight(body: Incoming, pages: &dyn Pages) -> Result<String, Refused> {
    let body = Limited::new(body, QUESTION_BYTES_MAX).collect().await;
    let body = body.map_err(|error| wrong(error.to_string()))?.to_bytes();
    let CandidateQuestion { base, puts, deletes } =
        serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))?;
    let object = |value: serde_json::Value| {
        let object = model::parse::object_from_slice(value.to_string().as_bytes());
        object.map_err(|errors| wrong(errors.to_string()))
    };
    let puts = puts.into_iter().map(object).collect::<Result<_, _>>()?;
    let candidate = Candidate { base, puts, deletes };
    let verdict = pages
        .preflight(candidate)
        .await
        .map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, runtime::chain::chain(&error)))?;
    Ok(serde_json::to_string(&verdict).expect("an answer has string keys"))
}

/// What is asked of `POST /envoy/restart`, in the query.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RestartQuestion {
    #[serde(default)]
    drain: bool,
}

pub(super) async fn restart_envoy(query: Option<&str>, pages: &dyn Pages) -> Result<(), Refused> {
    let RestartQuestion { drain } = asked(query)?;
    let restart = Restart { reason: "an operator asked for it".to_owned(), drain };
    pages.restart_envoy(restart).await.map_err(|error| {
        let status = match &error {
            RestartError::Busy | RestartError::NotReady => StatusCode::CONFLICT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, runtime::chain::chain(&error))
    })
}
