//! `AuthPolicy`: who may send a request.

mod api_keys;
mod jwt;
mod oidc;

use std::time::Duration;

use serde::Serialize;

pub use self::{
    api_keys::ApiKeys,
    jwt::{
        ClaimHeader, ClaimValue, Jwks, Jwt, JwtProvider, RemoteJwks, RequiredClaim, TokenHeader,
        TokenPlace,
    },
    oidc::{
        ClientAuthentication, Oidc, OidcClient, OidcProvider, OidcSession, SameSite, TokenEndpoint,
    },
};
use crate::{object::serialize_duration, route::Reference};

/// What a request has to show; all parts that are present must be satisfied, and at least one is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthPolicy {
    /// A session, which an identity provider logged in; beside it only the consent of a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<Box<Oidc>>,
    /// A JSON Web Token (RFC 7519).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// A key of a client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<ApiKeys>,
    /// A user name and password (RFC 7617).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
    /// The consent of a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
}

/// Users with passwords.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Basic {
    /// The absolute path, on each node, of a file of lines `user:{SHA}…` (htpasswd -s).
    pub users_file: String,
    /// The header that tells the service the user's name; not told when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_header: Option<String>,
}

/// A service that is asked about each request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct External {
    /// The service. Over HTTP 200 is consent, any other status the answer to the client.
    pub service: Reference,
    /// How it is asked, over HTTP by default.
    #[serde(skip_serializing_if = "ExternalProtocol::is_http")]
    pub protocol: ExternalProtocol,
    /// What stands before the request's path; nothing by default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path_prefix: String,
    /// How long it may take, 1 ms to 1 min; 200 ms by default.
    #[serde(serialize_with = "serialize_duration")]
    pub timeout: Duration,
    /// Headers of the request that it sees beside host, method, path and `authorization`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_headers: Vec<String>,
    /// Headers of its consent that are added to the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstream_headers: Vec<String>,
    /// What happens to requests while it does not answer.
    pub on_failure: OnFailure,
    /// That requests may pass unchecked; true exactly when [`Self::on_failure`] lets them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_unchecked: bool,
}

/// How a service is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ExternalProtocol {
    /// By a request like the client's, without its body.
    #[default]
    Http,
    /// By `envoy.service.auth.v3.Authorization/Check`, which says itself what is changed of the request.
    Grpc,
}

impl ExternalProtocol {
    fn is_http(&self) -> bool {
        *self == Self::Http
    }
}

/// What happens to requests while nobody can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum OnFailure {
    /// They are answered by 403.
    #[default]
    Deny,
    /// They pass unchecked.
    Allow,
}

impl AuthPolicy {
    /// Walks over the files of users and clients that it needs on each node.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let keys = self.api_keys.iter().map(|keys| keys.keys_file.as_str());
        keys.chain(self.basic.iter().map(|basic| basic.users_file.as_str()))
    }

    /// Tells whether a token is demanded: as it is shown, or in a session.
    #[must_use]
    pub fn demands_token(&self) -> bool {
        self.jwt.is_some() || self.oidc.is_some()
    }

    /// Walks over the services that it needs, with the paths of the references.
    pub fn services(&self) -> impl Iterator<Item = (String, &Reference)> {
        let login = self.oidc.iter().map(|oidc| ("spec.oidc.provider.jwks".to_owned(), oidc));
        let login = login.map(|(field, oidc)| (field, &oidc.provider.jwks));
        let providers = self.jwt.iter().flat_map(|jwt| jwt.providers.iter().enumerate());
        let keys = providers.map(|(index, one)| {
            (format!("spec.jwt.providers[{index}].jwks"), &one.jwks) //
        });
        let remote = login.chain(keys).filter_map(|(field, jwks)| match jwks {
            Jwks::Remote(remote) => Some((format!("{field}.remote.service"), &remote.service)),
            Jwks::Inline(_) | Jwks::File(_) => None,
        });
        let tokens = self.oidc.iter().map(|oidc| {
            let field = "spec.oidc.provider.tokenEndpoint.service".to_owned();
            (field, &oidc.provider.token_endpoint.service)
        });
        let external = self.external.iter();
        let external = external.map(|one| ("spec.external.service".to_owned(), &one.service));
        tokens.chain(remote).chain(external)
    }
}
