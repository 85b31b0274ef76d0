//! A transaction as bytes: encoded once by the leader, decoded once by each apply.

use std::fmt;

use bytes::Bytes;
use prost::Message;

use crate::ids::Revision;
use crate::pb::storage::{self as pb, COMMAND_VERSION};
use crate::state::image::request_id;
use crate::transaction::{Compare, Op, Transaction};

/// The bytes of a versioned command.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} bytes)", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why bytes are no command that this program may apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidCommand {
    #[error("the command cannot be decoded")]
    Malformed,
    #[error(
        "the command has version {found}, this program applies up to {COMMAND_VERSION}: run the newer program"
    )]
    Version { found: u32 },
}

/// Only the version, so that it can be told before the rest is understood.
#[derive(Clone, PartialEq, prost::Message)]
struct VersionOnly {
    #[prost(uint32, tag = "1")]
    version: u32,
}

impl Command {
    /// Stamps a transaction with the leader's time.
    pub(crate) fn stamp(mut message: pb::Command, time_ms: u64) -> Self {
        message.time_ms = time_ms;
        Self(Bytes::from(message.encode_to_vec()))
    }

    /// Refuses a version that this program does not know.
    pub(crate) fn check(&self) -> Result<(), InvalidCommand> {
        let version = VersionOnly::decode(self.0.clone());
        match version.map_err(|_| InvalidCommand::Malformed)?.version {
            COMMAND_VERSION => Ok(()),
            found => Err(InvalidCommand::Version { found }),
        }
    }

    /// Returns the leader's time and the transaction.
    pub(crate) fn decode(&self) -> Result<(u64, Transaction), InvalidCommand> {
        self.check()?;
        let message = pb::Command::decode(self.0.clone()).map_err(|_| InvalidCommand::Malformed)?;
        Ok((message.time_ms, transaction(message)?))
    }
}

/// The message of a transaction, without a time.
pub(crate) fn message(transaction: Transaction) -> pb::Command {
    let compare = |c: Compare| pb::Compare {
        kind: Some(match c {
            Compare::KeyRevision { key, revision } => {
                pb::CompareKind::Key(pb::CompareKey { key, revision: revision.map(|r| r.0) })
            }
            Compare::PrefixAtMost { prefix, revision } => {
                pb::CompareKind::Prefix(pb::ComparePrefix { prefix, revision: revision.0 })
            }
        }),
    };
    let op = |op: Op| match op {
        Op::Put { key, value } => pb::Op { key, value: Some(value) },
        Op::Delete { key } => pb::Op { key, value: None },
    };
    pb::Command {
        version: COMMAND_VERSION,
        time_ms: 0,
        request: transaction.request.0.to_be_bytes().to_vec(),
        actor: transaction.actor,
        message: transaction.message,
        compare: transaction.compare.into_iter().map(compare).collect(),
        ops: transaction.ops.into_iter().map(op).collect(),
    }
}

/// The transaction of a message.
pub(crate) fn transaction(message: pb::Command) -> Result<Transaction, InvalidCommand> {
    let compare = |c: pb::Compare| match c.kind.ok_or(InvalidCommand::Malformed)? {
        pb::CompareKind::Key(c) => {
            Ok(Compare::KeyRevision { key: c.key, revision: c.revision.map(Revision) })
        }
        pb::CompareKind::Prefix(c) => {
            Ok(Compare::PrefixAtMost { prefix: c.prefix, revision: Revision(c.revision) })
        }
    };
    let op = |op: pb::Op| match op.value {
        Some(value) => Op::Put { key: op.key, value },
        None => Op::Delete { key: op.key },
    };
    Ok(Transaction {
        request: request_id(&message.request).ok_or(InvalidCommand::Malformed)?,
        actor: message.actor,
        message: message.message,
        compare: message.compare.into_iter().map(compare).collect::<Result<_, _>>()?,
        ops: message.ops.into_iter().map(op).collect(),
    })
}
