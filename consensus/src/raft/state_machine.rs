//! openraft's state machine: hands entries to the pure `apply` and publishes what comes out.
//!
//! Order within a group of entries: apply all, follow in the store, publish to readers, then
//! answer the callers, so that whoever was answered finds its write.

use std::io;

use futures::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::OptionalSend;
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use tokio::sync::watch;

use super::{LogId, Snapshot, SnapshotMeta, StoredMembership, Types, convert};
use crate::pb::storage::Image;
use crate::snap::{SnapshotFile, Snapshots};
use crate::state::apply::{Changes, Outcome, apply, apply_nothing};
use crate::state::{Published, State, image};
use crate::store::Store;
use crate::telemetry;

/// The state with its position in the log.
#[derive(Clone, Default)]
pub(crate) struct Replica {
    pub(crate) state: State,
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

impl Replica {
    /// Everything that is not a row.
    pub(crate) fn image(&self) -> Image {
        let mut image = Image {
            applied: self.applied.as_ref().map(convert::log_id_message),
            membership: Some(convert::stored_membership_message(&self.membership)),
            ..Image::default()
        };
        image::describe(&self.state, &mut image);
        image
    }

    /// Puts a replica together from what was stored.
    pub(crate) fn restore(image: &Image, state: State) -> io::Result<Self> {
        let meta = convert::snapshot_meta(image).map_err(io::Error::other)?;
        Ok(Self { state, applied: meta.last_log_id, membership: meta.last_membership })
    }
}

/// Applies entries; openraft owns it and calls it from one task.
pub(crate) struct StateMachine {
    pub(crate) replica: Replica,
    pub(crate) store: Option<Store>,
    pub(crate) snapshots: Snapshots,
    pub(crate) published: watch::Sender<Published>,
}

impl StateMachine {
    fn publish(&self) {
        self.published.send_replace(self.replica.state.publish());
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.replica.applied, self.replica.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut changes = Vec::new();
        let mut answers = Vec::new();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let id = entry.log_id();
            let replica = &mut self.replica;
            let (outcome, change) = match &entry.payload {
                EntryPayload::Normal(command) => {
                    // A command that this program does not understand halts the node here: to
                    // skip it would make this member differ from the others for ever.
                    let (time_ms, transaction) = command.decode().map_err(io::Error::other)?;
                    apply(&mut replica.state, id.index(), time_ms, &transaction)
                }
                EntryPayload::Blank => {
                    apply_nothing(&mut replica.state, id.index());
                    (Outcome::Nothing, Changes::default())
                }
                EntryPayload::Membership(membership) => {
                    apply_nothing(&mut replica.state, id.index());
                    replica.membership = StoredMembership::new(Some(id), membership.clone());
                    (Outcome::Nothing, Changes::default())
                }
            };
            replica.applied = Some(id);
            changes.push(change);
            if let Some(responder) = responder {
                answers.push((responder, outcome));
            }
        }
        if let Some(store) = &self.store {
            store.apply(changes, self.replica.image(), self.replica.state.clone()).await;
        }
        self.publish();
        for (responder, outcome) in answers {
            responder.send(outcome);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        Builder { replica: self.replica.clone(), snapshots: self.snapshots.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let snapshots = self.snapshots.clone();
        let expected = meta.last_log_id;
        let replica = blocking(move || {
            let (image, state) = snapshots.read(&snapshot).map_err(|e| e.into_io())?;
            let replica = Replica::restore(&image, state)?;
            if replica.applied != expected {
                return Err(io::Error::other("the snapshot is of another entry than it says"));
            }
            // Written again rather than renamed: one way by which a snapshot becomes durable.
            let own = snapshot.path.parent() == Some(&snapshots.folder);
            let complete = snapshot.path.extension().is_some_and(|e| e == "snap");
            if !(own && complete) {
                snapshots.write(&image, &replica.state).map_err(|e| e.into_io())?;
            }
            Ok(replica)
        })
        .await?;
        metrics::counter!(telemetry::SNAPSHOTS, "by" => "installed").increment(1);
        self.replica = replica;
        if let Some(store) = &self.store {
            store.replace(self.replica.image(), self.replica.state.clone()).await;
        }
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let snapshots = self.snapshots.clone();
        blocking(move || {
            let Some(file) = snapshots.newest().map_err(|e| e.into_io())? else { return Ok(None) };
            let image = snapshots.header(&file).map_err(|e| e.into_io())?;
            let meta = convert::snapshot_meta(&image).map_err(io::Error::other)?;
            Ok(Some(Snapshot { meta, snapshot: file }))
        })
        .await
    }
}

/// Writes the state as it was when the builder was made; a clone costs a few pointers.
pub(crate) struct Builder {
    replica: Replica,
    snapshots: Snapshots,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (replica, snapshots) = (self.replica.clone(), self.snapshots.clone());
        let snapshot = blocking(move || {
            snapshots.write(&replica.image(), &replica.state).map_err(|e| e.into_io())
        })
        .await?;
        metrics::counter!(telemetry::SNAPSHOTS, "by" => "built").increment(1);
        let meta = SnapshotMeta {
            last_log_id: self.replica.applied,
            last_membership: self.replica.membership.clone(),
        };
        Ok(Snapshot { meta, snapshot })
    }
}

/// Runs file work away from the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
