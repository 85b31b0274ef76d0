//! Modules of filters in the replicated store: in parts, which are a few log entries each, and a record
//! that says that all parts are there.
//!
//! **Invariants.** What has no record is there for nobody: an upload that broke off is taken up again by
//! the same upload, or its parts are removed. A record stands exactly while its parts do. A module that
//! an object names, or that a rollout may lead back to, is not removed.

mod record;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use consensus::{Compare, Consensus, Consistency, Op, ProposeError, Transaction, Versioned, View};
use model::{
    ModuleId, ObjectKey, Snapshot,
    api::ModuleInfo,
    limits::{MAX_MODULES, MAX_MODULES_BYTES},
};
use runtime::filter_code::{self, InvalidCode};
use tokio::{sync::Semaphore, time::Instant};

pub(crate) use record::{Record, part, record, record_key, stored};

use crate::{
    control::{
        configuration::Configuration,
        store::{MODULE_PARTS, MODULES, configuration_unchanged},
    },
    rollout,
};
use record::{part_key, part_of};

/// Bytes of a part, which is also sent to data planes as one: pings and leases pass between them.
const PART_BYTES: usize = 256 * 1024;
/// Parts of one log entry: 1 MiB holds up no other write for long.
const PARTS_AT_ONCE: usize = 4;
/// Uploads that a node writes at a time; others wait.
const UPLOADS_MAX: usize = 4;
/// Times that the record is tried again, because another module's came first.
const ATTEMPTS_MAX: usize = 16;
/// After this time without a further part, an upload is not expected to be taken up again.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(3_600);
/// How long the outcome of a write is asked for before the caller is told that it is unknown.
const OUTCOME_WITHIN: Duration = Duration::from_secs(10);
const OUTCOME_RETRY: Duration = Duration::from_millis(200);

