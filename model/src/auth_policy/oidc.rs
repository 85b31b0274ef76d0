//! Logins by OpenID Connect that an `AuthPolicy` demands.

use std::time::Duration;

use serde::Serialize;

use super::{ClaimHeader, Jwks, RequiredClaim};
use crate::{object::serialize_duration, route::Reference};

/// Sessions of browsers, which an identity provider logs in (OpenID Connect Core 1.0, section 3.1; with
/// PKCE, RFC 7636).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Oidc {
    /// Who logs in.
    pub provider: OidcProvider,
    /// What we are to the provider.
    pub client: OidcClient,
    /// The path to which the provider sends browsers back; `/oauth2/callback` by default.
    pub callback_path: String,
    /// The path that ends a session; `/oauth2/logout` by default.
    pub logout_path: String,
    /// Prefixes of paths whose requests are answered by 401, never by a redirect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_paths: Vec<String>,
    /// How long sessions live, and their cookies.
    pub session: OidcSession,
    /// Claims that an ID token must have, all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required_claims: Vec<RequiredClaim>,
    /// Headers that tell the service claims; what a client sends in them is removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claim_headers: Vec<ClaimHeader>,
    /// Whether the service gets the access token, as `authorization: Bearer …`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forward_access_token: bool,
}

/// An identity provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcProvider {
    /// The `iss` claim of its ID tokens.
    pub issuer: String,
    /// The URL to which browsers are sent.
    pub authorization_endpoint: String,
    /// Where codes are exchanged for tokens.
    pub token_endpoint: TokenEndpoint,
    /// The URL that ends a browser's session with the provider; only ours is ended without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_session_endpoint: Option<String>,
    /// The keys of its ID tokens.
    pub jwks: Jwks,
}

/// Where codes are exchanged for tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenEndpoint {
    /// The service.
    pub service: Reference,
    /// The host that it is asked for.
    pub host: String,
    /// The path.
    pub path: String,
}

/// What we are to a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcClient {
    /// The client's name, and the audience of ID tokens.
    pub id: String,
    /// The absolute path, on each node, of a file with its secret.
    pub secret_file: String,
    /// How the secret is shown; by `Basic` by default.
    #[serde(skip_serializing_if = "ClientAuthentication::is_basic")]
    pub authentication: ClientAuthentication,
    /// What is asked for, `openid` among it; only that by default.
    pub scopes: Vec<String>,
}

/// How a client shows its secret (OpenID Connect Core 1.0, section 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum ClientAuthentication {
    /// As a user name and password: `client_secret_basic`.
    #[default]
    Basic,
    /// In the body: `client_secret_post`.
    Post,
}

impl ClientAuthentication {
    fn is_basic(&self) -> bool {
        *self == Self::Basic
    }
}

/// How long sessions live, and their cookies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcSession {
    /// Whether a session whose access token has ended gets another one by its refresh token.
    pub refresh: bool,
    /// How long a refresh token that says no end is kept, in whole seconds; 24 h by default.
    #[serde(serialize_with = "serialize_duration")]
    pub lifetime: Duration,
    /// Which requests of other sites carry the cookies; `Lax` by default.
    pub same_site: SameSite,
}

/// Which requests of other sites carry a cookie (RFC 6265bis, section 5.6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum SameSite {
    /// None.
    Strict,
    /// Those by which a user comes from there.
    #[default]
    Lax,
    /// All: pages of other sites may hold ours.
    None,
}
