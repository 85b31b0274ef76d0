//! The journal's format: a whole configuration, then what changed, each record with its checksum.
//!
//! ```text
//! record  = length (u32, little endian) · crc32c of body (u32, little endian) · body (JSON)
//! journal = header · snapshot start · snapshot chunk … · snapshot end · delta …
//! ```
//! The records after the header are messages of the push protocol, replayed through the client's
//! own state machine: what may not come from a server may not come from the disk either. Replay
//! stops at the first record that is torn, damaged or wrong; what stands before it is a state that
//! was in force, and is used.

use std::sync::Arc;

use model::{Change, Object, Revision, Snapshot, parse::object_from_value};
use runtime::{
    identity::{ClusterId, NodeId},
    push::{Command, Follower, ToPlane, snapshot_messages},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The format's version; another one is not read.
const FORMAT: u32 = 1;

/// Bytes before a record's body.
const PREFIX: usize = 8;

/// Longest record that is believed: the greatest frame of the push protocol.
pub(super) const RECORD_MAX: usize = runtime::push::MAX_FRAME;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    cluster: ClusterId,
}

/// Why replay stopped before the journal's end, or gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The last record is incomplete, as after a power loss within a write.
    #[error("the record at byte {at} is incomplete")]
    Torn {
        /// Where it begins.
        at: usize,
    },
    /// A record's checksum or length is wrong.
    #[error("the record at byte {at} is damaged")]
    Checksum {
        /// Where it begins.
        at: usize,
    },
    /// The header is no header of this format.
    #[error("the file is not a journal of format {FORMAT}")]
    Header,
    /// It is of another cluster.
    #[error("the journal is of cluster {found}, this node belongs to {own}")]
    OtherCluster {
        /// The journal's cluster.
        found: ClusterId,
        /// The node's.
        own: ClusterId,
    },
    /// A record is whole, but makes no sense where it stands.
    #[error("the record at byte {at} is wrong: {reason}")]
    Record {
        /// Where it begins.
        at: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a journal holds.
#[derive(Debug)]
pub struct Replayed {
    /// The last whole configuration, if there is any.
    pub config: Option<Snapshot>,
    /// Why replay stopped early; `None` when the journal is whole.
    pub damage: Option<Damage>,
}

/// Encodes a whole configuration.
#[must_use]
pub fn encode_base(cluster: &ClusterId, config: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, &Header { format: FORMAT, cluster: cluster.clone() });
    let objects = config
        .objects()
        .map(|(_, object)| {
            let value = object.to_value();
            let length = value.to_string().len();
            (value, length)
        })
        .collect();
    for message in snapshot_messages(config.revision(), objects) {
        push(&mut bytes, &message);
    }
    bytes
}

/// Encodes the step from one configuration to a later one.
#[must_use]
pub fn encode_delta(from: &Snapshot, to: &Snapshot) -> Vec<u8> {
    let (mut puts, mut deletes) = (Vec::new(), Vec::new());
    for change in from.diff(to) {
        match change {
            Change::Added(object) | Change::Modified { new: object, .. } => {
                puts.push(object.to_value());
            }
            Change::Removed(object) => deletes.push(object.key()),
        }
    }
    let mut bytes = Vec::new();
    push(&mut bytes, &ToPlane::Delta { from: from.revision(), to: to.revision(), puts, deletes });
    bytes
}

fn push(bytes: &mut Vec<u8>, record: &impl Serialize) {
    push_body(bytes, &serde_json::to_vec(record).expect("records have string keys only"));
}

/// Appends a record.
pub(super) fn push_body(bytes: &mut Vec<u8>, body: &[u8]) {
    let length = u32::try_from(body.len()).expect("a record is far below 4 GiB");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    bytes.extend_from_slice(body);
}

/// Reads a journal of `cluster` as far as it is good.
#[must_use]
pub fn replay(bytes: &[u8], cluster: &ClusterId) -> Replayed {
    let mut replay = Replay {
        follower: Follower::new(cluster.clone(), None),
        config: Snapshot::default(),
        complete: false,
    };
    let damage = replay.run(bytes, cluster).err();
    Replayed { config: replay.complete.then_some(replay.config), damage }
}

struct Replay {
    follower: Follower,
    config: Snapshot,
    complete: bool,
}

impl Replay {
    fn run(&mut self, bytes: &[u8], own: &ClusterId) -> Result<(), Damage> {
        let (header, mut at) = record(bytes, 0)?.ok_or(Damage::Header)?;
        let header: Header = serde_json::from_slice(header).map_err(|_| Damage::Header)?;
        if header.format != FORMAT {
            return Err(Damage::Header);
        }
        if header.cluster != *own {
            return Err(Damage::OtherCluster { found: header.cluster, own: own.clone() });
        }
        self.step(ToPlane::Welcome { cluster: own.clone(), node: NodeId::default() })
            .expect("a new follower of the cluster takes its welcome");
        while let Some((body, next)) = record(bytes, at)? {
            let wrong = |reason: String| Damage::Record { at, reason };
            let message = serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))?;
            self.step(message).map_err(wrong)?;
            at = next;
        }
        Ok(())
    }

    fn step(&mut self, message: ToPlane) -> Result<(), String> {
        let command = self.follower.receive(message).map_err(|error| error.to_string())?;
        match command {
            Command::Replace { revision, objects } => {
                let mut config = Snapshot::default();
                put_all(&mut config, objects)?;
                config.set_revision(revision);
                self.config = config;
                self.complete = true;
            }
            Command::Change { revision, puts, deletes } => {
                // A change is taken whole or not at all.
                let mut config = self.config.clone();
                put_all(&mut config, puts)?;
                for key in &deletes {
                    config.remove(key);
                }
                config.set_revision(revision);
                self.config = config;
            }
            Command::Wait | Command::Greeted { .. } => {}
            Command::Health(_)
            | Command::Announce(_)
            | Command::Shares(_)
            | Command::Certificate(_)
            | Command::Challenges(_)
            | Command::Modules(_)
            | Command::ModulePart(_)
            | Command::CountTraffic(_)
            | Command::Pong
            | Command::Leave { .. } => {
                return Err("not a message that is kept".to_owned());
            }
        }
        Ok(())
    }
}

fn put_all(config: &mut Snapshot, objects: Vec<Value>) -> Result<(), String> {
    for value in objects {
        let object: Object = object_from_value(&value).map_err(|errors| errors.to_string())?;
        config.put(Arc::new(object));
    }
    Ok(())
}

/// The body of the record at `at` and where the next one begins; `None` at the end.
pub(super) fn record(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, Damage> {
    let rest = &bytes[at..];
    if rest.is_empty() {
        return Ok(None);
    }
    let word = |from: usize| {
        rest.get(from..from + 4)
            .and_then(|word| <[u8; 4]>::try_from(word).ok())
            .map(u32::from_le_bytes)
            .ok_or(Damage::Torn { at })
    };
    let (length, checksum) = (word(0)? as usize, word(4)?);
    if length > RECORD_MAX {
        return Err(Damage::Checksum { at });
    }
    let body = rest.get(PREFIX..PREFIX + length).ok_or(Damage::Torn { at })?;
    if crc32c::crc32c(body) != checksum {
        return Err(Damage::Checksum { at });
    }
    Ok(Some((body, at + PREFIX + length)))
}

/// The revision at which a configuration stands, for logs.
#[must_use]
pub fn revision_of(config: Option<&Snapshot>) -> Revision {
    config.map_or(Revision::ZERO, Snapshot::revision)
}

#[cfg(test)]
mod tests;
