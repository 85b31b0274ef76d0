//! Tokens of the API: 256 random bits, stored as SHA-256, listed without their secrets.
//!
//! A fast hash suffices: nobody guesses 256 random bits. A caller is looked up by the hash of what
//! they show: the time that takes tells something of hashes at most, which lead to no token.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use consensus::{Compare, Consensus, Consistency, Op, ProposeError, Revision, Transaction, View};
use rand::RngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use model::api::{TokenInfo, TokenRole as Role};

use crate::control::store::TOKENS;

/// What every token starts with, so that scanners for leaked secrets can find it.
const PREFIX: &str = "mpt_";
/// Looked through after each write to the store; more than this many are a mistake.
const TOKENS_MAX: usize = 1_000;
/// Characters of a name.
const NAME_CHARACTERS_MAX: usize = 63;

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name, the actor of the history.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// Why a caller was not recognised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No token has this text.
    #[error("the token is not valid: it may have been deleted, or be of another cluster")]
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
    /// There are too many tokens.
    #[error("there are {TOKENS_MAX} tokens, which is the limit: delete some")]
    TooMany,
    /// It is the last one that may write, and nothing else makes another.
    #[error("token {name:?} is the last of the role admin: make another before it is deleted")]
    LastAdmin {
        /// The name.
        name: String,
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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    role: Role,
    sha256: String,
    created_ms: u64,
    created_by: String,
}

/// Callers by the SHA-256 of their tokens.
type Callers = HashMap<String, Caller>;

/// The tokens in the replicated store.
#[derive(Clone)]
pub struct Tokens {
    consensus: Consensus,
    /// As they are at a revision of the store.
    known: Arc<Mutex<(Revision, Arc<Callers>)>>,
}

impl Tokens {
    /// The tokens of a cluster.
    #[must_use]
    pub fn new(consensus: Consensus) -> Self {
        Self { consensus, known: Arc::default() }
    }

    /// Makes a token and returns its text, which is stored nowhere.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn create(&self, actor: &str, name: &str, role: Role) -> Result<String, TokenError> {
        check_name(name)?;
        let view = self.read().await?;
        if view.scan(TOKENS).count() >= TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        let text = random_text(PREFIX);
        let (key, value) = record(name, &text, role, actor);
        let mut transaction = Transaction::new(
            actor,
            format!("create token {name}"),
            vec![Op::Put { key: key.clone(), value }],
        );
        transaction.compare = vec![Compare::KeyRevision { key, revision: None }];
        match self.consensus.propose(transaction).await {
            Ok(_) => Ok(text),
            Err(ProposeError::Conflict { .. }) => {
                Err(TokenError::Name { name: name.to_owned(), reason: "is taken" })
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// The tokens, ordered by name.
    ///
    /// # Errors
    /// [`TokenError::Unavailable`] when there is no leader.
    pub async fn list(&self) -> Result<Vec<TokenInfo>, TokenError> {
        Ok(records(&self.read().await?)
            .map(|(name, record)| TokenInfo {
                name: name.to_owned(),
                role: record.role,
                created_ms: record.created_ms,
                created_by: record.created_by,
            })
            .collect())
    }

    /// Makes a token useless; false when there was none of that name.
    ///
    /// # Errors
    /// [`TokenError::LastAdmin`], or [`TokenError::Unavailable`] when there is no leader or another
    /// token was changed in the same moment.
    pub async fn delete(&self, actor: &str, name: &str) -> Result<bool, TokenError> {
        let key = format!("{TOKENS}{name}");
        let view = self.read().await?;
        if view.get(&key).is_none() {
            return Ok(false);
        }
        if !leaves_an_admin(records(&view), name) {
            return Err(TokenError::LastAdmin { name: name.to_owned() });
        }
        let mut transaction =
            Transaction::new(actor, format!("delete token {name}"), vec![Op::Delete { key }]);
        // Two admins that delete each other's token at once must not both succeed.
        transaction.compare =
            vec![Compare::PrefixAtMost { prefix: TOKENS.to_owned(), revision: view.revision() }];
        self.consensus.propose(transaction).await.map_err(|error| unavailable(&error))?;
        Ok(true)
    }

    /// Tells whose token a text is, by what is applied on this node: a node without a majority
    /// still lets operators look.
    ///
    /// # Errors
    /// See [`AuthError`].
    pub async fn authenticate(&self, text: &str) -> Result<Caller, AuthError> {
        let view = self
            .consensus
            .read(Consistency::Stale)
            .await
            .map_err(|error| AuthError::Unavailable { reason: error.to_string() })?;
        self.callers(&view).get(&fingerprint(text)).cloned().ok_or(AuthError::Unknown)
    }

    fn callers(&self, view: &View) -> Arc<Callers> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != view.revision() {
            *known = (view.revision(), Arc::new(callers(records(view))));
        }
        known.1.clone()
    }

    async fn read(&self) -> Result<View, TokenError> {
        self.consensus.read(Consistency::Linearizable).await.map_err(|error| unavailable(&error))
    }
}

/// Key and value of a token's record, for the transaction that forms a cluster.
pub(crate) fn record(name: &str, text: &str, role: Role, actor: &str) -> (String, bytes::Bytes) {
    let record = Record {
        role,
        sha256: fingerprint(text),
        created_ms: now_ms(),
        created_by: actor.to_owned(),
    };
    let value = serde_json::to_vec(&record).expect("a record has string keys only");
    (format!("{TOKENS}{name}"), value.into())
}

/// A fresh token's text.
pub(crate) fn new_token() -> String {
    random_text(PREFIX)
}

/// `prefix` and 256 random bits in base64url.
pub(crate) fn random_text(prefix: &str) -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// SHA-256 in hexadecimal: the form in which secrets are stored.
pub(crate) fn fingerprint(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// This host's clock in milliseconds since 1970-01-01 UTC.
pub(crate) fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

fn records(view: &View) -> impl Iterator<Item = (&str, Record)> {
    view.scan(TOKENS).filter_map(|(key, stored)| {
        Some((key.strip_prefix(TOKENS)?, serde_json::from_slice(&stored.value).ok()?))
    })
}

/// Whether a token that may write is left once `name` is gone.
fn leaves_an_admin<'a>(mut records: impl Iterator<Item = (&'a str, Record)>, name: &str) -> bool {
    records.any(|(other, record)| other != name && record.role == Role::Admin)
}

