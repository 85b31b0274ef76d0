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

/// How long a used or expired secret is remembered after its expiry.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

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
        return Err(JoinError::Clock { theirs_ms, own_ms: now_ms });
    }
    if skew > super::CLOCK_SKEW_WARN {
        let (joiner, own) = (super::shown(theirs_ms), super::shown(now_ms));
        tracing::warn!(%joiner, %own, "the clocks of a joiner and of this node differ: set them (NTP)");
    }
    Ok(())
}

/// Whether a record can go at `log_ms`, the time of the log. Until [`KEPT_FOR`] after its expiry it
/// tells whoever comes late why he is refused, and lets a host finish a join that it began.
pub(crate) fn spent(secret: &Secret, log_ms: u64) -> bool {
    let kept_ms = u64::try_from(KEPT_FOR.as_millis()).expect("a day fits");
    secret.expires_ms.saturating_add(kept_ms) <= log_ms
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
        for near in [now, now + HOUR, now - HOUR, now + 2 * HOUR, now - 2 * HOUR] {
            check_clock(near, now).unwrap();
        }
        let both = ["1970-01-01T10:00:00Z", "at most 7200 s"];
        let check = |theirs: u64, words: [&str; 2]| {
            let said = check_clock(theirs, now).unwrap_err().to_string();
            assert!(words.iter().chain(&both).all(|word| said.contains(word)), "{said}");
        };
        check(now - 3 * HOUR, ["10800 s behind", "1970-01-01T07:00:00Z"]);
        check(now + 3 * HOUR, ["10800 s ahead", "1970-01-01T13:00:00Z"]);
        check(now + 2 * HOUR + 1, ["7200 s ahead", "1970-01-01T12:00:00Z"]);
    }

    #[test]
    fn a_record_goes_a_day_after_its_expiry_used_or_not() {
        const DAY: u64 = 24 * 60 * 60 * 1000;
        for used in [None, Some(Use { node: NodeId(7), key: "k".to_owned() })] {
            let secret = Secret { expires_ms: 100, created_by: "admin".to_owned(), used };
            assert!(!spent(&secret, 100) && !spent(&secret, DAY + 99));
            assert!(spent(&secret, DAY + 100) && spent(&secret, u64::MAX));
        }
    }
}
