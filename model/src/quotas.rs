//! Limits of requests that nodes count together (`scope: Cluster` of a `RateLimit`): what nodes say of
//! them to each other, and the count itself ([`Bucket`]).
//!
//! Each limit, and of one that counts by a value each value, has one node that counts it, its owner. The
//! others lease slices of it: so many requests they may let through within [`LEASE`].

mod bucket;
mod owner;
mod table;

use std::time::Duration;

use serde::{Deserialize, Serialize, de};

use crate::{cluster::NodeId, rate_limit::RateLimit};

pub use bucket::Bucket;
pub use owner::Owner;
pub use table::{Table, Worth};

/// How long a node may use what it leased; what is left then goes back.
pub const LEASE: Duration = Duration::from_millis(500);

/// Names what is counted: a digest, so that a header's value, which may be a key, stays where it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaKey(pub [u8; 16]);

/// What may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaLimit {
    /// So many requests in an interval, evenly over its time; at least 1.
    pub requests: u32,
    /// The interval in milliseconds; at least 1.
    pub interval_ms: u64,
    /// The requests that may come at once after a pause; at least 1.
    pub burst: u32,
}

/// A node asks the owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// What for.
    pub key: QuotaKey,
    /// What may pass of it.
    pub limit: QuotaLimit,
    /// How many requests it would let through in the next tenth of a second or has waiting.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub want: u32,
    /// What is left of its lease, which it uses no more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub returned: u32,
    /// What it let through by its own share, when it heard of no owner, and has not come back since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spent: u32,
    /// What it heard last: an owner that takes over begins with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Heard>,
}

/// What a node heard of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Which owner, by a random number of its life.
    pub office: u64,
    /// What was left then; below zero where more had passed than may.
    pub left: i64,
    /// How long ago that was.
    pub age_ms: u64,
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What for.
    pub key: QuotaKey,
    /// What the node may do.
    #[serde(flatten)]
    pub said: Said,
}

/// What an owner says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "camelCase")]
pub enum Said {
    /// It may let so many requests through, besides what it has.
    Leased {
        /// So many.
        granted: u32,
        /// What is left for all.
        left: i64,
        /// How long it is of no use to ask again; 0 when it got what it wanted.
        wait_ms: u32,
        /// How long it takes until there is one more, if nobody returns any.
        next_ms: u64,
        /// Which owner says so.
        office: u64,
    },
    /// The owner is out of reach: it has its own share for a moment.
    Alone,
}

/// Asks of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asks {
    /// Returned with the answers.
    pub batch: u64,
    /// Whose they are; a control node says it of the data planes that it asks for.
    pub node: NodeId,
    /// At most one for each key.
    pub asks: Vec<Ask>,
}

/// Answers to some of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// That of the asks.
    pub batch: u64,
    /// The members of the cluster: a node that hears of nobody has one of so many shares.
    pub nodes: u32,
    /// One for each ask; those of one batch may come in parts.
    pub answers: Vec<Answer>,
}

impl QuotaLimit {
    /// Returns what a node lets through by itself, of so many that do.
    #[must_use]
    pub fn alone(self, nodes: u32) -> Self {
        let nodes = nodes.max(1);
        Self {
            interval_ms: self.interval_ms.saturating_mul(nodes.into()),
            burst: (self.burst / nodes).max(1),
            ..self
        }
    }

    /// Returns the longest time until one more passes.
    #[must_use]
    pub fn pause(self) -> Duration {
        Duration::from_millis(self.interval_ms) / self.requests.max(1)
    }

    /// Tells whether the bounds of a [`RateLimit`] hold.
    #[must_use]
    pub fn is_valid(self) -> bool {
        use crate::limits::{MAX_LIMIT_INTERVAL, MAX_LIMITED_REQUESTS};
        let count = 1..=MAX_LIMITED_REQUESTS;
        let interval = 1..=MAX_LIMIT_INTERVAL.as_millis() as u64;
        count.contains(&self.requests)
            && count.contains(&self.burst)
            && interval.contains(&self.interval_ms)
    }
}

impl From<&RateLimit> for QuotaLimit {
    fn from(limit: &RateLimit) -> Self {
        Self {
            requests: limit.requests,
            // At most 24 h.
            interval_ms: limit.interval.as_millis() as u64,
            burst: limit.burst,
        }
    }
}

impl Serialize for QuotaKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:032x}", u128::from_be_bytes(self.0)))
    }
}

impl<'de> Deserialize<'de> for QuotaKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.len() == 32 && text.bytes().all(|it| it.is_ascii_hexdigit());
        let number = u128::from_str_radix(&text, 16).ok().filter(|_| digits);
        number
            .map(|number| Self(number.to_be_bytes()))
            .ok_or_else(|| de::Error::custom("the key of a limit has 32 hexadecimal digits"))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_travel_as_hexadecimal_digits_and_nothing_else() {
        let key = QuotaKey([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(text, "\"000102030405060708090a0b0c0d0eff\"");
        assert_eq!(serde_json::from_str::<QuotaKey>(&text).unwrap(), key);
        for other in [
            "\"\"",
            "\"00\"",
            "\"+00102030405060708090a0b0c0d0eff\"",
            "7",
            "\"zz0102030405060708090a0b0c0d0eff\"",
        ] {
            assert!(serde_json::from_str::<QuotaKey>(other).is_err(), "{other}");
        }
    }

    #[test]
    fn what_nodes_have_alone_is_the_limit_together() {
        let limit = QuotaLimit { requests: 90, interval_ms: 1_000, burst: 7 };
        let alone = limit.alone(3);
        assert_eq!(alone, QuotaLimit { requests: 90, interval_ms: 3_000, burst: 2 });
        assert_eq!(limit.alone(0), limit);
        assert_eq!(limit.alone(100).burst, 1);
    }

    #[test]
    fn an_answer_says_what_it_is() {
        let key = QuotaKey([7; 16]);
        let said = Said::Leased { granted: 3, left: -1, wait_ms: 0, next_ms: 9, office: u64::MAX };
        let text = serde_json::to_string(&Answer { key, said }).unwrap();
        assert_eq!(
            text,
            "{\"key\":\"07070707070707070707070707070707\",\"said\":\"leased\",\"granted\":3,\
             \"left\":-1,\"wait_ms\":0,\"next_ms\":9,\"office\":18446744073709551615}"
        );
        assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), Answer { key, said });
    }
}
