//! Certificates for hosts: issued by the leader, kept in the replicated store, pushed to every data
//! plane, renewed in time.
//!
//! ```text
//! Certificate, Issuer ─▶ leader: who has none, another one, or one that is due ─▶ store: chain, key (encrypted)
//!                                                                                   │
//! Envoy ◀─ file, renamed into place ◀─ data plane ◀─ QUIC ◀─ publisher of any node ◀─┘
//! ```
//! **Invariants.** One node issues: the leader, and what it writes demands that nothing was written since
//! it looked. A key is in the clear in memory and on its way to a data plane only (mutual TLS), and in
//! that node's own file; no read returns it. What is issued for an object that is gone goes too; an
//! issuer's authority or account stays, so that one that is applied again is trusted as before.

pub(crate) mod acme;
mod authority;
mod record;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use consensus::{Compare, Consistency, Op, ProposeError, RaftState, Transaction, View};
use model::{
    Certificate, Issued, Issuer, Kind, ObjectKey, Revision, Snapshot, Spec,
    api::{CertificateInfo, CertificateState, IssuerAuthority},
    route::Reference,
};
use runtime::chain::chain;
use tokio::sync::watch;

pub(crate) use self::record::{Place, Record, RecordError};
use self::{
    acme::Orders,
    authority::Pair,
    record::{asked, milliseconds},
};
use crate::control::{
    Control,
    store::{CERTIFICATES, ISSUERS, named_key, named_of, object_key},
};

/// How often the leader looks for what is due when nothing changes.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Transactions in a row: who writes against somebody else all the time has a rest.
const TURNS_MAX: usize = 100;
/// What one transaction issues at most.
const BATCH: usize = 100;
/// Certificates that have series, the first by their names.
const SERIES_MAX: usize = 1_000;

/// What is to be written, and under which conditions.
#[derive(Default)]
struct Writes {
    ops: Vec<Op>,
    compare: Vec<Compare>,
    issued: u64,
    failures: Vec<IssueError>,
}

impl Writes {
    /// Writes a record that was last written at `seen`.
    fn put(&mut self, key: String, record: &Record, seen: Option<Revision>) {
        self.compare.push(Compare::KeyRevision { key: key.clone(), revision: seen });
        self.ops.push(Op::Put { key, value: Bytes::from(record.to_stored()) });
    }
}

