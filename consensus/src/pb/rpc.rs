//! What members say to each other. Each request begins with a [`Header`].

use bytes::Bytes;

use super::storage::{Command, Entry, LogId, Membership, Vote};

/// The version of the messages between members.
pub(crate) const RPC_VERSION: u32 = 1;

/// Who speaks to whom, in which cluster; a mismatch is refused before anything else is read.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Header {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(string, tag = "2")]
    pub(crate) cluster: String,
    #[prost(uint64, tag = "3")]
    pub(crate) from: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) to: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AppendRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(message, optional, tag = "2")]
    pub(crate) vote: Option<Vote>,
    #[prost(message, optional, tag = "3")]
    pub(crate) previous: Option<LogId>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) entries: Vec<Entry>,
    #[prost(message, optional, tag = "5")]
    pub(crate) committed: Option<LogId>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AppendResponse {
    #[prost(oneof = "AppendOutcome", tags = "1, 2, 3, 4")]
    pub(crate) outcome: Option<AppendOutcome>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum AppendOutcome {
    #[prost(bool, tag = "1")]
    Success(bool),
    #[prost(message, tag = "2")]
    Partial(MaybeLogId),
    #[prost(bool, tag = "3")]
    Conflict(bool),
    #[prost(message, tag = "4")]
    HigherVote(Vote),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MaybeLogId {
    #[prost(message, optional, tag = "1")]
    pub(crate) log_id: Option<LogId>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct VoteRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(message, optional, tag = "2")]
    pub(crate) vote: Option<Vote>,
    #[prost(message, optional, tag = "3")]
    pub(crate) last: Option<LogId>,
    #[prost(bool, tag = "4")]
    pub(crate) leadership_transfer: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct VoteResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) vote: Option<Vote>,
    #[prost(bool, tag = "2")]
    pub(crate) granted: bool,
    #[prost(message, optional, tag = "3")]
    pub(crate) last: Option<LogId>,
}

/// A piece of a snapshot file; the first one carries header and vote.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotPiece {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(message, optional, tag = "2")]
    pub(crate) vote: Option<Vote>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) vote: Option<Vote>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TransferRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(message, optional, tag = "2")]
    pub(crate) vote: Option<Vote>,
    #[prost(message, optional, tag = "3")]
    pub(crate) last: Option<LogId>,
}

/// Empty `refused` means that the target stands for election.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TransferResponse {
    #[prost(bool, tag = "1")]
    pub(crate) vote_changed: bool,
    #[prost(bool, tag = "2")]
    pub(crate) not_flushed: bool,
    #[prost(message, optional, tag = "3")]
    pub(crate) actual_vote: Option<Vote>,
    #[prost(message, optional, tag = "4")]
    pub(crate) actual_last: Option<LogId>,
}

/// A call that only the leader can answer, sent on by another member.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ForwardRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(oneof = "Call", tags = "2, 3, 4, 5")]
    pub(crate) call: Option<Call>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Call {
    #[prost(message, tag = "2")]
    Propose(Command),
    #[prost(bool, tag = "3")]
    ReadIndex(bool),
    #[prost(bool, tag = "4")]
    AllocateNodeId(bool),
    #[prost(message, tag = "5")]
    Change(Change),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Change {
    #[prost(oneof = "ChangeKind", tags = "1, 2, 3")]
    pub(crate) kind: Option<ChangeKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum ChangeKind {
    /// Exactly one member, and no voters.
    #[prost(message, tag = "1")]
    AddLearner(Membership),
    #[prost(uint64, tag = "2")]
    Promote(u64),
    #[prost(uint64, tag = "3")]
    Remove(u64),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ForwardResponse {
    #[prost(oneof = "Answer", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    pub(crate) answer: Option<Answer>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Answer {
    #[prost(message, tag = "1")]
    Committed(Committed),
    #[prost(message, tag = "2")]
    Conflict(Conflict),
    #[prost(message, tag = "3")]
    CompareCompacted(CompareCompacted),
    /// The entry that a linearizable read must wait for.
    #[prost(message, tag = "4")]
    ReadIndex(LogId),
    #[prost(uint64, tag = "5")]
    NodeId(u64),
    #[prost(bool, tag = "6")]
    Changed(bool),
    /// Not executed: the receiver does not lead; the id of the leader, zero when unknown.
    #[prost(uint64, tag = "7")]
    NotLeader(u64),
    /// May have been executed.
    #[prost(string, tag = "8")]
    Unknown(String),
    #[prost(message, tag = "9")]
    ChangeRefused(ChangeRefused),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Committed {
    #[prost(uint64, tag = "1")]
    pub(crate) revision: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) time_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Conflict {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) expected: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) found: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CompareCompacted {
    #[prost(string, tag = "1")]
    pub(crate) prefix: String,
    #[prost(uint64, tag = "2")]
    pub(crate) revision: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) floor: u64,
}

/// The fields of a refusal; which of them mean something depends on `reason`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ChangeRefused {
    #[prost(enumeration = "ChangeReason", tag = "1")]
    pub(crate) reason: i32,
    #[prost(uint64, tag = "2")]
    pub(crate) node: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) have: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum ChangeReason {
    Unspecified = 0,
    InProgress = 1,
    Unknown = 2,
    AddressesDiffer = 3,
    NotCaughtUp = 4,
    QuorumAtRisk = 5,
    TooManyVoters = 6,
}
