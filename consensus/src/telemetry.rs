//! The metrics of this crate: names, units and help texts.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(crate) const TERM: &str = "marchproxy_raft_term";
pub(crate) const LAST_APPLIED: &str = "marchproxy_raft_last_applied";
pub(crate) const LEADER: &str = "marchproxy_raft_is_leader";
pub(crate) const COMMIT_SECONDS: &str = "marchproxy_raft_commit_seconds";
pub(crate) const PROPOSALS: &str = "marchproxy_raft_proposals_total";
pub(crate) const WAL_FSYNC: &str = "marchproxy_wal_fsync_seconds";
pub(crate) const WAL_BYTES: &str = "marchproxy_wal_written_bytes_total";
pub(crate) const WAL_SEGMENTS: &str = "marchproxy_wal_segments_total";
pub(crate) const SNAPSHOTS: &str = "marchproxy_raft_snapshots_total";
pub(crate) const STORE_REBUILDS: &str = "marchproxy_store_rebuilds_total";

/// Tells the recorder what the metrics mean; harmless to repeat.
pub(crate) fn describe() {
    describe_gauge!(TERM, Unit::Count, "Current Raft term.");
    describe_gauge!(LAST_APPLIED, Unit::Count, "Log index of the last applied entry.");
    describe_gauge!(LEADER, Unit::Count, "1 while this node leads, else 0.");
    describe_histogram!(
        COMMIT_SECONDS,
        Unit::Seconds,
        "Time from proposing a transaction on the leader to having applied it."
    );
    describe_counter!(PROPOSALS, Unit::Count, "Proposed transactions by outcome.");
    describe_histogram!(WAL_FSYNC, Unit::Seconds, "Duration of fdatasync on the log.");
    describe_counter!(WAL_BYTES, Unit::Bytes, "Bytes written to the log.");
    describe_counter!(
        WAL_SEGMENTS,
        Unit::Count,
        "Segments of the log begun, made ahead or late: while the log waited."
    );
    describe_counter!(SNAPSHOTS, Unit::Count, "Snapshots by how they came: built or installed.");
    describe_counter!(STORE_REBUILDS, Unit::Count, "Times the store was rebuilt, by reason.");
}
