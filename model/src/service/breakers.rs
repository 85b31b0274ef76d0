//! Circuit breakers: how much may be open to all endpoints of a service together.
//!
//! Each Envoy counts for itself. What would be beyond a limit is answered 503 at once (a TCP
//! connection is closed), instead of waiting where others already wait.

use serde::Serialize;

/// The limits of a service; what is absent has the built-in limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreakers {
    /// Connections to all endpoints; 100,000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Connections to each endpoint; unlimited by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections_per_endpoint: Option<u32>,
    /// Requests that wait for a connection; 100,000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<u32>,
    /// Requests that wait for an answer; 100,000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
    /// Requests on one connection before it is closed; unlimited by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests_per_connection: Option<u32>,
    /// Tries after the first; a budget of 20 %, at least 10, by default.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub retries: Option<RetryLimit>,
}

/// How many tries after the first may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RetryLimit {
    /// So many.
    #[serde(rename = "maxRetries")]
    Count(u32),
    /// A share of the requests under way.
    #[serde(rename = "retryBudget")]
    Budget(RetryBudget),
}

/// A share of the requests under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// The share, 1 to 100; 20 by default.
    pub percent: u32,
    /// How many are always allowed; 10 by default.
    pub min_retry_concurrency: u32,
}
