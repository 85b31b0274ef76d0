//! Joining: how a host with a join line becomes a member.

use model::api::JoinResponse;
use serde::{Deserialize, Serialize};

/// The line that `marchproxy join` takes; `Display` writes `mp1.<base64url of JSON>`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinLine {
    /// The single-use secret.
    pub secret: String,
    /// When it expires, in milliseconds since 1970-01-01 UTC.
    pub expires_ms: u64,
}

impl std::fmt::Debug for JoinLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinLine").finish_non_exhaustive()
    }
}

impl std::fmt::Display for JoinLine {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

/// The whole answer to a join: the body of `POST /v1/join`. Holds secrets; do not log it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinGrant {
    /// What every joiner gets.
    #[serde(flatten)]
    pub response: JoinResponse,
    /// The key that the CA's key is encrypted with in the store, base64url.
    pub cluster_key: String,
}

/// Why a join was refused.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The secret is not one of this cluster.
    #[error("the join secret is wrong")]
    Wrong,
}

impl JoinError {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        todo!()
    }

    /// The HTTP status that says it.
    pub fn status(&self) -> u16 {
        todo!()
    }
}
