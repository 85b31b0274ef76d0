//! How long a request may take.

use std::time::Duration;

use serde::Serialize;

use crate::object::serialize_optional_duration;

/// Bounds of the time of a request, 1 ms to 24 h each; unlimited when absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// From the end of the request until the whole response has been received.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub timeout: Option<Duration>,
    /// How long neither side may send anything; the listener's bound when absent.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub stream_idle_timeout: Option<Duration>,
    /// From the first byte of the request to the last of the response.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub max_stream_duration: Option<Duration>,
    /// Lets gRPC callers bound it by their `grpc-timeout` header, up to this.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub grpc_timeout_header_max: Option<Duration>,
}
