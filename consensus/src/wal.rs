//! The Raft log and vote on disk: checksummed records in preallocated, append-only segments.
//!
//! One thread writes. It drains whatever is queued into one write and one `fdatasync` and only
//! then reports it done (group commit). Nothing is changed in place: a truncation, a purge and a
//! vote are records too, and replaying all records in order gives the log ([`replay`]).
//!
//! **Invariants.** What was reported durable is found again, or the node refuses to start. A
//! failed write or sync is final: nothing is known about the file after it, so the log is poisoned
//! and the process must exit. Segments are deleted oldest first, and only when every entry that
//! was ever written to them is purged. The next segment is made ahead ([`spare`]), and no append
//! waits for it unless the log is written faster than that.

mod error;
pub(crate) mod log;
mod maker;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod segment;
mod spare;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use error::WalError;
pub(crate) use log::Wal;
