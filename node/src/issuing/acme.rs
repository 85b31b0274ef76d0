//! Orders at authorities that are asked by ACME (RFC 8555): one task a certificate, on the leader.
//!
//! ```text
//! due ─▶ account ─▶ order ─▶ challenges in the store ─▶ every data plane ─▶ authority asks any node
//!                              ▲ removed                                       │
//!                              └─── certificate in the store ◀─ finalize ◀─────┘
//! ```
//! A failure is kept in the store with the time of the next try, so that a new leader waits too: authorities
//! refuse who asks too often.

mod account;
mod order;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use consensus::{Consistency, Op, Transaction, View};
use model::{Acme, AcmeChallenge, Issued, ObjectKey, Snapshot, api::CertificateFailure};
use runtime::push::ChallengeAnswer;
use serde::{Deserialize, Serialize};
use tokio::{sync::Mutex, task::JoinSet};

use super::{
    issuer_key,
    record::{asked, milliseconds},
    record_at,
};
use crate::control::{
    Control,
    store::{CERTIFICATES, CHALLENGES, FAILURES, named_key},
};

/// Orders under way at a time.
const ORDERS_MAX: usize = 8;
/// The wait after the first failure; doubled with each, up to the longest. Let's Encrypt allows five
/// failures an hour for a host.
const RETRY_FIRST: Duration = Duration::from_secs(5 * 60);
const RETRY_MOST: Duration = Duration::from_secs(60 * 60);
/// Neither the beginning of an order nor its proof takes longer.
const WITHIN: Duration = Duration::from_secs(5 * 60);
/// An authority's words are kept up to here.
const REASON_CHARS_MAX: usize = 4_096;

/// What is ordered of whom.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) certificate: ObjectKey,
    pub(super) issued: Issued,
    pub(super) issuer: ObjectKey,
    pub(super) acme: Acme,
    /// Names it, in the record.
    pub(super) asked: String,
}

/// A failed order, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Failed {
    /// What was asked for; something else is tried at once.
    asked: String,
    #[serde(flatten)]
    failure: CertificateFailure,
}

/// The orders under way. Dropped, they end.
#[derive(Debug, Default)]
pub(super) struct Orders {
    tasks: JoinSet<()>,
    turns: Turns,
    running: BTreeMap<ObjectKey, tokio::task::Id>,
}

/// What orders do one after the other. Clones share it.
#[derive(Clone, Debug, Default)]
struct Turns {
    /// Held by the order whose challenges are shown in handshakes: nodes show one at a time.
    handshakes: Arc<Mutex<()>>,
    /// Held while an account is looked up or made: orders that begin together share one.
    accounts: Arc<Mutex<()>>,
}

impl Orders {
    /// Ends all, where another node leads.
    pub(super) fn stop(&mut self) {
        self.tasks.abort_all();
        self.running.clear();
    }

    /// Begins what is due.
    pub(super) fn begin(&mut self, control: &Control, view: &View, config: &Snapshot) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
            self.running.retain(|_, running| *running != id);
        }
        for wanted in due(view, config, SystemTime::now()) {
            if self.running.len() >= ORDERS_MAX {
                return;
            }
            if self.running.contains_key(&wanted.certificate) {
                continue;
            }
            let key = wanted.certificate.clone();
            let task = self.tasks.spawn(fulfil(control.clone(), wanted, self.turns.clone()));
            self.running.insert(key, task.id());
        }
    }
}

/// Names what is asked of an authority.
pub(super) fn asked_of(issued: &Issued, acme: &Acme) -> String {
    asked(issued, &acme.server)
}

/// Lists what lacks, is another one than is asked for, or is due, and may be tried now.
fn due(view: &View, config: &Snapshot, now: SystemTime) -> Vec<Wanted> {
    let now = milliseconds(now);
    let mut wanted = Vec::new();
    for (key, issued) in config.issued_certificates() {
        let named = &issued.issuer;
        let issuer = config.issuer(&named.namespace, &named.name);
        let Some(acme) = issuer.and_then(|issuer| issuer.acme()) else { continue };
        let asked = asked_of(issued, acme);
        let held = record_at(view, &named_key(CERTIFICATES, key));
        if held.is_some_and(|held| held.asked == asked && now < held.due_ms(issued)) {
            continue;
        }
        if failed(view, key).is_some_and(|it| it.asked == asked && now < it.failure.next_ms) {
            continue;
        }
        wanted.push(Wanted {
            certificate: key.clone(),
            issued: issued.clone(),
            issuer: issuer_key(named),
            acme: acme.clone(),
            asked,
        });
    }
    wanted
}

