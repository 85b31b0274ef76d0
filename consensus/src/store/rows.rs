//! Rows of the state as keys and values of sled.
//!
//! Key: a prefix byte, the row's name, a zero byte, and the number of the piece (u16, big-endian).
//! A value above 64 KiB goes into pieces, because sled writes large values to files of their own
//! without a sync. The first piece begins with the number of pieces and the crc32c of the whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use sled::{Batch, Tree};

use super::StoreError;
use crate::ids::Revision;
use crate::pb::storage::{Image, Row, RowKind, STORE_VERSION, StoreHeader};
use crate::state::State;
use crate::state::apply::Changes;
use crate::state::image::{self, Assembly, batch_row, object_row, session_row};
use crate::transaction::RequestId;

/// Bytes of a value in sled.
const PIECE_BYTES: usize = 60 * 1024;
/// Rows of one batch while everything is written anew; bounds memory.
const ROWS_PER_BATCH: usize = 1_000;

const HEADER: &[u8] = b"h";

fn object_name(key: &str) -> Vec<u8> {
    [b"o", key.as_bytes()].concat()
}

fn session_name(request: RequestId) -> Vec<u8> {
    [&b"s"[..], &request.0.to_be_bytes()].concat()
}

fn batch_name(revision: Revision) -> Vec<u8> {
    [&b"b"[..], &revision.0.to_be_bytes()].concat()
}

fn piece_key(name: &[u8], piece: u16) -> Vec<u8> {
    [name, &[0], &piece.to_be_bytes()].concat()
}

/// Writes the rows of a group of entries in one atomic batch.
pub(super) fn write(
    tree: &Tree,
    cluster: &str,
    changes: &[Changes],
    image: &Image,
) -> Result<(), StoreError> {
    // The last change of a name counts; sled's own batch does not say which of two wins.
    let mut rows: BTreeMap<Vec<u8>, Option<RowKind>> = BTreeMap::new();
    for change in changes {
        if let Some(batch) = &change.batch {
            rows.insert(batch_name(batch.revision), Some(batch_row(batch)));
            for event in batch.events.iter() {
                let row = event.current.as_ref().map(|v| object_row(&event.key, v));
                rows.insert(object_name(&event.key), row);
            }
        }
        if let Some((request, session)) = &change.session {
            rows.insert(session_name(*request), Some(session_row(*request, session)));
        }
        for request in &change.expired {
            rows.insert(session_name(*request), None);
        }
        for revision in &change.dropped {
            rows.insert(batch_name(*revision), None);
        }
    }
    let mut batch = Batch::default();
    for (name, row) in rows {
        put(tree, &mut batch, &name, row.map(|kind| Row { kind: Some(kind) }.encode_to_vec()))?;
    }
    put(tree, &mut batch, HEADER, Some(header(cluster, image)))?;
    Ok(tree.apply_batch(batch)?)
}

/// Writes everything into an empty tree; the header comes last and makes it whole.
pub(super) fn write_all(
    tree: &Tree,
    cluster: &str,
    image: &Image,
    state: &State,
) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    for (count, kind) in image::rows(state).enumerate() {
        let name = match &kind {
            RowKind::Object(row) => object_name(&row.key),
            RowKind::Session(row) => [&b"s"[..], &row.request].concat(),
            RowKind::Batch(row) => batch_name(Revision(row.revision)),
        };
        put(tree, &mut batch, &name, Some(Row { kind: Some(kind) }.encode_to_vec()))?;
        if count % ROWS_PER_BATCH == ROWS_PER_BATCH - 1 {
            tree.apply_batch(std::mem::take(&mut batch))?;
        }
    }
    put(tree, &mut batch, HEADER, Some(header(cluster, image)))?;
    Ok(tree.apply_batch(batch)?)
}

/// Reads everything.
pub(super) fn read(tree: &Tree, cluster: &str) -> Result<(Image, State), StoreError> {
    let mut assembly = Assembly::default();
    let mut header = None;
    let mut rows = tree.iter();
    while let Some(row) = rows.next() {
        let (key, first) = row?;
        let damaged = || StoreError::Row(String::from_utf8_lossy(&key).into_owned());
        let name = key.strip_suffix(&[0, 0, 0]).ok_or_else(damaged)?;
        let (pieces, sum) = piece_header(&first).ok_or_else(damaged)?;
        let mut value = first[6..].to_vec();
        for piece in 1..pieces {
            let (key, more) = rows.next().ok_or_else(damaged)??;
            if key != piece_key(name, piece) {
                return Err(damaged());
            }
            value.extend_from_slice(&more);
        }
        if crc32c::crc32c(&value) != sum {
            return Err(damaged());
        }
        if name == HEADER {
            header = Some(StoreHeader::decode(&value[..]).map_err(|_| damaged())?);
            continue;
        }
        let row = Row::decode(Bytes::from(value)).map_err(|_| damaged())?;
        assembly.add(row.kind.ok_or_else(damaged)?)?;
    }
    let header = header.ok_or(StoreError::Unfinished)?;
    if header.version != STORE_VERSION {
        return Err(StoreError::Version(header.version));
    }
    if header.cluster != cluster {
        return Err(StoreError::Foreign(header.cluster));
    }
    let image = header.image.unwrap_or_default();
    let state = assembly.finish(&image)?;
    Ok((image, state))
}

fn header(cluster: &str, image: &Image) -> Vec<u8> {
    StoreHeader { version: STORE_VERSION, cluster: cluster.to_owned(), image: Some(image.clone()) }
        .encode_to_vec()
}

fn piece_header(first: &[u8]) -> Option<(u16, u32)> {
    let pieces = u16::from_be_bytes(first.get(..2)?.try_into().ok()?);
    let sum = u32::from_be_bytes(first.get(2..6)?.try_into().ok()?);
    (pieces > 0).then_some((pieces, sum))
}

/// Adds a row, or its removal, with all its pieces to a batch.
fn put(
    tree: &Tree,
    batch: &mut Batch,
    name: &[u8],
    value: Option<Vec<u8>>,
) -> Result<(), StoreError> {
    let first = tree.get(piece_key(name, 0))?;
    let old = first.and_then(|f| piece_header(&f)).map_or(0, |(pieces, _)| pieces);
    let mut new = 0;
    if let Some(value) = value {
        let mut chunks = value.chunks(PIECE_BYTES);
        let count = value.len().div_ceil(PIECE_BYTES).max(1);
        new = u16::try_from(count).expect("limits keep a row below 3 GiB");
        let mut first = new.to_be_bytes().to_vec();
        first.extend_from_slice(&crc32c::crc32c(&value).to_be_bytes());
        first.extend_from_slice(chunks.next().unwrap_or_default());
        batch.insert(piece_key(name, 0), first);
        for (piece, chunk) in (1..).zip(chunks) {
            batch.insert(piece_key(name, piece), chunk);
        }
    }
    for piece in new..old {
        batch.remove(piece_key(name, piece));
    }
    Ok(())
}
