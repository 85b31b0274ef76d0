//! What a start makes of log, snapshots and store: the newest state that fits the log.

use std::path::Path;

use super::state_machine::Replica;
use crate::errors::StartError;
use crate::pb::storage::{Image, LogId};
use crate::snap::{SnapshotError, Snapshots};
use crate::state::State;
use crate::store::{self, StoreError};
use crate::telemetry;
use crate::wal::Wal;

const REMEDY: &str = "remove this node from the cluster, move its data directory away and let it \
     join anew under a new id";

/// Opens the store, or rebuilds it from the newest snapshot that can be read; blocking.
///
/// # Errors
/// When no state reaches up to the beginning of the log.
pub(crate) fn recover(
    wal: &Wal,
    snapshots: &Snapshots,
    store_path: &Path,
    cluster: &str,
) -> Result<(Replica, Option<store::Opened>), StartError> {
    let (snapshot, unreadable) = newest_snapshot(snapshots)?;
    let base = snapshot.as_ref().and_then(|(image, _)| image.applied);
    let why = match store::load(store_path, cluster) {
        Ok((opened, image, state)) => match judge(wal, base, image.applied) {
            Ok(()) => return Ok((restore(store_path, &image, state)?, Some(opened))),
            Err(why) => why,
        },
        Err(StoreError::Unfinished) => "missing",
        Err(error) => {
            tracing::warn!(path = %store_path.display(), %error, "the store cannot be used");
            "damaged"
        }
    };
    if wal.purged().is_some_and(|purged| base.is_none_or(|base| base.index < purged.index)) {
        let reason = format!(
            "the log begins behind entry {}, but {}",
            wal.purged().map_or(0, |p| p.index),
            unreadable.unwrap_or_else(|| "no snapshot reaches it".to_owned()),
        );
        let path = snapshots.folder.clone();
        return Err(StartError::Damaged { path, reason, remedy: REMEDY });
    }
    let replica = match snapshot {
        Some((image, state)) => restore(&snapshots.folder, &image, state)?,
        None => Replica::default(),
    };
    tracing::info!(path = %store_path.display(), why, from = replica.state.revision.0,
        "the store is rebuilt from snapshot and log");
    metrics::counter!(telemetry::STORE_REBUILDS, "reason" => why).increment(1);
    let rebuilt = store::rebuild(store_path, cluster, &replica.image(), &replica.state);
    let opened = rebuilt.inspect_err(|error| {
        tracing::warn!(path = %store_path.display(), %error, "running without a store");
    });
    Ok((replica, opened.ok()))
}

/// Tells whether a store that stopped at `applied` can go on with this log.
fn judge(wal: &Wal, base: Option<LogId>, applied: Option<LogId>) -> Result<(), &'static str> {
    let index = |id: Option<LogId>| id.map(|id| id.index);
    if index(applied) < index(wal.purged()) || index(applied) < index(base) {
        return Err("behind");
    }
    // Ahead of a log that lost its unsynced end: committed, but this node could not prove it.
    if index(applied) > index(wal.last()).max(index(base)) {
        return Err("ahead");
    }
    let logged = applied.and_then(|id| wal.id_at(id.index));
    if logged.is_some() && logged != applied {
        return Err("diverged");
    }
    Ok(())
}

/// A snapshot in memory.
type Loaded = (Image, State);

/// Reads the newest readable snapshot; the text says what is wrong with newer ones.
fn newest_snapshot(snapshots: &Snapshots) -> Result<(Option<Loaded>, Option<String>), StartError> {
    let start = |error: SnapshotError| match error {
        SnapshotError::Io { action, path, source } => StartError::Io { action, path, source },
        SnapshotError::Invalid { path, source } => {
            StartError::Damaged { path, reason: source.to_string(), remedy: REMEDY }
        }
    };
    let mut unreadable = None;
    for path in snapshots.clean().map_err(start)?.iter().rev() {
        let file = snapshots.open(path).map_err(start)?;
        match snapshots.read(&file) {
            Ok(loaded) => return Ok((Some(loaded), unreadable)),
            Err(SnapshotError::Invalid {
                path,
                source: crate::snap::format::InvalidSnapshot::Version(found),
            }) => {
                let known = crate::pb::storage::SNAPSHOT_VERSION;
                return Err(StartError::UnknownVersion { path, found, known });
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a snapshot cannot be read");
                unreadable = Some(error.to_string());
                // Moved aside, so that openraft does not pick it as the current one.
                let aside = path.with_extension("snap-damaged");
                snapshots.disk.rename(path, &aside).map_err(|source| StartError::Io {
                    action: "move aside",
                    path: path.clone(),
                    source,
                })?;
            }
        }
    }
    Ok((None, unreadable))
}

fn restore(path: &Path, image: &Image, state: State) -> Result<Replica, StartError> {
    Replica::restore(image, state).map_err(|error| StartError::Damaged {
        path: path.to_path_buf(),
        reason: error.to_string(),
        remedy: REMEDY,
    })
}