/// Why a module was not kept or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModuleError {
    /// The bytes are others.
    #[error(
        "the body has the SHA-256 {found}, not {wanted}: it was damaged on its way, or the path is wrong"
    )]
    OtherContent {
        /// What the caller says.
        wanted: ModuleId,
        /// What came.
        found: ModuleId,
    },
    /// It is no filter.
    #[error("the module is not taken: {0}")]
    Invalid(#[from] InvalidCode),
    /// There are too many.
    #[error(
        "the store has {count} modules of {bytes} bytes, and takes {MAX_MODULES} of {MAX_MODULES_BYTES} \
         bytes together: remove those that nothing uses, see `marchproxy modules list`"
    )]
    Full {
        /// How many there are.
        count: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// There is none.
    #[error("there is no module {module}")]
    NotFound {
        /// Which.
        module: ModuleId,
    },
    /// It is in use.
    #[error("module {module} is run by {}: remove or change that first", join(by))]
    InUse {
        /// Which.
        module: ModuleId,
        /// By what.
        by: Vec<ObjectKey>,
    },
    /// What was before may come back.
    #[error("a rollout is under way, which may lead back to module {module}: wait for its end")]
    Rollout {
        /// Which.
        module: ModuleId,
    },
    /// Not now. Retry later.
    #[error("not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

fn join(keys: &[ObjectKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The modules in the replicated store; clones share the places for uploads.
#[derive(Clone)]
pub(crate) struct Modules {
    consensus: Consensus,
    configuration: Configuration,
    uploads: Arc<Semaphore>,
}

impl Modules {
    pub(crate) fn new(consensus: Consensus, configuration: Configuration) -> Self {
        Self { consensus, configuration, uploads: Arc::new(Semaphore::new(UPLOADS_MAX)) }
    }

    /// Lists all.
    pub(crate) async fn list(&self) -> Result<Vec<ModuleInfo>, ModuleError> {
        let view = self.view().await?;
        let config = self.config(&view)?;
        Ok(record::all(&view).map(|(id, at, record)| info(id, at, record, &config)).collect())
    }

    /// Returns one.
    pub(crate) async fn one(&self, module: ModuleId) -> Result<ModuleInfo, ModuleError> {
        let view = self.view().await?;
        let config = self.config(&view)?;
        let found = record(&view, module).ok_or(ModuleError::NotFound { module })?;
        Ok(info(module, found.0, found.1, &config))
    }

    /// Keeps a module; takes up an upload that broke off. What is there already stays as it is.
    pub(crate) async fn push(
        &self,
        actor: &str,
        wanted: ModuleId,
        bytes: Bytes,
    ) -> Result<ModuleInfo, ModuleError> {
        let _place = self.uploads.acquire().await.map_err(|_| unavailable("stopping"))?;
        let code = bytes.clone();
        let inspected = tokio::task::spawn_blocking(move || {
            let found = filter_code::sha256(&code);
            match found == wanted {
                true => Ok(filter_code::inspect(&code)?),
                false => Err(ModuleError::OtherContent { wanted, found }),
            }
        });
        let code = inspected.await.map_err(|_| unavailable("this node is stopping"))??;
        let view = self.view().await?;
        if record(&view, wanted).is_some() {
            return self.one(wanted).await;
        }
        check_room(&view, bytes.len())?;
        self.sweep(&view, wanted, LEFT_OVER_AFTER).await;
        let parts: Vec<Bytes> = (0..bytes.len())
            .step_by(PART_BYTES)
            .map(|at| bytes.slice(at..(at + PART_BYTES).min(bytes.len())))
            .collect();
        let record = Record {
            bytes: bytes.len() as u64,
            parts: parts.len() as u32,
            least_memory_mib: code.least_memory_mib,
            created_by: actor.to_owned(),
        };
        for _ in 0..ATTEMPTS_MAX {
            self.put_parts(actor, wanted, &parts).await?;
            if self.put_record(actor, wanted, &parts, &record).await? {
                return self.one(wanted).await;
            }
        }
        Err(unavailable("other modules were kept or removed meanwhile, again and again"))
    }

    /// Removes a module, or what an upload left that broke off.
    pub(crate) async fn delete(&self, actor: &str, module: ModuleId) -> Result<(), ModuleError> {
        let view = self.view().await?;
        let config = self.config(&view)?;
        let by = users(&config, module);
        if !by.is_empty() {
            return Err(ModuleError::InUse { module, by });
        }
        if rollout::in_view(&view).is_some_and(|(rollout, _)| rollout.phase.is_under_way()) {
            return Err(ModuleError::Rollout { module });
        }
        let found = record(&view, module);
        let parts = record::parts(&view, module);
        if found.is_none() && parts.is_empty() {
            return Err(ModuleError::NotFound { module });
        }
        if let Some((at, _)) = found {
            let key = record_key(module);
            let mut transaction = Transaction::new(
                actor,
                format!("remove module {module}"),
                vec![Op::Delete { key: key.clone() }],
            );
            // Nothing comes to name it in this moment.
            transaction.compare = vec![
                configuration_unchanged(config.revision()),
                Compare::KeyRevision { key, revision: Some(at.mod_revision) },
            ];
            self.commit(transaction).await.map_err(|error| unavailable(&error.to_string()))?;
        }
        // What is not removed in this moment is left over.
        self.remove_parts(actor, module, &parts).await;
        self.sweep(&view, module, LEFT_OVER_AFTER).await;
        Ok(())
    }

    async fn put_parts(
        &self,
        actor: &str,
        module: ModuleId,
        parts: &[Bytes],
    ) -> Result<(), ModuleError> {
        let view = self.view().await?;
        let missing = |(number, bytes): &(usize, &Bytes)| {
            view.get(&part_key(module, *number as u32)).is_none_or(|held| held.value != **bytes)
        };
        let missing: Vec<_> = parts.iter().enumerate().filter(missing).collect();
        for some in missing.chunks(PARTS_AT_ONCE) {
            let put = |(number, bytes): &(usize, &Bytes)| Op::Put {
                key: part_key(module, *number as u32),
                value: (*bytes).clone(),
            };
            let message = format!(
                "module {module}: parts {} to {} of {}",
                some[0].0 + 1,
                some[some.len() - 1].0 + 1,
                parts.len()
            );
            let transaction = Transaction::new(actor, message, some.iter().map(put).collect());
            self.commit(transaction).await.map_err(|error| unavailable(&error.to_string()))?;
        }
        Ok(())
    }

    /// Writes the record, if all parts are there; false when something else came first.
    async fn put_record(
        &self,
        actor: &str,
        module: ModuleId,
        parts: &[Bytes],
        record: &Record,
    ) -> Result<bool, ModuleError> {
        let view = self.view().await?;
        if record::record(&view, module).is_some() {
            return Ok(true);
        }
        check_room(&view, record.bytes as usize)?;
        let key = record_key(module);
        let mut compare = vec![
            Compare::KeyRevision { key: key.clone(), revision: None },
            // Neither this one nor others that fill the store.
            Compare::PrefixAtMost { prefix: MODULES.to_owned(), revision: view.revision() },
        ];
        for (number, bytes) in parts.iter().enumerate() {
            let key = part_key(module, number as u32);
            match view.get(&key) {
                Some(held) if held.value == *bytes => {
                    compare.push(Compare::KeyRevision { key, revision: Some(held.mod_revision) });
                }
                _ => return Ok(false),
            }
        }
        let op = Op::Put { key, value: record.to_bytes() };
        let mut transaction = Transaction::new(actor, format!("keep module {module}"), vec![op]);
        transaction.compare = compare;
        match self.commit(transaction).await {
            Ok(()) => Ok(true),
            Err(ProposeError::Conflict { .. } | ProposeError::CompareCompacted { .. }) => Ok(false),
            Err(error) => Err(unavailable(&error.to_string())),
        }
    }

    /// Removes what uploads left that broke off longer ago than `after`, but not that of `spared`.
    pub(crate) async fn sweep(&self, view: &View, spared: ModuleId, after: Duration) {
        let mut left_over: BTreeMap<ModuleId, Vec<(String, &Versioned)>> = BTreeMap::new();
        for (key, stored) in view.scan(MODULE_PARTS) {
            if let Some(id) = part_of(key).filter(|id| *id != spared && record(view, *id).is_none())
            {
                left_over.entry(id).or_default().push((key.to_owned(), stored));
            }
        }
        let old = |parts: &[(String, &Versioned)]| {
            let newest = parts.iter().map(|(_, stored)| stored.time_ms).max().unwrap_or_default();
            let since = Duration::from_millis(view.time_ms().saturating_sub(newest));
            since > after
        };
        for (id, parts) in left_over.into_iter().filter(|(_, parts)| old(parts)) {
            let keys: Vec<_> =
                parts.iter().map(|(key, at)| (key.clone(), at.mod_revision)).collect();
            self.remove_parts("marchproxy", id, &keys).await;
        }
    }

    /// Removes parts that have no record, unless they were written meanwhile.
    async fn remove_parts(
        &self,
        actor: &str,
        module: ModuleId,
        parts: &[(String, consensus::Revision)],
    ) {
        for some in parts.chunks(PARTS_AT_ONCE) {
            let ops = some.iter().map(|(key, _)| Op::Delete { key: key.clone() }).collect();
            let mut transaction =
                Transaction::new(actor, format!("remove parts of module {module}"), ops);
            transaction.compare = some
                .iter()
                .map(|(key, at)| Compare::KeyRevision { key: key.clone(), revision: Some(*at) })
                .chain([Compare::KeyRevision { key: record_key(module), revision: None }])
                .collect();
            if let Err(error) = self.commit(transaction).await {
                tracing::info!(%module, %error, "parts of a module stay for a time");
                return;
            }
        }
    }

    /// Proposes until the outcome is known; the request id makes retries apply once.
    async fn commit(&self, transaction: Transaction) -> Result<(), ProposeError> {
        let deadline = Instant::now() + OUTCOME_WITHIN;
        loop {
            match self.consensus.propose(transaction.clone()).await {
                Err(ProposeError::OutcomeUnknown { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(OUTCOME_RETRY).await;
                }
                outcome => return outcome.map(drop),
            }
        }
    }

    async fn view(&self) -> Result<View, ModuleError> {
        let read = self.consensus.read(Consistency::Linearizable).await;
        read.map_err(|error| unavailable(&error.to_string()))
    }

    fn config(&self, view: &View) -> Result<Snapshot, ModuleError> {
        self.configuration.in_view(view).map_err(|error| unavailable(&error.to_string()))
    }
}

/// Lists the objects that run a module.
fn users(config: &Snapshot, module: ModuleId) -> Vec<ObjectKey> {
    let uses = config.filter_modules().filter(|(_, it)| it.sha256 == module);
    uses.map(|(key, _)| key.clone()).collect()
}

fn info(sha256: ModuleId, at: &Versioned, record: Record, config: &Snapshot) -> ModuleInfo {
    ModuleInfo {
        sha256,
        bytes: record.bytes,
        least_memory_mib: record.least_memory_mib,
        created_ms: at.time_ms,
        created_by: record.created_by,
        used_by: users(config, sha256),
    }
}

fn check_room(view: &View, more: usize) -> Result<(), ModuleError> {
    let (mut count, mut bytes) = (0, 0);
    for (_, _, record) in record::all(view) {
        count += 1;
        bytes += record.bytes;
    }
    if count >= MAX_MODULES || bytes + more as u64 > MAX_MODULES_BYTES as u64 {
        return Err(ModuleError::Full { count, bytes });
    }
    Ok(())
}

fn unavailable(reason: &str) -> ModuleError {
    ModuleError::Unavailable { reason: reason.to_owned() }
}
