//! Which scripts of other origins may read the answers (CORS).

use std::time::Duration;

use serde::Serialize;

use crate::object::serialize_optional_duration;

/// A policy for requests of scripts of other origins, by the Fetch standard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// Origins: `https://shop.example`, `https://*.shop.example` or `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_origins: Vec<String>,
    /// Regular expressions (RE2 syntax) for whole origins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_origin_regexes: Vec<String>,
    /// Methods, or `*`; what needs no leave is allowed always.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_methods: Vec<String>,
    /// Names of request headers, lower case, or `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_headers: Vec<String>,
    /// Names of response headers that scripts may read, lower case, or `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// Tells whether requests may carry cookies and the like.
    pub allow_credentials: bool,
    /// How long browsers may remember the answer to a preflight, whole seconds.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub max_age: Option<Duration>,
}
