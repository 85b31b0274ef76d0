//! Which requests go to the same endpoint.

use std::time::Duration;

use serde::Serialize;

use crate::object::serialize_optional_duration;

/// What requests have in common that go to the same endpoint, by a hash. Exactly one of the keys
/// stands in the document. A request without it goes by its source address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Affinity {
    /// The values of a header, lower case.
    Header(String),
    /// The value of a cookie, which a client that has none is given.
    Cookie(Cookie),
    /// The value of a query parameter.
    Query(String),
}

/// Keeps a client at the endpoint that answered it first, by telling it which that was. Exactly
/// one of the keys stands in the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SessionPersistence {
    /// In a cookie.
    Cookie(Cookie),
    /// In a header of the answer that the client repeats, lower case.
    Header(String),
}

/// A cookie that the proxy sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cookie {
    /// The name, a token (RFC 6265, section 4.1.1).
    pub name: String,
    /// How long clients keep it, whole seconds; until they end their session when absent.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub ttl: Option<Duration>,
    /// The path below which clients send it, `/` by default.
    pub path: String,
}
