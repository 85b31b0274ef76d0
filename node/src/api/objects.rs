//! Reads of configuration objects, straight from the replicated store, and their status.

use axum::{extract::State, response::Response};
use consensus::Consistency;
use model::{
    Kind, ObjectKey, Revision,
    ack::{AckState, NodeReport},
    api::{AckOutcome, AcksResponse, Condition, ObjectList, ObjectStatus},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Shared, acks,
    reply::{ApiError, json_at},
    request::{Params, Segments},
};
use crate::control::store;

/// How fresh a read is.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Freshness {
    #[default]
    Linearizable,
    Stale,
}

impl From<Freshness> for Consistency {
    fn from(freshness: Freshness) -> Self {
        match freshness {
            Freshness::Linearizable => Self::Linearizable,
            Freshness::Stale => Self::Stale,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    #[serde(default)]
    consistency: Freshness,
    namespace: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneQuery {
    #[serde(default)]
    consistency: Freshness,
}

/// The path of one object.
#[derive(Debug, Deserialize)]
pub(super) struct Address {
    kind: String,
    namespace: String,
    name: String,
}

impl Address {
    pub(super) fn key(self) -> Result<ObjectKey, ApiError> {
        Ok(ObjectKey::new(kind(&self.kind)?, self.namespace, self.name))
    }
}

fn kind(text: &str) -> Result<Kind, ApiError> {
    text.parse::<Kind>().map_err(|error| ApiError::bad_request(error.to_string()))
}

pub(super) async fn list(
    State(shared): State<Shared>,
    Segments(kind_text): Segments<String>,
    Params(query): Params<ListQuery>,
) -> Result<Response, ApiError> {
    let kind = kind(&kind_text)?;
    let view = shared.control.consensus().read(query.consistency.into()).await?;
    let mut prefix = format!("{}{kind}/", store::OBJECTS);
    if let Some(namespace) = &query.namespace {
        prefix.push_str(namespace);
        prefix.push('/');
    }
    let objects = view
        .scan(&prefix)
        .map(|(key, stored)| parse(key, &stored.value))
        .collect::<Result<_, _>>()?;
    let list = ObjectList { revision: store::configuration_revision(&view), objects };
    Ok(json_at(list.revision, &list))
}

pub(super) async fn one(
    State(shared): State<Shared>,
    Segments(address): Segments<Address>,
    Params(query): Params<OneQuery>,
) -> Result<Response, ApiError> {
    let key = address.key()?;
    let view = shared.control.consensus().read(query.consistency.into()).await?;
    let place = store::object_key(&key);
    let Some(stored) = view.get(&place) else {
        return Err(ApiError::not_found(format!("there is no {key}")));
    };
    let mut object = parse(&place, &stored.value)?;
    let revision = store::configuration_revision(&view);
    let answers = acks::judge(revision, shared.control.ledger().outcome(revision));
    let status = status(&key, stored.mod_revision, answers);
    object["status"] = serde_json::to_value(status).expect("a status has string keys");
    Ok(json_at(revision, &object))
}

fn parse(key: &str, stored: &[u8]) -> Result<Value, ApiError> {
    match serde_json::from_slice::<Value>(stored) {
        Ok(value) if value.is_object() => Ok(value),
        _ => Err(crate::control::SnapshotError::Unreadable {
            key: key.to_owned(),
            reason: "it is not a JSON object".to_owned(),
        }
        .into()),
    }
}

/// What is known of one object: refusals of other objects say nothing of it.
fn status(key: &ObjectKey, revision: Revision, answers: AcksResponse) -> ObjectStatus {
    let mut refused = 0;
    let mut acks = answers.reports;
    for engine in acks.iter_mut().flat_map(|report: &mut NodeReport| &mut report.engines) {
        if let AckState::Refused { refusals } = &mut engine.ack {
            refusals.retain(|refusal| refusal.object.as_ref().is_none_or(|object| object == key));
            if refusals.is_empty() {
                engine.ack = AckState::Applied;
            } else {
                refused += refusals.len();
            }
        }
    }
    let (status, reason, message) = if refused > 0 {
        (Some(false), "Refused", format!("{refused} refusals by engines; see acks"))
    } else if answers.outcome == AckOutcome::Pending {
        (None, "Pending", format!("{} nodes have not answered", answers.missing.len()))
    } else {
        (Some(true), "Applied", String::new())
    };
    let programmed =
        Condition { kind: "Programmed".to_owned(), status, reason: reason.to_owned(), message };
    ObjectStatus { revision, conditions: vec![programmed], acks }
}

#[cfg(test)]
mod tests {
    use model::{Engine, EngineReport, Refusal, cluster::NodeId};

    use super::*;

    fn answers(object: Option<&str>, outcome: AckOutcome) -> AcksResponse {
        let refusal = Refusal {
            object: object.map(|object| object.parse().unwrap()),
            field: String::new(),
            resource: "r".to_owned(),
            message: "no".to_owned(),
        };
        let engine = EngineReport::new(
            Engine::Envoy,
            Revision(5),
            AckState::Refused { refusals: vec![refusal] },
        );
        let report = NodeReport {
            node: NodeId(1),
            connected: true,
            engines: vec![engine],
            addresses: vec![],
        };
        AcksResponse { revision: Revision(5), outcome, missing: vec![], reports: vec![report] }
    }

    #[test]
    fn only_refusals_of_the_object_itself_count() {
        let key: ObjectKey = "Service/default/a".parse().unwrap();
        let check = |answers: AcksResponse, expected: Option<bool>, word: &str| {
            let status = status(&key, Revision(3), answers);
            assert_eq!(status.conditions[0].status, expected);
            assert_eq!(status.conditions[0].reason, word);
        };
        check(answers(Some("Service/default/a"), AckOutcome::Refused), Some(false), "Refused");
        check(answers(None, AckOutcome::Refused), Some(false), "Refused");
        check(answers(Some("Service/default/b"), AckOutcome::Refused), Some(true), "Applied");
        check(answers(Some("Service/default/b"), AckOutcome::Pending), None, "Pending");
    }
}
