//! The state as rows, for snapshots and the store, and back.

use std::sync::Arc;

use super::{Session, State};
use crate::history::{Batch, Event};
use crate::ids::Revision;
use crate::pb::storage as pb;
use crate::transaction::RequestId;
use crate::view::Versioned;

/// Why rows do not add up to a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidImage {
    #[error("a {0} is incomplete")]
    Incomplete(&'static str),
    #[error("{found} {what} found where {expected} were written")]
    Count { what: &'static str, found: u64, expected: u64 },
    #[error("revision {0} of the history is out of order")]
    Order(Revision),
}

impl From<&Versioned> for pb::Versioned {
    fn from(v: &Versioned) -> Self {
        pb::Versioned {
            value: v.value.clone(),
            mod_revision: v.mod_revision.0,
            create_revision: v.create_revision.0,
            time_ms: v.time_ms,
        }
    }
}

impl From<pb::Versioned> for Versioned {
    fn from(v: pb::Versioned) -> Self {
        Versioned {
            value: bytes::Bytes::copy_from_slice(&v.value),
            mod_revision: Revision(v.mod_revision),
            create_revision: Revision(v.create_revision),
            time_ms: v.time_ms,
        }
    }
}

pub(crate) fn object_row(key: &str, version: &Versioned) -> pb::RowKind {
    pb::RowKind::Object(pb::Object { key: key.to_owned(), version: Some(version.into()) })
}

pub(crate) fn session_row(request: RequestId, session: &Session) -> pb::RowKind {
    pb::RowKind::Session(pb::Session {
        request: request.0.to_be_bytes().to_vec(),
        revision: session.revision.0,
        time_ms: session.time_ms,
    })
}

pub(crate) fn batch_row(batch: &Batch) -> pb::RowKind {
    let event = |e: &Event| pb::Event {
        key: e.key.clone(),
        previous: e.previous.as_ref().map(Into::into),
        current: e.current.as_ref().map(Into::into),
    };
    pb::RowKind::Batch(pb::Batch {
        revision: batch.revision.0,
        time_ms: batch.time_ms,
        request: batch.request.0.to_be_bytes().to_vec(),
        actor: batch.actor.clone(),
        message: batch.message.clone(),
        events: batch.events.iter().map(event).collect(),
    })
}

/// Reads a request id of 16 bytes.
pub(crate) fn request_id(bytes: &[u8]) -> Option<RequestId> {
    Some(RequestId(u128::from_be_bytes(bytes.try_into().ok()?)))
}

/// All rows: objects by key, sessions by id, batches by revision.
pub(crate) fn rows(state: &State) -> impl Iterator<Item = pb::RowKind> {
    let objects = state.objects.iter().map(|(key, version)| object_row(key, version));
    let sessions = state.sessions.iter().map(|(request, s)| session_row(*request, s));
    let batches = state.history.iter().map(batch_row);
    objects.chain(sessions).chain(batches)
}

/// Fills the counts and clocks of an image; position and membership are the caller's.
pub(crate) fn describe(state: &State, image: &mut pb::Image) {
    image.time_ms = state.time_ms;
    image.floor = state.floor.0;
    image.objects = state.objects.len() as u64;
    image.sessions = state.sessions.len() as u64;
    image.batches = state.history.len() as u64;
}

/// Puts a state together from rows in any order.
#[derive(Default)]
pub(crate) struct Assembly {
    state: State,
    batches: std::collections::BTreeMap<Revision, Batch>,
}

impl Assembly {
    /// Takes one row.
    pub(crate) fn add(&mut self, row: pb::RowKind) -> Result<(), InvalidImage> {
        match row {
            pb::RowKind::Object(row) => {
                let version = row.version.ok_or(InvalidImage::Incomplete("object"))?;
                self.state.objects.insert(row.key.into(), version.into());
            }
            pb::RowKind::Session(row) => {
                let request =
                    request_id(&row.request).ok_or(InvalidImage::Incomplete("session"))?;
                let session = Session { revision: Revision(row.revision), time_ms: row.time_ms };
                self.state.sessions.insert(request, session);
                self.state.session_order.insert(session.revision, request);
            }
            pb::RowKind::Batch(row) => {
                let batch = batch(row)?;
                self.batches.insert(batch.revision, batch);
            }
        }
        Ok(())
    }

    /// Checks the rows against what the image says and returns the state.
    pub(crate) fn finish(mut self, image: &pb::Image) -> Result<State, InvalidImage> {
        for batch in self.batches.into_values() {
            if batch.revision.0 <= image.floor && image.floor != 0 {
                return Err(InvalidImage::Order(batch.revision));
            }
            self.state.history_bytes += batch.weight();
            self.state.history.push_back(batch);
        }
        let state = &mut self.state;
        for (what, found, expected) in [
            ("objects", state.objects.len() as u64, image.objects),
            ("sessions", state.sessions.len() as u64, image.sessions),
            ("sessions by revision", state.session_order.len() as u64, image.sessions),
            ("batches", state.history.len() as u64, image.batches),
        ] {
            if found != expected {
                return Err(InvalidImage::Count { what, found, expected });
            }
        }
        state.revision = Revision(image.applied.as_ref().map_or(0, |id| id.index));
        state.time_ms = image.time_ms;
        state.floor = Revision(image.floor);
        Ok(self.state)
    }
}

fn batch(row: pb::Batch) -> Result<Batch, InvalidImage> {
    let event = |e: pb::Event| Event {
        key: e.key,
        previous: e.previous.map(Into::into),
        current: e.current.map(Into::into),
    };
    Ok(Batch {
        revision: Revision(row.revision),
        time_ms: row.time_ms,
        request: request_id(&row.request).ok_or(InvalidImage::Incomplete("batch"))?,
        actor: row.actor,
        message: row.message,
        events: Arc::new(row.events.into_iter().map(event).collect()),
    })
}
