//! What an owner counts.
//!
//! An owner that takes over knows nothing; nodes say with what they ask what they heard of the one
//! before, and the least that one of them says holds. It errs by what the others let through since.

use std::time::Duration;

use super::{Answer, Ask, Bucket, Heard, LEASE, QuotaLimit, Said, Table, Worth};
use crate::cluster::NodeId;

/// Limits and values of them that are counted at once, at some 300 bytes.
const KEYS_MAX: usize = 200_000;
/// How long a node is remembered that asked, so that a scarce limit is shared by what nodes ask for.
const ASKED_WITHIN: Duration = LEASE;
/// How long a node uses up what little it got before it asks again, so that a limit of a thousand a
/// second costs each node forty asks.
const PAUSE: Duration = Duration::from_millis(25);
/// It asks again so soon at the latest: what others have leased comes back meanwhile.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a node counts for all.
#[derive(Debug)]
pub struct Owner {
    office: u64,
    counts: Table<Count>,
}

#[derive(Debug)]
struct Count {
    bucket: Bucket,
    askers: Vec<Asker>,
}

#[derive(Debug)]
struct Asker {
    node: NodeId,
    at: Duration,
    want: u32,
}

impl Worth for Count {
    fn worth(&self, now: Duration) -> u64 {
        self.bucket.worth(now)
    }
}

impl Owner {
    /// Takes up its office, by a random number.
    #[must_use]
    pub fn new(office: u64) -> Self {
        Self { office, counts: Table::new(KEYS_MAX, office) }
    }

    /// Returns how many keys are counted.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.counts.len()
    }

    /// Answers a node.
    pub fn answer(&mut self, node: NodeId, ask: &Ask, now: Duration) -> Answer {
        let Ask { key, limit, want, returned, spent, heard } = *ask;
        let own = heard.is_some_and(|heard| heard.office == self.office);
        let known = self.counts.get_mut(key).is_some();
        let count = self
            .counts
            .entry(key, now, || Count { bucket: Bucket::full(limit, now), askers: Vec::new() });
        count.bucket.refill(now);
        // Its own word it knows better, unless it has forgotten.
        if let Some(heard) = heard.filter(|_| !own || !known) {
            count.bucket.lower(left_by_now(limit, heard));
        }
        if own {
            count.bucket.put_back(returned);
        }
        count.bucket.debit(spent);
        let granted = count.grant(node, want, now);
        let wait = if granted < want { count.pause() } else { Duration::ZERO };
        let said = Said::Leased {
            granted,
            left: count.bucket.left(),
            wait_ms: u32::try_from(ms_rounded_up(wait)).unwrap_or(u32::MAX),
            next_ms: ms_rounded_up(count.bucket.wait(1)),
            office: self.office,
        };
        Answer { key, said }
    }
}

fn ms_rounded_up(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

impl Count {
    /// Grants what a node wants, or where there is less than all want, its part of it.
    fn grant(&mut self, node: NodeId, want: u32, now: Duration) -> u32 {
        self.askers.retain(|asker| asker.node != node && now < asker.at + ASKED_WITHIN);
        if want == 0 {
            return 0;
        }
        self.askers.push(Asker { node, at: now, want });
        let wanted: u64 = self.askers.iter().map(|asker| u64::from(asker.want)).sum();
        let left = u64::try_from(self.bucket.left()).unwrap_or(0);
        let share = if wanted <= left {
            want
        } else {
            // What there is goes out whole, one at a time in the end.
            let part = u64::from(want) * left / wanted;
            u32::try_from(part).unwrap_or(want).max(1)
        };
        self.bucket.take(share)
    }

    /// Returns how long it is of no use to ask again: until there is one more, and so long that there
    /// are some, but nothing is lost because the bucket is full.
    fn pause(&self) -> Duration {
        let QuotaLimit { burst, .. } = self.bucket.limit();
        let fill = self.bucket.limit().pause().saturating_mul(burst);
        self.bucket.wait(1).max(PAUSE.min(fill / 2)).min(PAUSE_MAX)
    }
}

/// Returns what is left by now of what a node heard of another owner.
fn left_by_now(limit: QuotaLimit, heard: Heard) -> i64 {
    let mut bucket = Bucket::with(limit, heard.left, Duration::ZERO);
    bucket.refill(Duration::from_millis(heard.age_ms));
    bucket.left()
}

#[cfg(test)]
#[path = "owner/tests.rs"]
mod tests;
