//! What a listener writes of each request or connection.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::route::Reference;

/// An access log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessLog {
    /// Where it goes.
    #[serde(flatten)]
    pub to: LogTarget,
    /// Further fields: the names of request headers by the names of fields.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Writes of responses with this status or a higher one only; of all when absent. HTTP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_status: Option<u16>,
    /// The share that is written, in percent, 1 to 100; 100 by default.
    pub sample_percent: u32,
}

/// Where an access log goes. Exactly one of the keys stands in the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LogTarget {
    /// Lines of JSON in a file on each node, by its absolute path.
    File(String),
    /// Lines of JSON on the standard output of the data plane.
    Stdout {},
    /// OpenTelemetry logs over HTTP.
    Otlp(Otlp),
}

/// A collector of OpenTelemetry logs (OTLP/HTTP, binary protobuf).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Otlp {
    /// The service that takes them.
    pub service: Reference,
    /// The path, `/v1/logs` by default.
    pub path: String,
}
