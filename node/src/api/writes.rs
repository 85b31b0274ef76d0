//! Writes of the configuration, and what they would change.

use std::{collections::BTreeMap, time::Duration};

use axum::{Extension, extract::State, response::Response};
use consensus::Consistency;
use http::HeaderMap;
use model::{
    Object, ObjectKey, Revision,
    api::{Action, ApplyResponse, DiffResponse, ObjectDiff, RollbackRequest},
};
use serde::Deserialize;

use super::{
    ACK_WAIT_MAX, Shared, acks,
    connection::Peer,
    fields,
    objects::Address,
    repeated,
    reply::{ApiError, json_at},
    request::{Content, Params, Segments, request_id},
    types::WriteResponse,
};
use crate::{
    control::{ApplyOptions, handle::Spread},
    tokens::Caller,
};

/// The longest message of the history.
const MESSAGE_BYTES_MAX: usize = 1024;
/// How long is waited for acknowledgements when no time is given.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);

/// Refuses a message that is too long for the history.
pub(super) fn checked_message(message: &str) -> Result<(), ApiError> {
    if message.len() > MESSAGE_BYTES_MAX {
        let length = message.len();
        return Err(ApiError::bad_request(format!(
            "the message has {length} bytes; {MESSAGE_BYTES_MAX} are allowed"
        )));
    }
    Ok(())
}

/// The query of every write.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WriteQuery {
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    wait: bool,
    timeout: Option<String>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    all_at_once: bool,
    expect_revision: Option<u64>,
    #[serde(default)]
    message: String,
}

impl WriteQuery {
    fn options(
        &self,
        caller: &Caller,
        peer: Peer,
        headers: &HeaderMap,
    ) -> Result<ApplyOptions, ApiError> {
        checked_message(&self.message)?;
        Ok(ApplyOptions {
            actor: caller.name.clone(),
            message: self.message.clone(),
            request: request_id(headers, &caller.name)?,
            force: self.force,
            caller: peer.0,
            dry_run: self.dry_run,
            expect_revision: self.expect_revision.map(Revision),
            spread: if self.all_at_once { Spread::AtOnce } else { Spread::ByPolicy },
        })
    }

    /// How long to wait for acknowledgements, when at all.
    fn waiting(&self) -> Result<Option<Duration>, ApiError> {
        let timeout = match &self.timeout {
            Some(text) => acks::time(text)?.min(ACK_WAIT_MAX),
            None => WAIT_DEFAULT,
        };
        Ok((self.wait && !self.dry_run).then_some(timeout))
    }
}

pub(super) async fn apply(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(peer): Extension<Peer>,
    query: Result<Params<WriteQuery>, ApiError>,
    headers: HeaderMap,
    content: Content,
) -> Result<Response, ApiError> {
    // After the body: an answer before its end would break the connection under the caller.
    let Params(query) = query?;
    let options = query.options(&caller, peer, &headers)?;
    let waiting = query.waiting()?;
    let objects = documents(content).await?;
    let written = match repeated::earlier(&shared.control, &options).await? {
        Some(written) => written,
        None => shared.control.apply(objects, options).await?,
    };
    Ok(respond(&shared, written, waiting).await)
}

pub(super) async fn rollback(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(peer): Extension<Peer>,
    query: Result<Params<WriteQuery>, ApiError>,
    headers: HeaderMap,
    content: Content,
) -> Result<Response, ApiError> {
    // After the body: an answer before its end would break the connection under the caller.
    let Params(query) = query?;
    let options = query.options(&caller, peer, &headers)?;
    let waiting = query.waiting()?;
    let RollbackRequest { revision } = content.json()?;
    let written = match repeated::earlier(&shared.control, &options).await? {
        Some(written) => written,
        None => shared.control.rollback(revision, options).await?,
    };
    Ok(respond(&shared, written, waiting).await)
}

pub(super) async fn remove(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(peer): Extension<Peer>,
    Segments(address): Segments<Address>,
    Params(query): Params<WriteQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let options = query.options(&caller, peer, &headers)?;
    let waiting = query.waiting()?;
    let keys = vec![address.key()?];
    let written = match repeated::earlier(&shared.control, &options).await? {
        Some(written) => written,
        None => shared.control.delete(keys, options).await?,
    };
    Ok(respond(&shared, written, waiting).await)
}

/// What an apply of the documents would change. Validates as the apply would, and writes nothing.
pub(super) async fn diff(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    content: Content,
) -> Result<Response, ApiError> {
    let objects = documents(content).await?;
    let new: BTreeMap<ObjectKey, serde_json::Value> =
        objects.iter().map(|object| (object.key(), object.to_value())).collect();
    // A look; the apply is what the guard against lock-outs may refuse.
    let options =
        ApplyOptions { actor: caller.name, dry_run: true, force: true, ..ApplyOptions::default() };
    let planned = shared.control.apply(objects, options).await?;
    let present = shared
        .control
        .snapshot(Consistency::AtLeast(consensus::Revision(planned.revision.0)))
        .await?;
    let objects = planned
        .objects
        .into_iter()
        .filter(|outcome| outcome.action != Action::Unchanged)
        .map(|outcome| {
            let old = present.get(&outcome.object).map(|object| object.to_value());
            ObjectDiff {
                fields: fields::changes(old.as_ref(), new.get(&outcome.object)),
                object: outcome.object,
                action: outcome.action,
            }
        })
        .collect();
    let body = DiffResponse { revision: planned.revision, objects };
    Ok(json_at(body.revision, &body))
}

/// Parses documents away from the threads that serve others: 16 MiB take a second.
async fn documents(content: Content) -> Result<Vec<Object>, ApiError> {
    let parsed = tokio::task::spawn_blocking(move || {
        let text = content.text()?;
        model::parse::parse_documents(text).map_err(ApiError::from)
    });
    parsed.await.map_err(|_| ApiError::unavailable("this node is stopping"))?
}

async fn respond(shared: &Shared, written: ApplyResponse, waiting: Option<Duration>) -> Response {
    let acks = match waiting {
        Some(timeout) => Some(acks::wait(shared, written.revision, timeout).await),
        None => None,
    };
    json_at(written.revision, &WriteResponse { written, acks })
}
