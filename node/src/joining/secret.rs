//! A join secret as it is stored, and whether it lets a key in. Pure: `now` comes in.
//!
//! ```text
//! (made) ──admit──▶ used by node n with key k ──the same k──▶ the same n, again
//!    │                       └─ another k ──▶ refused: used
//!    └─ after its expiry ──▶ refused: expired      (no record) ──▶ refused: wrong
//! ```

use std::time::Duration;

use model::cluster::NodeId;
use serde::{Deserialize, Serialize};

use super::JoinError;

/// What is stored of a join secret, under the secret's hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Secret {
    pub(crate) expires_ms: u64,
    pub(crate) created_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) used: Option<Use>,
}

/// Who used a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Use {
    pub(crate) node: NodeId,
    /// SHA-256 of the public key in the certificate request.
    pub(crate) key: String,
}

/// How a key is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// As a new node, if the secret is consumed.
    Fresh,
    /// As the node that it became by its first attempt.
    Again(NodeId),
}

/// Decides whether the owner of `key` may come in by the secret that is stored as `secret`.
pub(crate) fn admit(
    secret: Option<&Secret>,
    key: &str,
    now_ms: u64,
) -> Result<Admission, JoinError> {
    let secret = secret.ok_or(JoinError::Wrong)?;
    match &secret.used {
        // The same key means the same host; its line need not be fresh to finish what it began.
        Some(used) if used.key == key => Ok(Admission::Again(used.node)),
        Some(used) => Err(JoinError::Used { node: used.node }),
        None if secret.expires_ms <= now_ms => {
            Err(JoinError::Expired { ago: Duration::from_millis(now_ms - secret.expires_ms) })
        }
        None => Ok(Admission::Fresh),
    }
}

/// Refuses a joiner whose clock differs too much from `now_ms`.
pub(crate) fn check_clock(theirs_ms: u64, now_ms: u64) -> Result<(), JoinError> {
    let skew = Duration::from_millis(theirs_ms.abs_diff(now_ms));
    if skew > super::CLOCK_SKEW_MAX {
        return Err(JoinError::Clock { skew, ahead: theirs_ms > now_ms });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_a_secret_against_every_key_and_time() {
        const NODE: NodeId = NodeId(7);
        let used = || Some(Use { node: NODE, key: "mine".to_owned() });
        let secret = |used| Secret { expires_ms: 100, created_by: "admin".to_owned(), used };
        let word = |secret: Option<&Secret>, key: &str, now: u64| match admit(secret, key, now) {
            Ok(Admission::Fresh) => "fresh",
            Ok(Admission::Again(NODE)) => "again",
            Ok(Admission::Again(_)) => "wrong node",
            Err(error) => error.code(),
        };
        for now in [0, 99, 100, 101, u64::MAX] {
            for key in ["mine", "other"] {
                assert_eq!(word(None, key, now), "unauthorized");
                let fresh = if now < 100 { "fresh" } else { "expired" };
                assert_eq!(word(Some(&secret(None)), key, now), fresh);
                let again = if key == "mine" { "again" } else { "used" };
                assert_eq!(word(Some(&secret(used())), key, now), again);
            }
        }
    }

    #[test]
    fn a_clock_is_wrong_beyond_the_bound_in_both_directions() {
        const HOUR: u64 = 60 * 60 * 1000;
        let now = 10 * HOUR;
        for near in [now, now + 299_000, now - 300_000] {
            check_clock(near, now).unwrap();
        }
        let behind = check_clock(now - HOUR, now).unwrap_err().to_string();
        assert!(behind.contains("3600 s behind"), "{behind}");
        let ahead = check_clock(now + HOUR, now).unwrap_err().to_string();
        assert!(ahead.contains("3600 s ahead"), "{ahead}");
    }
}
