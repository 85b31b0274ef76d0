//! How a listener treats HTTP connections and requests. What is absent has a safe default.

use std::time::Duration;

use serde::Serialize;

use super::Compression;
use crate::object::{serialize_duration, serialize_optional_duration};

/// Options of an HTTP or HTTPS listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpOptions {
    /// How long a connection without a request may stay, 1 s to 24 h.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub idle_timeout: Option<Duration>,
    /// How long a stream may be silent in both directions, 1 s to 24 h.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub stream_idle_timeout: Option<Duration>,
    /// How long a client may take to send its headers, 1 s to 1 h.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub request_headers_timeout: Option<Duration>,
    /// How long a connection may exist, 1 s to 24 h; it is then drained.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub max_connection_duration: Option<Duration>,
    /// The size of all headers of a request in KiB, 1 to 8192.
    #[serde(rename = "maxRequestHeadersKB", skip_serializing_if = "Option::is_none")]
    pub max_request_headers_kb: Option<u32>,
    /// Streams that one connection of HTTP/2 or HTTP/3 may have open, 1 to 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent_streams: Option<u32>,
    /// HTTP/3 beside HTTP/1.1 and HTTP/2, for HTTPS; not spoken when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http3: Option<Http3>,
    /// Proxies in front whose `x-forwarded-for` is believed, 1 to 16; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_hops: Option<u32>,
    /// Which answers are compressed, and how; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
}

/// HTTP/3 (RFC 9114) on the UDP port of the listener's number. Clients learn of it by the header
/// `alt-svc` (RFC 7838) in the answers to their requests over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Http3 {
    /// How long clients may remember it: 1 s to 400 days, whole seconds; a day by default.
    #[serde(serialize_with = "serialize_duration")]
    pub max_age: Duration,
    /// The port that clients are told, where it is not the listener's: an address translation or
    /// another balancer stands in front.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertised_port: Option<u16>,
}

/// How long clients may remember HTTP/3 where nothing else is said.
pub const DEFAULT_HTTP3_MAX_AGE: Duration = Duration::from_hours(24);
