//! What is written to disk: log records, snapshot rows, store rows.

use bytes::Bytes;

/// The newest version of each persisted message that this program reads and the one it writes.
pub(crate) const COMMAND_VERSION: u32 = 1;
/// See [`COMMAND_VERSION`].
pub(crate) const SEGMENT_VERSION: u32 = 1;
/// See [`COMMAND_VERSION`].
pub(crate) const SNAPSHOT_VERSION: u32 = 1;
/// See [`COMMAND_VERSION`].
pub(crate) const STORE_VERSION: u32 = 1;
/// See [`COMMAND_VERSION`].
pub(crate) const DIRECTORY_VERSION: u32 = 1;

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct LogId {
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) index: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Vote {
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) node: u64,
    #[prost(bool, tag = "3")]
    pub(crate) committed: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Addresses {
    #[prost(string, tag = "1")]
    pub(crate) api: String,
    #[prost(string, tag = "2")]
    pub(crate) raft: String,
    #[prost(string, tag = "3")]
    pub(crate) push: String,
    #[prost(string, tag = "4")]
    pub(crate) zone: String,
    #[prost(string, tag = "5")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Voters {
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) nodes: Vec<u64>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Member {
    #[prost(uint64, tag = "1")]
    pub(crate) node: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) addresses: Option<Addresses>,
}

/// One or, while a change is under way, two sets of voters, and all members.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Membership {
    #[prost(message, repeated, tag = "1")]
    pub(crate) configs: Vec<Voters>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) members: Vec<Member>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct StoredMembership {
    #[prost(message, optional, tag = "1")]
    pub(crate) log_id: Option<LogId>,
    #[prost(message, optional, tag = "2")]
    pub(crate) membership: Option<Membership>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Entry {
    #[prost(message, optional, tag = "1")]
    pub(crate) log_id: Option<LogId>,
    #[prost(oneof = "Payload", tags = "2, 3, 4")]
    pub(crate) payload: Option<Payload>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum Payload {
    #[prost(bool, tag = "2")]
    Blank(bool),
    /// An encoded [`Command`], kept as bytes from the leader to apply.
    #[prost(bytes = "bytes", tag = "3")]
    Command(Bytes),
    #[prost(message, tag = "4")]
    Membership(Membership),
}

/// A transaction as the log holds it. The version comes first and is looked at before the rest.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Command {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) time_ms: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) request: Vec<u8>,
    #[prost(string, tag = "4")]
    pub(crate) actor: String,
    #[prost(string, tag = "5")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "6")]
    pub(crate) compare: Vec<Compare>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) ops: Vec<Op>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Compare {
    #[prost(oneof = "CompareKind", tags = "1, 2")]
    pub(crate) kind: Option<CompareKind>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum CompareKind {
    #[prost(message, tag = "1")]
    Key(CompareKey),
    #[prost(message, tag = "2")]
    Prefix(ComparePrefix),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct CompareKey {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) revision: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ComparePrefix {
    #[prost(string, tag = "1")]
    pub(crate) prefix: String,
    #[prost(uint64, tag = "2")]
    pub(crate) revision: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Op {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    /// Absent: the key is deleted.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) value: Option<Bytes>,
}

/// The first record of a log segment: whose it is, and what older, deleted segments would say.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SegmentHeader {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(string, tag = "2")]
    pub(crate) cluster: String,
    #[prost(uint64, tag = "3")]
    pub(crate) node: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) sequence: u64,
    #[prost(message, optional, tag = "5")]
    pub(crate) vote: Option<Vote>,
    #[prost(message, optional, tag = "6")]
    pub(crate) purged: Option<LogId>,
    #[prost(message, optional, tag = "7")]
    pub(crate) committed: Option<LogId>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SnapshotHeader {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(string, tag = "2")]
    pub(crate) cluster: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) image: Option<Image>,
}

/// Everything of the replicated state that is not a row.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Image {
    #[prost(message, optional, tag = "1")]
    pub(crate) applied: Option<LogId>,
    #[prost(message, optional, tag = "2")]
    pub(crate) membership: Option<StoredMembership>,
    #[prost(uint64, tag = "3")]
    pub(crate) time_ms: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) floor: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) objects: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) sessions: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) batches: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Row {
    #[prost(oneof = "RowKind", tags = "1, 2, 3")]
    pub(crate) kind: Option<RowKind>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum RowKind {
    #[prost(message, tag = "1")]
    Object(Object),
    #[prost(message, tag = "2")]
    Session(Session),
    #[prost(message, tag = "3")]
    Batch(Batch),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Object {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) version: Option<Versioned>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Versioned {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) value: Bytes,
    #[prost(uint64, tag = "2")]
    pub(crate) mod_revision: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) create_revision: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) time_ms: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Session {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) request: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub(crate) revision: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) time_ms: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Batch {
    #[prost(uint64, tag = "1")]
    pub(crate) revision: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) time_ms: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) request: Vec<u8>,
    #[prost(string, tag = "4")]
    pub(crate) actor: String,
    #[prost(string, tag = "5")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "6")]
    pub(crate) events: Vec<Event>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Event {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) previous: Option<Versioned>,
    #[prost(message, optional, tag = "3")]
    pub(crate) current: Option<Versioned>,
}

/// The row of the store that says what the others add up to.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct StoreHeader {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(string, tag = "2")]
    pub(crate) cluster: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) image: Option<Image>,
}

/// The file that says whose data directory this is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct DirectoryHeader {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(string, tag = "2")]
    pub(crate) cluster: String,
    #[prost(uint64, tag = "3")]
    pub(crate) node: u64,
}