/// Tells whether it is due in what the majority has: an authority that was asked cannot take it back.
async fn is_due(control: &Control, wanted: &Wanted) -> bool {
    let Ok(config) = control.snapshot(Consistency::Linearizable).await else { return false };
    let Ok(view) = control.consensus().read(Consistency::Linearizable).await else { return false };
    let now = SystemTime::now();
    due(&view, &config, now)
        .iter()
        .any(|it| it.certificate == wanted.certificate && it.asked == wanted.asked)
}

fn failed(view: &View, certificate: &ObjectKey) -> Option<Failed> {
    serde_json::from_slice(&view.get(&named_key(FAILURES, certificate))?.value).ok()
}

/// Returns why a certificate was not issued, for what is asked for.
pub(super) fn failure(
    view: &View,
    certificate: &ObjectKey,
    asked: &str,
) -> Option<CertificateFailure> {
    failed(view, certificate).filter(|it| it.asked == asked).map(|it| it.failure)
}

async fn fulfil(control: Control, wanted: Wanted, turns: Turns) {
    let ordered = {
        let _alone = match wanted.acme.challenge {
            AcmeChallenge::TlsAlpn01 => Some(turns.handshakes.lock().await),
            AcmeChallenge::Http01 => None,
        };
        if !is_due(&control, &wanted).await {
            return;
        }
        order::order(&control, &wanted, &turns.accounts).await
    };
    let Err(error) = ordered else {
        metrics::counter!("marchproxy_certificates_issued_total").increment(1);
        tracing::info!(certificate = %wanted.certificate, issuer = %wanted.issuer, "issued");
        return;
    };
    let reason: String = format!("{error:#}").chars().take(REASON_CHARS_MAX).collect();
    metrics::counter!("marchproxy_certificate_failures_total").increment(1);
    tracing::error!(certificate = %wanted.certificate, issuer = %wanted.issuer, %reason, "not issued");
    if let Err(error) = put_failure(&control, &wanted, reason).await {
        tracing::warn!(%error, "the failure is not written");
    }
}

async fn put_failure(control: &Control, wanted: &Wanted, reason: String) -> anyhow::Result<()> {
    let view = control.consensus().read(Consistency::Stale).await?;
    let before = failed(&view, &wanted.certificate).filter(|it| it.asked == wanted.asked);
    let attempts = before.map_or(1, |it| it.failure.attempts.saturating_add(1));
    let at = SystemTime::now();
    let failure = CertificateFailure {
        reason,
        attempts,
        at_ms: milliseconds(at),
        next_ms: milliseconds(at + wait_after(attempts)),
    };
    let stored = serde_json::to_vec(&Failed { asked: wanted.asked.clone(), failure })?;
    let key = named_key(FAILURES, &wanted.certificate);
    let put = Op::Put { key, value: Bytes::from(stored) };
    control
        .consensus()
        .propose(Transaction::new("the leader", "a failed order", vec![put]))
        .await?;
    Ok(())
}

fn wait_after(attempts: u32) -> Duration {
    let doubled = RETRY_FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(10));
    doubled.min(RETRY_MOST)
}

/// Lists what is left of orders that are over: challenges that nobody waits for, and failures of
/// certificates that are gone.
pub(super) fn leftovers(view: &View, config: &Snapshot, now: SystemTime) -> Vec<String> {
    let old = milliseconds(now - 2 * WITHIN);
    let challenges = view.scan(CHALLENGES).filter(|(_, stored)| {
        let challenge = serde_json::from_slice::<Challenge>(&stored.value);
        challenge.is_ok_and(|challenge| challenge.at_ms < old)
    });
    let failures = view.scan(FAILURES).filter(|(at, _)| {
        let key = crate::control::store::named_of(FAILURES, model::Kind::Certificate, at);
        key.is_none_or(|key| config.certificate(&key.namespace, &key.name).is_none())
    });
    challenges.chain(failures).map(|(at, _)| at.to_owned()).collect()
}

/// What an authority is to be answered, as stored under its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Challenge {
    #[serde(flatten)]
    answer: ChallengeAnswer,
    at_ms: u64,
}

/// Lists what authorities are to be answered, by token.
pub(crate) fn answers(view: &View) -> BTreeMap<String, ChallengeAnswer> {
    let challenges = view.scan(CHALLENGES).filter_map(|(at, stored)| {
        let challenge: Challenge = serde_json::from_slice(&stored.value).ok()?;
        Some((at.strip_prefix(CHALLENGES)?.to_owned(), challenge.answer))
    });
    challenges.collect()
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
}
