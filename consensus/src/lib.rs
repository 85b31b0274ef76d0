//! The replicated store of a cluster: keys and bytes, ordered by Raft.
//!
//! [`Consensus`] is the handle: [`Consensus::propose`] commits a compare-and-set transaction as one
//! log entry (one revision, one watch batch), [`Consensus::read`] returns an immutable [`View`],
//! [`Consensus::watch`] follows changes without gaps, and the membership calls grow and shrink the
//! cluster. Every call may be made on every node; what needs the leader is forwarded.
//!
//! What it does not know: kinds of objects, validation, certificates beyond the [`PeerCheck`] that
//! it is given, and who ought to be a member.

mod consensus;
mod directory;
pub mod disk;
mod errors;
mod failure;
#[cfg(test)]
mod fixture;
mod history;
mod ids;
pub mod limits;
mod options;
mod pb;
mod raft;
mod snap;
mod state;
mod status;
mod store;
mod telemetry;
mod transaction;
mod view;
mod wal;
mod watch;

pub use consensus::{Consensus, Consistency};
pub use errors::{
    Compacted, Fatal, InitializeError, MembershipError, ProposeError, ReadError, StartError,
    WatchError,
};
pub use history::{Batch, Event};
pub use ids::{NodeAddresses, NodeId, Revision};
pub use options::{NodeCheck, Options, PeerCheck, Profile, RaftTls, Tuning};
pub use status::{Member, RaftState, RaftStatus};
pub use transaction::{Committed, Compare, Op, RequestId, Transaction};
pub use view::{Versioned, View};
pub use watch::Watcher;
