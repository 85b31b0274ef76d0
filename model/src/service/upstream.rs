//! What is spoken on connections to endpoints, and how long they stay.

use std::time::Duration;

use serde::Serialize;

use super::UpstreamTls;
use crate::object::{serialize_duration, serialize_optional_duration};

/// What is spoken on connections to endpoints. Envoy's alone: XDP opens none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Upstream {
    /// The version of HTTP; HTTP/1.1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<HttpProtocol>,
    /// How long connections stay, and how it is found out that a peer is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    /// TLS; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum HttpProtocol {
    /// HTTP/1.1.
    #[serde(rename = "HTTP1")]
    Http1,
    /// HTTP/2, also without TLS (with prior knowledge); what gRPC needs.
    #[serde(rename = "HTTP2")]
    Http2,
    /// What the endpoint chooses by ALPN; needs TLS.
    Auto,
}

/// How long connections to endpoints stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// How long a connection without requests stays; 1 h by default.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub idle_timeout: Option<Duration>,
    /// How old a connection may become before it takes no more requests; unlimited by default.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub max_duration: Option<Duration>,
    /// Of HTTP/2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http2: Option<Http2>,
    /// Probes of the kernel on silent connections; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Whether TCP connections to an endpoint are closed when Envoy finds it unhealthy or an outlier.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub close_on_unhealthy: bool,
}

/// The particulars of HTTP/2 connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Http2 {
    /// The requests that one connection carries at a time; what the endpoint allows when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent_streams: Option<u32>,
    /// The time between PINGs; none by default.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub ping_interval: Option<Duration>,
    /// How long an answer to one may take before the connection is closed; at most the interval.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub ping_timeout: Option<Duration>,
}

/// Probes of the kernel on silent connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpKeepalive {
    /// The silence before the first one, whole seconds.
    #[serde(serialize_with = "serialize_duration")]
    pub time: Duration,
    /// The time between them, whole seconds.
    #[serde(serialize_with = "serialize_duration")]
    pub interval: Duration,
    /// How many without an answer end the connection.
    pub probes: u32,
}
