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
mod retry;

use std::{
    collections::BTreeMap,
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use consensus::{Consistency, Op, Transaction, View};
use model::{Acme, AcmeChallenge, Issued, ObjectKey, Snapshot, api::CertificateFailure};
use runtime::push::ChallengeAnswer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{sync::Mutex, task::JoinSet};

use self::retry::Tries;
use super::{
    issuer_key,
    record::{asked, milliseconds},
    record_at,
};
use crate::control::{
    Control,
    store::{CERTIFICATES, CHALLENGES, FAILURES, named_key, named_of},
};

/// Orders under way at a time.
const ORDERS_MAX: usize = 8;
/// How long the beginning of an order may take, and its proof, and what each host adds to that: all are
/// looked up at once over HTTP, and one after the other in handshakes.
const WITHIN: Duration = Duration::from_secs(5 * 60);
const A_HOST_OVER_HTTP: Duration = Duration::from_secs(3);
const A_HOST_BY_HANDSHAKE: Duration = Duration::from_secs(65);
/// What is left of an order for so long is nobody's: longer than 100 hosts take over HTTP. One in a handshake
/// stands for a host's time only.
const LEFT_AFTER: Duration = Duration::from_secs(20 * 60);
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
    /// Names it with the way on which it is asked for, in a failure.
    tried: String,
}

impl Wanted {
    /// How long one half of the order may take.
    fn within(&self) -> Duration {
        let a_host = match self.acme.challenge {
            AcmeChallenge::Http01 => A_HOST_OVER_HTTP,
            AcmeChallenge::TlsAlpn01 => A_HOST_BY_HANDSHAKE,
        };
        WITHIN + a_host * u32::try_from(self.issued.hosts.len()).unwrap_or(u32::MAX)
    }

    fn is_by_handshake(&self) -> bool {
        self.acme.challenge == AcmeChallenge::TlsAlpn01
    }
}

/// A failed order, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Failed {
    /// What was asked for, and how; something else is tried at once.
    asked: String,
    #[serde(flatten)]
    failure: CertificateFailure,
}

/// The orders under way. Dropped, they end.
#[derive(Debug, Default)]
pub(super) struct Orders {
    tasks: JoinSet<()>,
    /// Held while an account is looked up or made: orders that begin together share one.
    accounts: Arc<Mutex<()>>,
    tries: Arc<Tries>,
    running: BTreeMap<ObjectKey, Running>,
}

#[derive(Debug)]
struct Running {
    task: tokio::task::Id,
    by_handshake: bool,
}

impl Orders {
    /// Ends all, where another node leads.
    pub(super) fn stop(&mut self) {
        self.tasks.abort_all();
        self.running.clear();
    }

    /// Returns when one has ended.
    pub(super) async fn one_ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.forget(ended),
            None => pending().await,
        }
    }

    fn forget(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.running.retain(|_, running| running.task != id);
    }

    /// Begins what is due.
    pub(super) fn begin(&mut self, control: &Control, due: Vec<Wanted>) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(ended);
        }
        let now = milliseconds(SystemTime::now());
        for wanted in due {
            if self.running.len() >= ORDERS_MAX {
                return;
            }
            // Nodes show one challenge in handshakes at a time; who waits for that takes nobody's place.
            let by_handshake = wanted.is_by_handshake();
            let shown = by_handshake && self.running.values().any(|it| it.by_handshake);
            let certificate = wanted.certificate.clone();
            if shown
                || self.running.contains_key(&certificate)
                || self.tries.waits(&certificate, &wanted.tried, now)
            {
                continue;
            }
            let order = fulfil(control.clone(), wanted, self.accounts.clone(), self.tries.clone());
            let task = self.tasks.spawn(order).id();
            self.running.insert(certificate, Running { task, by_handshake });
        }
    }
}

/// Names what is asked of an authority.
pub(super) fn asked_of(issued: &Issued, acme: &Acme) -> String {
    asked(issued, &acme.server)
}