/// Issues what is asked for while this node leads.
pub(crate) async fn lead(
    control: Control,
    mut configuration: watch::Receiver<Snapshot>,
) -> anyhow::Result<()> {
    let mut orders = Orders::default();
    let mut opened = Opened::default();
    loop {
        configuration.borrow_and_update();
        if control.consensus().status().borrow().state == RaftState::Leader {
            for _ in 0..TURNS_MAX {
                if !look(&control, &mut orders, &mut opened).await {
                    break;
                }
            }
        } else {
            orders.stop();
        }
        tokio::select! {
            changed = configuration.changed() => changed?,
            // Another one has its turn.
            () = orders.one_ended() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Issues and removes what is due; tells whether something is left.
async fn look(control: &Control, orders: &mut Orders, opened: &mut Opened) -> bool {
    // Stale is good enough: what is written demands that all is still as it was seen.
    let Ok(view) = control.consensus().read(Consistency::Stale).await else { return false };
    let Ok(config) = control.snapshot(Consistency::Stale).await else { return false };
    let (here, mut known) = (control.clone(), std::mem::take(opened));
    // Thousands of records are read and keys are made: not on a thread that serves others.
    let looked = tokio::task::spawn_blocking(move || {
        let now = SystemTime::now();
        let identity = here.identity();
        let place =
            Place { key: here.certificates().cluster_key(), cluster: identity.cluster().as_str() };
        let ordered = acme::due(&view, &config, now);
        (ordered, due(&place, &view, &config, now, &mut known), known)
    });
    let (ordered, writes, known) = match looked.await {
        Ok(looked) => looked,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    *opened = known;
    orders.begin(control, ordered);
    for error in &writes.failures {
        metrics::counter!("marchproxy_certificate_failures_total").increment(1);
        tracing::error!(error = %chain(error), "a certificate is not issued");
    }
    if writes.ops.is_empty() {
        return false;
    }
    let left = writes.ops.len() >= BATCH;
    let mut transaction = Transaction::new("the leader", "issue certificates", writes.ops);
    transaction.compare = writes.compare;
    match control.consensus().propose(transaction).await {
        Ok(_) => {
            metrics::counter!("marchproxy_certificates_issued_total").increment(writes.issued);
            tracing::info!(certificates = writes.issued, "issued");
            left
        }
        // Another look sees what has changed.
        Err(ProposeError::Conflict { .. }) => true,
        Err(error) => {
            tracing::warn!(%error, "what was issued is not written; it is tried again");
            false
        }
    }
}

/// What was found to open, so that it is not opened again: the certificate, and the revision of its record.
#[derive(Default)]
struct Opened(BTreeMap<ObjectKey, Revision>);

impl Opened {
    fn opens(&mut self, place: &Place<'_>, key: &ObjectKey, held: &Record, at: Revision) -> bool {
        if self.0.get(key) == Some(&at) {
            return true;
        }
        let opens = held.material(place, key.clone()).is_ok();
        if opens {
            self.0.insert(key.clone(), at);
        }
        opens
    }
}

/// Why nothing is issued.
#[derive(Debug, thiserror::Error)]
enum IssueError {
    /// A record cannot be used.
    #[error("{what}")]
    Record {
        /// Whose.
        what: ObjectKey,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// A key or a certificate cannot be made.
    #[error("{what}")]
    Made {
        /// Whose.
        what: ObjectKey,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
}

/// Makes what certificates lack, up to a batch, and finds what nobody asks for any more.
fn due(
    place: &Place<'_>,
    view: &View,
    config: &Snapshot,
    now: SystemTime,
    opened: &mut Opened,
) -> Writes {
    let mut writes = Writes::default();
    opened.0.retain(|key, _| config.certificate(&key.namespace, &key.name).is_some());
    let mut authorities: BTreeMap<ObjectKey, Option<Pair>> = BTreeMap::new();
    for (key, issued) in config.issued_certificates() {
        if writes.ops.len() >= BATCH {
            return writes;
        }
        let named = &issued.issuer;
        if !matches!(config.issuer(&named.namespace, &named.name), Some(Issuer::Internal {})) {
            continue;
        }
        let issuer = issuer_key(named);
        let authority = authorities.entry(issuer).or_insert_with_key(|issuer| {
            let found = authority(place, view, issuer, now, &mut writes);
            found.map_err(|error| writes.failures.push(error)).ok()
        });
        let Some(authority) = authority else { continue };
        let wanted = asked(issued, &authority.certificate);
        let at = named_key(CERTIFICATES, key);
        let stored = view.get(&at);
        // One that cannot be read is issued anew.
        let is_good = stored.is_some_and(|stored| {
            Record::read(&stored.value).is_ok_and(|held| {
                held.asked == wanted
                    && milliseconds(now) < held.due_ms(issued)
                    && opened.opens(place, key, &held, stored.mod_revision)
            })
        });
        if is_good {
            continue;
        }
        let made = match authority::issue(authority, issued, now) {
            Ok(made) => made,
            Err(source) => {
                writes.failures.push(IssueError::Made { what: key.clone(), source });
                continue;
            }
        };
        let record = Record::of_certificate(place, key, wanted, &made);
        writes.put(at, &record, stored.map(|stored| stored.mod_revision));
        // The object is still the one that was looked at.
        let object = object_key(key);
        let revision = view.get(&object).map(|stored| stored.mod_revision);
        writes.compare.push(Compare::KeyRevision { key: object, revision });
        writes.issued += 1;
    }
    let room = BATCH.saturating_sub(writes.ops.len());
    let left = acme::leftovers(view, config, now).into_iter().take(room);
    writes.ops.extend(left.map(|key| Op::Delete { key }));
    for (at, stored) in view.scan(CERTIFICATES) {
        let key = named_of(CERTIFICATES, Kind::Certificate, at);
        let is_issued = key.is_some_and(|key| {
            config.certificate(&key.namespace, &key.name).is_some_and(|it| it.issued().is_some())
        });
        if !is_issued && writes.ops.len() < BATCH {
            let revision = Some(stored.mod_revision);
            writes.compare.push(Compare::KeyRevision { key: at.to_owned(), revision });
            writes.ops.push(Op::Delete { key: at.to_owned() });
        }
    }
    writes
}

/// Returns the authority of an issuer; makes it where there is none.
fn authority(
    place: &Place<'_>,
    view: &View,
    issuer: &ObjectKey,
    now: SystemTime,
    writes: &mut Writes,
) -> Result<Pair, IssueError> {
    let at = named_key(ISSUERS, issuer);
    if let Some(stored) = view.get(&at) {
        // Never made anew: what trusts it would trust nothing any more.
        let opened = Record::read(&stored.value).and_then(|held| held.authority(place, issuer));
        return opened.map_err(|source| IssueError::Record { what: issuer.clone(), source });
    }
    let made = authority::create(issuer, now)
        .map_err(|source| IssueError::Made { what: issuer.clone(), source })?;
    writes.put(at, &Record::of_authority(place, issuer, &made), None);
    Ok(made)
}

fn issuer_key(issuer: &Reference) -> ObjectKey {
    ObjectKey::new(Kind::Issuer, &issuer.namespace, &issuer.name)
}

/// Lists all certificates, and how they stand.
pub(crate) fn list(view: &View, config: &Snapshot) -> Vec<CertificateInfo> {
    let certificates = config.of_kind(Kind::Certificate);
    certificates
        .filter_map(|(key, object)| match &object.spec {
            Spec::Certificate(certificate) => Some(info(view, config, key, certificate)),
            _ => None,
        })
        .collect()
}

fn info(
    view: &View,
    config: &Snapshot,
    key: &ObjectKey,
    certificate: &Certificate,
) -> CertificateInfo {
    let Certificate::Issued(asked) = certificate else {
        return CertificateInfo::new(key.clone(), CertificateState::Files);
    };
    let Issued { issuer, hosts, .. } = asked;
    let mut info = CertificateInfo {
        issuer: Some(issuer_key(issuer)),
        hosts: hosts.clone(),
        ..CertificateInfo::new(key.clone(), CertificateState::Pending)
    };
    let wanted = wanted(view, config, asked);
    let acme = config.issuer(&issuer.namespace, &issuer.name).and_then(|issuer| issuer.acme());
    info.failure = acme.and_then(|acme| acme::failure(view, key, &acme::tried_of(asked, acme)));
    if let Some(record) = record_at(view, &named_key(CERTIFICATES, key)) {
        if Some(&record.asked) == wanted.as_ref() {
            info.state = CertificateState::Issued;
        }
        info.not_before_ms = Some(record.not_before_ms);
        info.not_after_ms = Some(record.not_after_ms);
        info.renews_ms = Some(record.due_ms(asked));
        info.chain = Some(record.chain);
    }
    info
}

/// Names what a configuration asks for, as records do; nothing where nobody can be asked yet.
fn wanted(view: &View, config: &Snapshot, issued: &Issued) -> Option<String> {
    let issuer = &issued.issuer;
    match config.issuer(&issuer.namespace, &issuer.name)? {
        Issuer::Acme(acme) => Some(acme::asked_of(issued, acme)),
        Issuer::Internal {} => {
            let authority = issuer_authority(view, &issuer_key(issuer))?;
            Some(asked(issued, &authority.certificate))
        }
    }
}

/// Tells whether what was issued is what a configuration asks for.
pub(crate) fn asks_for(view: &View, config: &Snapshot, key: &ObjectKey, record: &Record) -> bool {
    let issued = config.certificate(&key.namespace, &key.name).and_then(|it| it.issued());
    issued.and_then(|issued| wanted(view, config, issued)).as_ref() == Some(&record.asked)
}

/// Returns the authority of an issuer, without its key; none before its first certificate.
pub(crate) fn issuer_authority(view: &View, issuer: &ObjectKey) -> Option<IssuerAuthority> {
    let record = record_at(view, &named_key(ISSUERS, issuer))?;
    Some(IssuerAuthority {
        issuer: issuer.clone(),
        certificate: record.chain,
        not_after_ms: record.not_after_ms,
    })
}

fn record_at(view: &View, at: &str) -> Option<Record> {
    Record::read(&view.get(at)?.value).ok()
}

/// Writes out when certificates end, as series of Prometheus' text format.
pub(crate) fn series(view: &View, config: &Snapshot) -> String {
    use std::fmt::Write as _;

    const NAME: &str = "marchproxy_issued_certificate_expiry_timestamp_seconds";
    let named = config.issued_certificates().filter_map(|(key, _)| {
        let stored = view.get(&named_key(CERTIFICATES, key))?;
        Some((key, record::not_after_ms(&stored.value)?))
    });
    let mut text = String::new();
    for (key, not_after_ms) in named.take(SERIES_MAX) {
        if text.is_empty() {
            let _ = writeln!(text, "# HELP {NAME} When an issued certificate ends, in Unix time");
            let _ = writeln!(text, "# TYPE {NAME} gauge");
        }
        let (namespace, name) = (&key.namespace, &key.name);
        let seconds = not_after_ms / 1_000;
        let _ = writeln!(text, "{NAME}{{certificate=\"{namespace}/{name}\"}} {seconds}");
    }
    text
}

/// The metrics that are written here, with their meaning.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter};
    describe_counter!(
        "marchproxy_certificates_issued_total",
        Unit::Count,
        "Certificates that this node issued, or had issued, as the leader"
    );
    describe_counter!(
        "marchproxy_certificate_failures_total",
        Unit::Count,
        "Attempts of this node as the leader to issue certificates that failed"
    );
}
