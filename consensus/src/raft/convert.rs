//! Between openraft's values and the bytes on disk and on the wire.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::EntryPayload;
use prost::Message;

use super::command::{Command, InvalidCommand};
use super::{Entry, LogId, Membership, Node, SnapshotMeta, StoredMembership, Vote};
use crate::ids::NodeAddresses;
use crate::pb::storage as pb;

/// Why a message means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidMessage {
    #[error("field {0} is missing")]
    Missing(&'static str),
    #[error("{0} is no address")]
    Address(String),
    #[error("the membership contradicts itself: {0}")]
    Membership(String),
    #[error("the entry cannot be decoded")]
    Entry,
    #[error(transparent)]
    Command(#[from] InvalidCommand),
}

pub(crate) fn log_id(id: &pb::LogId) -> LogId {
    LogId::new_term_index(id.term, id.index)
}

pub(crate) fn log_id_message(id: &LogId) -> pb::LogId {
    pb::LogId { term: id.committed_leader_id().term, index: id.index() }
}

pub(crate) fn vote(vote: &pb::Vote) -> Vote {
    match vote.committed {
        true => Vote::new_committed(vote.term, vote.node),
        false => Vote::new(vote.term, vote.node),
    }
}

pub(crate) fn vote_message(vote: &Vote) -> pb::Vote {
    pb::Vote {
        term: vote.leader_id.term,
        node: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub(crate) fn addresses_message(a: &NodeAddresses) -> pb::Addresses {
    pb::Addresses {
        name: a.name.clone(),
        api: a.api.to_string(),
        raft: a.raft.to_string(),
        push: a.push.to_string(),
        zone: a.zone.clone(),
    }
}

pub(crate) fn addresses(a: &pb::Addresses) -> Result<NodeAddresses, InvalidMessage> {
    let parse = |text: &str| text.parse().map_err(|_| InvalidMessage::Address(text.to_owned()));
    Ok(NodeAddresses {
        name: a.name.clone(),
        api: parse(&a.api)?,
        raft: parse(&a.raft)?,
        push: parse(&a.push)?,
        zone: a.zone.clone(),
    })
}

pub(crate) fn membership_message(m: &Membership) -> pb::Membership {
    let voters = |set: &BTreeSet<u64>| pb::Voters { nodes: set.iter().copied().collect() };
    let member = |(node, a): (&u64, &Node)| pb::Member {
        node: *node,
        addresses: Some(addresses_message(&a.0)),
    };
    pb::Membership {
        configs: m.get_joint_config().iter().map(voters).collect(),
        members: m.nodes().map(member).collect(),
    }
}

pub(crate) fn members(m: &pb::Membership) -> Result<BTreeMap<u64, Node>, InvalidMessage> {
    let member = |m: &pb::Member| {
        let a = m.addresses.as_ref().ok_or(InvalidMessage::Missing("addresses"))?;
        Ok((m.node, Node(addresses(a)?)))
    };
    m.members.iter().map(member).collect()
}

pub(crate) fn membership(m: &pb::Membership) -> Result<Membership, InvalidMessage> {
    let configs: Vec<BTreeSet<u64>> =
        m.configs.iter().map(|v| v.nodes.iter().copied().collect()).collect();
    if configs.is_empty() && m.members.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, members(m)?).map_err(|e| InvalidMessage::Membership(e.to_string()))
}

pub(crate) fn stored_membership_message(m: &StoredMembership) -> pb::StoredMembership {
    pb::StoredMembership {
        log_id: m.log_id().as_ref().map(log_id_message),
        membership: Some(membership_message(m.membership())),
    }
}

pub(crate) fn stored_membership(
    m: Option<&pb::StoredMembership>,
) -> Result<StoredMembership, InvalidMessage> {
    let Some(m) = m else { return Ok(StoredMembership::default()) };
    let inner = m.membership.clone().unwrap_or_default();
    Ok(StoredMembership::new(m.log_id.as_ref().map(log_id), membership(&inner)?))
}

pub(crate) fn snapshot_meta(image: &pb::Image) -> Result<SnapshotMeta, InvalidMessage> {
    Ok(SnapshotMeta {
        last_log_id: image.applied.as_ref().map(log_id),
        last_membership: stored_membership(image.membership.as_ref())?,
    })
}

pub(crate) fn entry_message(entry: &Entry) -> pb::Entry {
    let payload = match &entry.payload {
        EntryPayload::Blank => pb::Payload::Blank(true),
        EntryPayload::Normal(command) => pb::Payload::Command(command.0.clone()),
        EntryPayload::Membership(m) => pb::Payload::Membership(membership_message(m)),
    };
    pb::Entry { log_id: Some(log_id_message(&entry.log_id)), payload: Some(payload) }
}

/// Turns a message into an entry, refusing commands of an unknown version.
pub(crate) fn entry(message: pb::Entry) -> Result<Entry, InvalidMessage> {
    let id = message.log_id.ok_or(InvalidMessage::Missing("log_id"))?;
    let payload = match message.payload.ok_or(InvalidMessage::Missing("payload"))? {
        pb::Payload::Blank(_) => EntryPayload::Blank,
        pb::Payload::Command(bytes) => {
            let command = Command(bytes);
            command.check()?;
            EntryPayload::Normal(command)
        }
        pb::Payload::Membership(m) => EntryPayload::Membership(membership(&m)?),
    };
    Ok(Entry { log_id: log_id(&id), payload })
}

/// The payload of an entry's log record; term and index are in the record itself.
pub(crate) fn entry_payload(entry: &Entry) -> Bytes {
    let message = pb::Entry { log_id: None, ..entry_message(entry) };
    Bytes::from(message.encode_to_vec())
}

/// The entry of a log record.
pub(crate) fn entry_of(id: pb::LogId, payload: Bytes) -> Result<Entry, InvalidMessage> {
    let message = pb::Entry::decode(payload).map_err(|_| InvalidMessage::Entry)?;
    entry(pb::Entry { log_id: Some(id), ..message })
}