/// Names what is asked of an authority, and all by which it may come out otherwise the next time.
pub(super) fn tried_of(issued: &Issued, acme: &Acme) -> String {
    let tried = serde_json::to_vec(&(asked_of(issued, acme), acme));
    let mut hash = Sha256::new();
    hash.update(tried.expect("it has text only"));
    hex::encode(&hash.finalize()[..16])
}

/// Lists what lacks, is another one than is asked for, or is due, and may be tried now.
pub(super) fn due(view: &View, config: &Snapshot, now: SystemTime) -> Vec<Wanted> {
    let now = milliseconds(now);
    let issued = config.issued_certificates();
    issued.filter_map(|(key, issued)| one_due(view, config, key, issued, now)).collect()
}

fn one_due(
    view: &View,
    config: &Snapshot,
    key: &ObjectKey,
    issued: &Issued,
    now: u64,
) -> Option<Wanted> {
    let named = &issued.issuer;
    let acme = config.issuer(&named.namespace, &named.name)?.acme()?;
    let (asked, tried) = (asked_of(issued, acme), tried_of(issued, acme));
    let held = record_at(view, &named_key(CERTIFICATES, key));
    if held.is_some_and(|held| held.asked == asked && now < held.due_ms(issued)) {
        return None;
    }
    if failed(view, key).is_some_and(|it| it.asked == tried && now < it.failure.next_ms) {
        return None;
    }
    Some(Wanted {
        certificate: key.clone(),
        issued: issued.clone(),
        issuer: issuer_key(named),
        acme: acme.clone(),
        asked,
        tried,
    })
}

/// Tells whether it is due in what the majority has: an authority that was asked cannot take it back.
async fn is_due(control: &Control, wanted: &Wanted) -> bool {
    let Ok(config) = control.snapshot(Consistency::Linearizable).await else { return false };
    let Ok(view) = control.consensus().read(Consistency::Linearizable).await else { return false };
    let (key, now) = (&wanted.certificate, milliseconds(SystemTime::now()));
    let issued = config.certificate(&key.namespace, &key.name).and_then(|it| it.issued());
    let found = issued.and_then(|issued| one_due(&view, &config, key, issued, now));
    found.is_some_and(|it| it.tried == wanted.tried)
}

fn failed(view: &View, certificate: &ObjectKey) -> Option<Failed> {
    serde_json::from_slice(&view.get(&named_key(FAILURES, certificate))?.value).ok()
}

/// Returns why a certificate was not issued, for what is asked for and how.
pub(super) fn failure(
    view: &View,
    certificate: &ObjectKey,
    tried: &str,
) -> Option<CertificateFailure> {
    failed(view, certificate).filter(|it| it.asked == tried).map(|it| it.failure)
}

async fn fulfil(control: Control, wanted: Wanted, accounts: Arc<Mutex<()>>, tries: Arc<Tries>) {
    if !is_due(&control, &wanted).await {
        return;
    }
    let Err(error) = order::order(&control, &wanted, &accounts).await else {
        tries.succeeded(&wanted.certificate);
        metrics::counter!("marchproxy_certificates_issued_total").increment(1);
        tracing::info!(certificate = %wanted.certificate, issuer = %wanted.issuer, "issued");
        return;
    };
    let reason: String = format!("{error:#}").chars().take(REASON_CHARS_MAX).collect();
    metrics::counter!("marchproxy_certificate_failures_total").increment(1);
    tracing::error!(certificate = %wanted.certificate, issuer = %wanted.issuer, %reason, "not issued");
    // Known here at once, should it not be written: without a majority, the authority is not asked over
    // and over.
    let view = control.consensus().read(Consistency::Stale).await.ok();
    let before = view.and_then(|view| failed(&view, &wanted.certificate));
    let before = before.filter(|it| it.asked == wanted.tried).map(|it| it.failure.attempts);
    let failure = tries.failed(&wanted.certificate, &wanted.tried, before, reason);
    if let Err(error) = put_failure(&control, &wanted, failure).await {
        tracing::warn!(%error, "the failure is not written");
    }
}

