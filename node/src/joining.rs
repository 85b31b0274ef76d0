//! Joining: how a host with a join line becomes a member.
//!
//! The line ([`JoinLine`]) carries the CA's pin, addresses and a single-use secret. The joiner
//! (`joiner`) pins the CA, sends its certificate requests to the API of any member and saves what
//! it gets; the member (`admission`) consumes the secret by compare-and-set through consensus,
//! numbers the node and adds it as a learner. It becomes a voter when it has caught up
//! (`crate::membership`).
//!
//! A joiner that dies half way keeps its keys, and the used secret lets the same keys in again: the
//! same command goes on where it stopped.

pub(crate) mod admission;
pub(crate) mod http;
pub(crate) mod joiner;
pub(crate) mod line;
pub(crate) mod secret;

use std::time::Duration;

use model::{api::JoinResponse, cluster::NodeId};
use runtime::identity::CLOCK_TOLERANCE;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

pub use line::{InvalidLine, JoinLine};

use crate::certificates::IssueError;

/// How far the clock of a joiner may differ from that of the member it asks: as far as certificates
/// bear it. Beyond that no handshake would succeed; up to that, only times shown to people are off.
pub const CLOCK_SKEW_MAX: Duration = CLOCK_TOLERANCE;

/// The difference from which a member warns: five minutes, what Kerberos allows, mean that nobody
/// keeps the clock.
pub const CLOCK_SKEW_WARN: Duration = Duration::from_secs(5 * 60);

/// The whole answer to a join: the body of `POST /v1/join`. Holds secrets; it is not to be logged.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinGrant {
    /// What every joiner gets.
    #[serde(flatten)]
    pub response: JoinResponse,
    /// The key that the CA's key is encrypted with in the store, base64url.
    pub cluster_key: String,
}

/// Why a join was refused.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The secret is not one of this cluster.
    #[error(
        "the join secret is not one of this cluster: make a new line with `marchproxy token join`"
    )]
    Wrong,
    /// The secret's time is over.
    #[error(
        "the join secret expired {} s ago: make a new line with `marchproxy token join`",
        ago.as_secs()
    )]
    Expired {
        /// For how long.
        ago: Duration,
    },
    /// Another node used the secret.
    #[error(
        "the join secret was used by node {node}: each line admits one node, make another with \
         `marchproxy token join`"
    )]
    Used {
        /// Which node.
        node: NodeId,
    },
    /// The joiner's clock is wrong, or this node's.
    #[error(
        "the joiner's clock shows {}, this node's {}: it is {} s {}, at most {} s are allowed; set \
         the clocks (NTP) and join again", shown(*.theirs_ms), shown(*.own_ms),
        theirs_ms.abs_diff(*own_ms) / 1000, if theirs_ms > own_ms { "ahead" } else { "behind" },
        CLOCK_SKEW_MAX.as_secs()
    )]
    Clock {
        /// The joiner's clock, milliseconds since 1970.
        theirs_ms: u64,
        /// This node's clock.
        own_ms: u64,
    },
    /// The secret's node was removed.
    #[error(
        "the join secret made node {node}, which was removed from the cluster: join with an empty \
         --data-dir and a new line of `marchproxy token join`"
    )]
    Removed {
        /// Which node.
        node: NodeId,
    },
    /// A member has one of the joiner's addresses already.
    #[error(
        "{address} is already node {node}: give this host another address, or take the old node \
         out with `marchproxy nodes remove {node}`"
    )]
    Member {
        /// The member.
        node: NodeId,
        /// The address that both have.
        address: std::net::SocketAddr,
    },
    /// The certificate request cannot be granted.
    #[error("no certificate can be issued")]
    Issue(#[from] IssueError),
    /// Not now. The same line works later.
    #[error("not available: {reason}; the same command can be run again")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

impl JoinError {
    /// A word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Wrong => "unauthorized",
            Self::Expired { .. } => "expired",
            Self::Used { .. } => "used",
            Self::Clock { .. } => "clock_skew",
            Self::Removed { .. } => "removed",
            Self::Member { .. } => "already_member",
            Self::Issue(_) => "invalid",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    /// The HTTP status that says it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Wrong => 401,
            Self::Expired { .. } | Self::Removed { .. } => 410,
            Self::Used { .. } | Self::Member { .. } => 409,
            Self::Clock { .. } => 422,
            Self::Issue(IssueError::Authority(_)) => 400,
            Self::Issue(_) | Self::Unavailable { .. } => 503,
        }
    }
}

/// A clock in RFC 3339, UTC.
pub(crate) fn shown(ms: u64) -> String {
    i64::try_from(ms / 1000)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{ms} ms"))
}
