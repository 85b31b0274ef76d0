//! The format of the refusals that stand: one record, whole or not at all (pure).
//!
//! ```text
//! file = "mpxrefus" · version (one byte) · record (see `lkg::journal`), whose body is a protobuf message (see `message`)
//! ```
//! A body is bounded by the longest record that is believed; resources beyond it are left out.

use std::collections::BTreeMap;

use model::key::InvalidKey;
use prost::Message;
use runtime::identity::ClusterId;

use super::message::{Body, Entry};
use crate::{
    lkg::journal::{self, Damage, RECORD_MAX},
    xds::Standing,
};

/// What the file begins with: its kind and, in the last byte, the format's version.
const HEADER: [u8; 9] = *b"mpxrefus\x01";

/// Longest body: some 20,000 refused hosts, with the version that stands in for each.
const BODY_MAX: usize = RECORD_MAX;

/// A field's tag and length, at most.
const FIELD_PREFIX: usize = 6;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidStanding {
    /// It begins otherwise.
    #[error("the file is not one of refusals in format 1")]
    Header,
    /// Its record is torn or damaged, or there is none.
    #[error(transparent)]
    Record(#[from] Damage),
    /// Something follows the record.
    #[error("the file goes on after the record, at byte {at}")]
    Trailing {
        /// Where.
        at: usize,
    },
    /// The record's body is no such message.
    #[error("the record is not understood")]
    Body(#[from] prost::DecodeError),
    /// It is of another cluster.
    #[error("the file is of cluster {found}, this node belongs to {own}")]
    OtherCluster {
        /// The file's cluster.
        found: String,
        /// The node's.
        own: ClusterId,
    },
    /// A resource is of a type that Envoy is not sent.
    #[error("{type_url:?} is no resource type")]
    Type {
        /// What stands there.
        type_url: String,
    },
    /// An object's key is none.
    #[error(transparent)]
    Key(#[from] InvalidKey),
}

/// An encoded file.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    /// Resources for which there was no room.
    pub(super) left_out: usize,
}

/// Encodes what stands on a node of `cluster`: what is refused first, then what that needs.
pub(super) fn encode(cluster: &ClusterId, standing: &Standing) -> Encoded {
    let mut body = Body { cluster: cluster.to_string(), entries: Vec::new() };
    let mut length = body.encoded_len();
    let (refused, needed): (Vec<_>, Vec<_>) =
        standing.0.iter().partition(|(_, kept)| !kept.refused.is_empty());
    for (id, kept) in refused.into_iter().chain(needed) {
        let entry = Entry::of(id, kept);
        length += entry.encoded_len() + FIELD_PREFIX;
        if length > BODY_MAX {
            break;
        }
        body.entries.push(entry);
    }
    let mut bytes = HEADER.to_vec();
    journal::push_body(&mut bytes, &body.encode_to_vec());
    Encoded { bytes, left_out: standing.0.len() - body.entries.len() }
}

/// Decodes a file of `cluster`.
///
/// # Errors
/// It is damaged, or not such a file; nothing of it is to be used.
pub(super) fn decode(bytes: &[u8], cluster: &ClusterId) -> Result<Standing, InvalidStanding> {
    if !bytes.starts_with(&HEADER) {
        return Err(InvalidStanding::Header);
    }
    let at = HEADER.len();
    let (body, end) = journal::record(bytes, at)?.ok_or(Damage::Torn { at })?;
    if end != bytes.len() {
        return Err(InvalidStanding::Trailing { at: end });
    }
    let body = Body::decode(body)?;
    if body.cluster != cluster.to_string() {
        return Err(InvalidStanding::OtherCluster { found: body.cluster, own: cluster.clone() });
    }
    let entries = body.entries.into_iter().map(Entry::into_kept);
    Ok(Standing(entries.collect::<Result<BTreeMap<_, _>, _>>()?))
}

#[cfg(test)]
mod tests;