fn callers<'a>(records: impl Iterator<Item = (&'a str, Record)>) -> Callers {
    let caller = |(name, record): (&str, Record)| {
        (record.sha256, Caller { name: name.to_owned(), role: record.role })
    };
    records.map(caller).collect()
}

fn check_name(name: &str) -> Result<(), TokenError> {
    let refuse = |reason| Err(TokenError::Name { name: name.to_owned(), reason });
    if name.is_empty() || name.len() > NAME_CHARACTERS_MAX {
        return refuse("must have 1 to 63 characters");
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.bytes().all(allowed) {
        return refuse("may have lower-case letters, digits and `-` only");
    }
    Ok(())
}

fn unavailable(error: &impl std::fmt::Display) -> TokenError {
    TokenError::Unavailable { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(name: &'static str, text: &str, role: Role) -> (&'static str, Record) {
        let (_, value) = record(name, text, role, "test");
        (name, serde_json::from_slice(&value).unwrap())
    }

    #[test]
    fn a_token_is_found_by_its_text_and_by_nothing_else() {
        let (admin, reader) = (new_token(), new_token());
        let check = |text: &str, expected: Option<(&str, Role)>| {
            let records =
                [stored("admin", &admin, Role::Admin), stored("reader", &reader, Role::Read)];
            let callers = callers(records.into_iter());
            let expected = expected.map(|(name, role)| Caller { name: name.to_owned(), role });
            assert_eq!(callers.get(&fingerprint(text)), expected.as_ref(), "{text}");
        };
        check(&admin, Some(("admin", Role::Admin)));
        check(&reader, Some(("reader", Role::Read)));
        check("", None);
        check(&admin[..admin.len() - 1], None);
        check(&fingerprint(&admin), None);
    }

    #[test]
    fn the_last_token_that_may_write_is_kept() {
        let check = |tokens: &[(&'static str, Role)], name: &str, expected: bool| {
            let records = tokens.iter().map(|(name, role)| stored(name, "t", *role));
            assert_eq!(leaves_an_admin(records, name), expected, "{name} of {tokens:?}");
        };
        check(&[("admin", Role::Admin)], "admin", false);
        check(&[("admin", Role::Admin), ("ci", Role::Read)], "admin", false);
        check(&[("admin", Role::Admin), ("ci", Role::Read)], "ci", true);
        check(&[("admin", Role::Admin), ("ops", Role::Admin)], "admin", true);
    }

    #[test]
    fn the_stored_record_does_not_hold_the_secret() {
        let text = new_token();
        let (_, value) = record("a", &text, Role::Admin, "test");
        let value = String::from_utf8(value.to_vec()).unwrap();
        assert!(!value.contains(&text[PREFIX.len()..]), "{value}");
    }

    #[test]
    fn names_are_checked() {
        for name in ["a", "ci-1", &"x".repeat(63)] {
            check_name(name).unwrap();
        }
        for name in ["", "A", "a/b", "a b", "ü", &"x".repeat(64)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
