//! When an order that failed is tried again. What is known here stands in the store, too, where the next
//! leader finds it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use model::{ObjectKey, api::CertificateFailure};

use crate::issuing::record::milliseconds;

/// The wait after the first failure; doubled with each, up to the longest. Let's Encrypt allows five
/// failures an hour for a host.
const RETRY_FIRST: Duration = Duration::from_secs(5 * 60);
const RETRY_MOST: Duration = Duration::from_secs(60 * 60);

/// The last failure of each certificate while this node leads.
#[derive(Debug, Default)]
pub(super) struct Tries(Mutex<BTreeMap<ObjectKey, Tried>>);

#[derive(Debug)]
struct Tried {
    /// What was asked for, and how.
    what: String,
    attempts: u32,
    next_ms: u64,
}

impl Tries {
    /// Tells whether the next try is yet to come.
    pub(super) fn waits(&self, certificate: &ObjectKey, what: &str, now_ms: u64) -> bool {
        self.all().get(certificate).is_some_and(|it| it.what == what && now_ms < it.next_ms)
    }

    /// Makes note of a failure, after so many that are written down.
    pub(super) fn failed(
        &self,
        certificate: &ObjectKey,
        what: &str,
        written: Option<u32>,
        reason: String,
    ) -> CertificateFailure {
        let mut all = self.all();
        let noted = all.get(certificate).filter(|it| it.what == what).map(|it| it.attempts);
        let attempts = written.max(noted).unwrap_or(0).saturating_add(1);
        let at = SystemTime::now();
        let (at_ms, next_ms) = (milliseconds(at), milliseconds(at + wait_after(attempts)));
        all.insert(certificate.clone(), Tried { what: what.to_owned(), attempts, next_ms });
        CertificateFailure { reason, attempts, at_ms, next_ms }
    }

    /// Forgets the failures of one that was issued.
    pub(super) fn succeeded(&self, certificate: &ObjectKey) {
        self.all().remove(certificate);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Tried>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait_after(attempts: u32) -> Duration {
    let doubled = RETRY_FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(10));
    doubled.min(RETRY_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_within_what_authorities_bear() {
        let minutes: Vec<u64> = (1..7).map(|n| wait_after(n).as_secs() / 60).collect();
        assert_eq!(minutes, [5, 10, 20, 40, 60, 60]);
        assert_eq!(wait_after(u32::MAX), RETRY_MOST);
        let in_an_hour = (1..10).scan(Duration::ZERO, |at, n| {
            *at += wait_after(n);
            Some(*at)
        });
        assert!(in_an_hour.filter(|at| *at < Duration::from_secs(3_600)).count() < 5);
    }

    #[test]
    fn a_failure_that_is_not_written_is_known_and_something_else_is_tried() {
        let (tries, key): (_, ObjectKey) =
            (Tries::default(), "Certificate/default/a".parse().unwrap());
        let failure = tries.failed(&key, "one", None, "no".to_owned());
        assert_eq!((failure.attempts, failure.next_ms - failure.at_ms), (1, 5 * 60 * 1_000));
        assert!(tries.waits(&key, "one", failure.at_ms));
        assert!(!tries.waits(&key, "one", failure.next_ms) && !tries.waits(&key, "other", 0));
        // What another leader wrote down counts, and what only this one knows.
        assert_eq!(tries.failed(&key, "one", Some(4), String::new()).attempts, 5);
        assert_eq!(tries.failed(&key, "one", Some(4), String::new()).attempts, 6);
        assert_eq!(tries.failed(&key, "other", None, String::new()).attempts, 1);
        tries.succeeded(&key);
        assert!(!tries.waits(&key, "other", 0));
    }
}