async fn put_failure(
    control: &Control,
    wanted: &Wanted,
    failure: CertificateFailure,
) -> anyhow::Result<()> {
    let stored = serde_json::to_vec(&Failed { asked: wanted.tried.clone(), failure })?;
    let key = named_key(FAILURES, &wanted.certificate);
    let put = Op::Put { key, value: Bytes::from(stored) };
    control
        .consensus()
        .propose(Transaction::new("the leader", "a failed order", vec![put]))
        .await?;
    Ok(())
}

/// Lists what is left of orders that are over: challenges that nobody waits for, and failures of
/// certificates that are gone.
pub(super) fn leftovers(view: &View, config: &Snapshot, now: SystemTime) -> Vec<String> {
    let old = milliseconds(now - LEFT_AFTER);
    let challenges = view.scan(CHALLENGES).filter(|(_, stored)| {
        let challenge = serde_json::from_slice::<ChallengeAnswer>(&stored.value);
        challenge.is_ok_and(|challenge| challenge.at_ms < old)
    });
    let failures = view.scan(FAILURES).filter(|(at, _)| {
        let key = named_of(FAILURES, model::Kind::Certificate, at);
        key.is_none_or(|key| config.certificate(&key.namespace, &key.name).is_none())
    });
    challenges.chain(failures).map(|(at, _)| at.to_owned()).collect()
}

/// Lists what authorities are to be answered, by token.
pub(crate) fn answers(view: &View) -> BTreeMap<String, ChallengeAnswer> {
    let challenges = view.scan(CHALLENGES).filter_map(|(at, stored)| {
        let answer = serde_json::from_slice(&stored.value).ok()?;
        Some((at.strip_prefix(CHALLENGES)?.to_owned(), answer))
    });
    challenges.collect()
}

#[cfg(test)]
mod tests {
    use model::route::Reference;

    use super::*;

    fn wanted(hosts: usize, challenge: AcmeChallenge) -> Wanted {
        let acme = Acme {
            server: "https://acme.example/dir".to_owned(),
            contact: vec!["ops@a.example".to_owned()],
            ca_file: None,
            terms_of_service_agreed: true,
            challenge,
        };
        let issued = Issued {
            issuer: Reference { namespace: "default".into(), name: "public".into() },
            hosts: (0..hosts).map(|host| format!("h{host}.example")).collect(),
            lifetime: Issued::DEFAULT_LIFETIME,
            renew_before: Issued::default_renewal(Issued::DEFAULT_LIFETIME),
        };
        Wanted {
            certificate: "Certificate/default/a".parse().unwrap(),
            issuer: "Issuer/default/public".parse().unwrap(),
            asked: asked_of(&issued, &acme),
            tried: tried_of(&issued, &acme),
            issued,
            acme,
        }
    }

    #[test]
    fn each_way_of_asking_is_tried_for_itself_and_comes_to_the_same_certificate() {
        let one = wanted(2, AcmeChallenge::Http01);
        let with = |change: fn(&mut Acme)| {
            let mut acme = one.acme.clone();
            change(&mut acme);
            (asked_of(&one.issued, &acme), tried_of(&one.issued, &acme))
        };
        assert_eq!(with(|_| ()), (one.asked.clone(), one.tried.clone()));
        for change in [
            (|acme| acme.challenge = AcmeChallenge::TlsAlpn01) as fn(&mut Acme),
            |acme| acme.ca_file = Some("/ca.pem".to_owned()),
            |acme| acme.contact.clear(),
        ] {
            let (asked, tried) = with(change);
            assert_eq!(asked, one.asked);
            assert_ne!(tried, one.tried);
        }
        let (asked, _) = with(|acme| acme.server.push('x'));
        assert_ne!(asked, one.asked);
    }

    #[test]
    fn many_hosts_have_the_time_that_each_may_take() {
        let by_handshake = |hosts| wanted(hosts, AcmeChallenge::TlsAlpn01).within();
        assert!(by_handshake(100) > order::PROVEN_WITHIN * 100);
        assert!(by_handshake(1) < 2 * WITHIN);
        let over_http = wanted(100, AcmeChallenge::Http01);
        // What stands in the store for it is not taken for left behind.
        assert!(2 * over_http.within() <= LEFT_AFTER);
    }
}
