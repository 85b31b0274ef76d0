//! Tokens of the API: random, stored as hashes, listed without their secrets.

use serde::{Deserialize, Serialize};

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// Look at everything but secrets.
    Read,
}

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name, the actor of the history.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenInfo {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub created_ms: u64,
    /// Who made it.
    pub created_by: String,
}

/// Why a caller was not recognised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No token has this text.
    #[error("the token is not valid")]
    Unknown,
    /// The store cannot be read.
    #[error("not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// Why a token or a join line was not made or deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The name is not a name, or is taken.
    #[error("token name {name:?} {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The time to live is out of bounds.
    #[error("a join line may live from 1 minute to 7 days")]
    TimeToLive,
    /// Nothing, or not surely anything, was written. Retry later.
    #[error("not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}
