//! JSON Web Tokens that an `AuthPolicy` accepts.

use std::time::Duration;

use serde::Serialize;

use crate::{object::serialize_duration, route::Reference};

/// Tokens (RFC 7519) that are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Jwt {
    /// Who issues them; a token of any one suffices. At least one.
    pub providers: Vec<JwtProvider>,
    /// Headers that tell the service claims, whoever issued the token; what a client sends in them
    /// is removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claim_headers: Vec<ClaimHeader>,
}

/// An issuer of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JwtProvider {
    /// The name, unique in the policy.
    pub name: String,
    /// The `iss` claim.
    pub issuer: String,
    /// Accepted `aud` claims, one of which must be there; any when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// The keys.
    pub jwks: Jwks,
    /// Where the token may stand; `authorization` with the prefix `Bearer ` by default.
    pub from: Vec<TokenPlace>,
    /// Whether the service gets the token too.
    pub forward: bool,
    /// By how much clocks may differ, in whole seconds; 1 min by default.
    #[serde(serialize_with = "serialize_duration")]
    pub clock_skew: Duration,
    /// Claims that a token must have, all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required_claims: Vec<RequiredClaim>,
}

/// Where a token stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TokenPlace {
    /// In a header.
    Header(TokenHeader),
    /// In a query parameter.
    Query(String),
    /// In a cookie, out of which Envoy cannot take it.
    Cookie(String),
}

/// A header with a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenHeader {
    /// The header, in lower case.
    pub name: String,
    /// What stands before the token.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// A claim that a token must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequiredClaim {
    /// The claim; `.` leads into objects.
    pub claim: String,
    /// Its value; of a list, one of its items.
    pub value: ClaimValue,
}

/// The value of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ClaimValue {
    /// Text.
    Text(String),
    /// A truth value.
    Boolean(bool),
}

/// A header that holds a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimHeader {
    /// The header, in lower case.
    pub name: String,
    /// The claim; `.` leads into objects.
    pub claim: String,
}

/// The public keys of an issuer (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Jwks {
    /// The text of a JWK set without secret keys.
    Inline(String),
    /// The absolute path of a file with a JWK set, on each node.
    File(String),
    /// Fetched from a service.
    Remote(RemoteJwks),
}

/// A service that has keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemoteJwks {
    /// The service.
    pub service: Reference,
    /// The host that it is asked for.
    pub host: String,
    /// The path.
    pub path: String,
    /// How often they are fetched again, 1 s to 24 h; 5 min by default.
    #[serde(serialize_with = "serialize_duration")]
    pub refresh: Duration,
}
