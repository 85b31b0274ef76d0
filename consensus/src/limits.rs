//! The bounds of keys, values and transactions.

/// A key is a path of a few names; 1 KiB leaves room for four of the longest legal ones.
pub const KEY_BYTES_MAX: usize = 1024;

/// One object. Ten thousand endpoints at a hundred bytes fit, and a message never outgrows gRPC.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// All keys and values of a transaction: ten thousand objects of 800 bytes.
pub const TRANSACTION_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Writes in a transaction, so that one entry never holds up apply for long.
pub const TRANSACTION_OPS_MAX: usize = 65_536;

/// Actor and message of a transaction, each.
pub const NOTE_BYTES_MAX: usize = 4096;

/// Revisions whose changes are kept for watches, `history` and `read_at`.
pub const HISTORY_REVISIONS_MAX: usize = 1_000;

/// Keys and values that the kept revisions may hold in memory and in a snapshot.
pub const HISTORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Remembered requests; at a thousand writes a second this is over a minute of retries.
pub const SESSIONS_MAX: usize = 100_000;

/// How long a request is remembered, in log time; longer than any caller goes on retrying.
pub const SESSION_TTL_MS: u64 = 15 * 60 * 1000;

/// Requests that are remembered whatever their age, so that a leader whose clock is an hour ahead
/// does not make every retry that is under way apply twice.
pub const SESSIONS_MIN: usize = 10_000;

/// Voters: five is the recommendation, and each more costs latency and buys little.
pub const VOTERS_MAX: usize = 7;

/// Entries that a learner may be behind when it becomes a voter.
pub const PROMOTION_LAG_MAX: u64 = 1_000;
