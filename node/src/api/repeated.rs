//! Writes that were sent before: the same caller's same `Idempotency-Key`.
//!
//! The store applies one request once, but a repeated write is decided anew on a state that it has
//! already changed: its condition no longer holds, its object is already gone. So the history is
//! asked first.

use consensus::Consistency;
use model::{Revision, api::ApplyResponse};

use crate::control::{ApplyOptions, Control, SnapshotError};

/// Ids that one write may take, one for each attempt against other writers; the writer makes
/// fewer.
const ATTEMPTS_MAX: u128 = 64;

/// What the write came to when it was sent before, as far as the history reaches.
pub(super) async fn earlier(
    control: &Control,
    options: &ApplyOptions,
) -> Result<Option<ApplyResponse>, SnapshotError> {
    let (Some(request), false) = (options.request, options.dry_run) else { return Ok(None) };
    let consensus = control.consensus();
    // What was committed through another node is seen here, too.
    consensus.read(Consistency::Linearizable).await?;
    let floor = consensus.history_floor();
    // When the floor rises in between, the oldest revisions are not looked at: as if too old.
    let batches = consensus.history(floor, usize::MAX).unwrap_or_default();
    let earlier =
        batches.iter().find(|batch| batch.request.0.wrapping_sub(request.0) < ATTEMPTS_MAX);
    let Some(revision) = earlier.map(|batch| Revision(batch.revision.0)) else { return Ok(None) };
    let entry = control.history(usize::MAX).await.into_iter().find(|e| e.revision == revision);
    Ok(entry.map(|entry| ApplyResponse {
        revision,
        dry_run: false,
        objects: entry.objects,
        forced: Vec::new(),
        warnings: Vec::new(),
    }))
}
