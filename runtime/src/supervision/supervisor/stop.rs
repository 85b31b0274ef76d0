//! Stopping one child: asked first, killed after its time limit.

use std::time::Duration;

use ractor::ActorCell;

use crate::supervision::ChildSpec;

/// How long a killed child's task may take to end: it ends at its next await point.
const KILLED_WITHIN: Duration = Duration::from_secs(1);

/// Stops the child if it runs, and waits until it has ended.
pub(super) async fn stop(spec: &ChildSpec, actor: Option<ActorCell>, reason: &str) {
    let Some(actor) = actor else { return };
    if actor.stop_and_wait(Some(reason.to_owned()), Some(spec.stop_within)).await.is_ok() {
        return;
    }
    tracing::warn!(child = %spec.name, limit = ?spec.stop_within, "a child does not stop; killing");
    if actor.kill_and_wait(Some(KILLED_WITHIN)).await.is_err() {
        tracing::error!(child = %spec.name, "a killed child does not end: it blocks its thread");
    }
}
