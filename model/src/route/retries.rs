//! When and how often a failed request is tried again.

use std::time::Duration;

use serde::Serialize;

use crate::object::{serialize_duration, serialize_optional_duration};

/// When and how often a failed request is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// Tries after the first, 1 to 10; 1 by default.
    pub attempts: u32,
    /// Conditions; `connect-failure`, `refused-stream` and `reset` by default.
    pub on: Vec<RetryOn>,
    /// The time that each try may take.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub per_try_timeout: Option<Duration>,
    /// The first pause; doubled each time, with jitter. 25 ms by default.
    #[serde(serialize_with = "serialize_duration")]
    pub backoff: Duration,
    /// The longest pause; ten first pauses when absent.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub max_backoff: Option<Duration>,
    /// The time in which an endpoint may send nothing in each try.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub per_try_idle_timeout: Option<Duration>,
    /// Statuses, 400 to 599, for which it is tried again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
    /// Lets an answer's `retry-after` set the pause, up to this.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub retry_after_max: Option<Duration>,
}

/// A condition for another try; the words are Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum RetryOn {
    /// The connection did not open.
    #[serde(rename = "connect-failure")]
    ConnectFailure,
    /// The endpoint refused the stream before it did anything.
    #[serde(rename = "refused-stream")]
    RefusedStream,
    /// The connection ended without a response.
    #[serde(rename = "reset")]
    Reset,
    /// Any 5xx answer, or none.
    #[serde(rename = "5xx")]
    ServerError,
    /// 502, 503 or 504.
    #[serde(rename = "gateway-error")]
    GatewayError,
    /// 409.
    #[serde(rename = "retriable-4xx")]
    Retriable4xx,
    /// The connection ended before any of the request was sent.
    #[serde(rename = "reset-before-request")]
    ResetBeforeRequest,
    /// gRPC status 1.
    #[serde(rename = "cancelled")]
    Cancelled,
    /// gRPC status 4.
    #[serde(rename = "deadline-exceeded")]
    DeadlineExceeded,
    /// gRPC status 13.
    #[serde(rename = "internal")]
    Internal,
    /// gRPC status 8.
    #[serde(rename = "resource-exhausted")]
    ResourceExhausted,
    /// gRPC status 14.
    #[serde(rename = "unavailable")]
    Unavailable,
}

impl RetryOn {
    /// All conditions.
    pub const ALL: [Self; 12] = [
        Self::ConnectFailure,
        Self::RefusedStream,
        Self::Reset,
        Self::ServerError,
        Self::GatewayError,
        Self::Retriable4xx,
        Self::ResetBeforeRequest,
        Self::Cancelled,
        Self::DeadlineExceeded,
        Self::Internal,
        Self::ResourceExhausted,
        Self::Unavailable,
    ];

    /// Returns Envoy's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectFailure => "connect-failure",
            Self::RefusedStream => "refused-stream",
            Self::Reset => "reset",
            Self::ServerError => "5xx",
            Self::GatewayError => "gateway-error",
            Self::Retriable4xx => "retriable-4xx",
            Self::ResetBeforeRequest => "reset-before-request",
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::Internal => "internal",
            Self::ResourceExhausted => "resource-exhausted",
            Self::Unavailable => "unavailable",
        }
    }
}
