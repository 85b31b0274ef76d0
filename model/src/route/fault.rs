//! Faults that are put into requests on purpose.

use std::time::Duration;

use serde::Serialize;

use crate::object::serialize_duration;

/// Faults put into requests; at least one part is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Requests that wait before anything else happens to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<FaultDelay>,
    /// Requests that are answered by an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<FaultAbort>,
}

/// How long how many requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FaultDelay {
    /// The time, 1 ms to 10 min.
    #[serde(serialize_with = "serialize_duration")]
    pub duration: Duration,
    /// The share of the requests, in percent, 1 to 100.
    pub percent: u32,
}

/// How many requests are answered by which error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FaultAbort {
    /// The answer.
    #[serde(flatten)]
    pub answer: FaultAnswer,
    /// The share of the requests, in percent, 1 to 100.
    pub percent: u32,
}

/// An error that a client is to see. Exactly one of the keys stands in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultAnswer {
    /// An HTTP status, 400 to 599.
    Status(u16),
    /// A gRPC status, 1 to 16.
    GrpcStatus(u16),
}
