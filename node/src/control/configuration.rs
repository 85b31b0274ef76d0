//! The configuration as parsed objects, kept up with the replicated store.
//!
//! One snapshot is shared by all. It moves forward by the store's own history, so a change of one
//! object among ten thousand parses one object; only a start, or a node that fell behind the kept
//! history, parses everything.

use std::sync::{Arc, Mutex, PoisonError};

use consensus::{Batch, Consensus, Consistency, View};
use model::{
    ObjectKey, Revision, Snapshot,
    api::{Action, Event, HistoryEntry, ObjectOutcome},
};
use tokio::sync::{broadcast, watch};

use super::{
    errors::SnapshotError,
    objects,
    store::{self, OBJECTS, configuration_revision, object_of},
};

/// All revisions that consensus keeps are asked for at once; it bounds them itself.
const HISTORY_LIMIT: usize = usize::MAX;

/// The shared snapshot; clones share it.
#[derive(Clone)]
pub(crate) struct Configuration {
    consensus: Consensus,
    newest: Arc<Mutex<Snapshot>>,
    published: Arc<watch::Sender<Snapshot>>,
}

impl Configuration {
    pub(super) fn new(consensus: Consensus) -> Self {
        Self {
            consensus,
            newest: Arc::default(),
            published: Arc::new(watch::Sender::new(Snapshot::default())),
        }
    }

    /// Follows the snapshot; latest wins. Begins with an empty one at revision zero.
    pub(super) fn subscribe(&self) -> watch::Receiver<Snapshot> {
        self.published.subscribe()
    }

    /// The snapshot, as fresh as asked for.
    pub(crate) async fn read(&self, consistency: Consistency) -> Result<Snapshot, SnapshotError> {
        let view = self.consensus.read(consistency).await?;
        self.catch_up(&view)
    }

    /// The snapshot in a view, or a newer one.
    pub(crate) fn in_view(&self, view: &View) -> Result<Snapshot, SnapshotError> {
        self.catch_up(view)
    }

    /// The snapshot of a kept revision.
    pub(crate) fn read_at(&self, at: Revision) -> Result<Snapshot, SnapshotError> {
        let view = self
            .consensus
            .read_at(at)
            .map_err(|error| SnapshotError::NotKept { revision: at, reason: error.to_string() })?;
        parse(&view)
    }

    /// The revision that changed an object last, up to a kept one.
    pub(super) async fn object_revision(
        &self,
        object: &ObjectKey,
        at: Revision,
    ) -> Result<Option<Revision>, SnapshotError> {
        let present = self.consensus.read(Consistency::Stale).await?;
        let view = if configuration_revision(&present) == at {
            present
        } else {
            self.consensus.read_at(at).map_err(|error| SnapshotError::NotKept {
                revision: at,
                reason: error.to_string(),
            })?
        };
        Ok(view.get(&store::object_key(object)).map(|stored| stored.mod_revision))
    }

    /// The newest `limit` revisions that changed objects, newest first.
    pub(super) fn history(&self, limit: usize) -> Vec<HistoryEntry> {
        let floor = self.consensus.history_floor();
        // The floor may rise between the two calls; then there is one revision less to tell.
        let batches = self.consensus.history(floor, HISTORY_LIMIT).unwrap_or_default();
        batches.iter().rev().filter_map(entry).take(limit).collect()
    }

    /// Publishes each change of objects until the store stops: to subscribers and as an event.
    pub(super) async fn follow(self, events: broadcast::Sender<Event>) -> anyhow::Result<()> {
        let view = self.consensus.read(Consistency::Stale).await?;
        let mut after = view.revision();
        self.publish(self.catch_up(&view)?);
        loop {
            let Ok(mut watcher) = self.consensus.watch(OBJECTS, after) else {
                // Behind the kept history: start over from the present view.
                let view = self.consensus.read(Consistency::Stale).await?;
                after = view.revision();
                self.publish(self.catch_up(&view)?);
                continue;
            };
            loop {
                match watcher.next().await {
                    Ok(batch) => {
                        let view = self.consensus.read(Consistency::Stale).await?;
                        self.publish(self.catch_up(&view)?);
                        if let Some(entry) = entry(&batch) {
                            // Nobody listening is no error.
                            let _ = events.send(Event::Revision(entry));
                        }
                    }
                    Err(consensus::WatchError::Lagged { last, .. }) => {
                        after = last;
                        break;
                    }
                    Err(error @ consensus::WatchError::Stopped) => return Err(error.into()),
                }
            }
        }
    }

    fn publish(&self, snapshot: Snapshot) {
        metrics::gauge!("marchproxy_configuration_revision").set(snapshot.revision().0 as f64);
        metrics::gauge!("marchproxy_configuration_objects").set(snapshot.len() as f64);
        self.published.send_if_modified(|held| {
            let newer = held.revision() < snapshot.revision();
            if newer {
                *held = snapshot;
            }
            newer
        });
    }

    /// Moves the shared snapshot forward to the view, or leaves it where it is newer.
    fn catch_up(&self, view: &View) -> Result<Snapshot, SnapshotError> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.revision() < configuration_revision(view) {
            let from = newest.revision();
            *newest = match self.consensus.history(from, HISTORY_LIMIT) {
                Ok(batches) => advance(&newest, &batches)?,
                Err(_) => parse(view)?,
            };
        }
        Ok(newest.clone())
    }
}

/// The metrics that are written here, with their meaning.
pub(super) fn describe() {
    metrics::describe_gauge!(
        "marchproxy_configuration_revision",
        "Revision of the configuration that is applied on this node"
    );
    metrics::describe_gauge!(
        "marchproxy_configuration_objects",
        metrics::Unit::Count,
        "Configuration objects on this node"
    );
}

fn parse(view: &View) -> Result<Snapshot, SnapshotError> {
    let mut snapshot = Snapshot::default();
    for (key, stored) in view.scan(OBJECTS) {
        snapshot.put(Arc::new(objects::read(key, &stored.value)?));
    }
    snapshot.set_revision(configuration_revision(view));
    Ok(snapshot)
}

fn advance(from: &Snapshot, batches: &[Batch]) -> Result<Snapshot, SnapshotError> {
    let mut snapshot = from.clone();
    for batch in batches {
        for event in batch.events.iter() {
            let Some(key) = object_of(&event.key) else { continue };
            match &event.current {
                Some(stored) => {
                    snapshot.put(Arc::new(objects::read(&event.key, &stored.value)?));
                }
                None => {
                    snapshot.remove(&key);
                }
            }
        }
        if batch.events.iter().any(|event| event.key == store::CONFIGURATION) {
            snapshot.set_revision(batch.revision);
        }
    }
    Ok(snapshot)
}

/// The history entry of a batch; `None` when it changed no object.
fn entry(batch: &Batch) -> Option<HistoryEntry> {
    let objects: Vec<ObjectOutcome> = batch
        .events
        .iter()
        .filter_map(|event| {
            let action = match (&event.previous, &event.current) {
                (None, _) => Action::Created,
                (Some(_), Some(_)) => Action::Updated,
                (Some(_), None) => Action::Deleted,
            };
            Some(ObjectOutcome { object: object_of(&event.key)?, action })
        })
        .collect();
    (!objects.is_empty()).then(|| HistoryEntry {
        revision: batch.revision,
        time_ms: batch.time_ms,
        actor: batch.actor.clone(),
        message: batch.message.clone(),
        objects,
    })
}
