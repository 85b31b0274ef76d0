//! What a kept revision held.

use model::{ObjectKey, Revision, Snapshot};

use super::Control;
use crate::control::SnapshotError;

impl Control {
    /// The configuration of a kept revision.
    ///
    /// # Errors
    /// [`SnapshotError::NotKept`] when history does not reach it.
    pub fn configuration_at(&self, at: Revision) -> Result<Snapshot, SnapshotError> {
        self.inner.configuration.read_at(at)
    }

    /// The revision that changed an object last, up to a kept one; `None` when it is not there.
    ///
    /// # Errors
    /// [`SnapshotError::NotKept`] when history does not reach that one.
    pub async fn object_revision(
        &self,
        object: &ObjectKey,
        at: Revision,
    ) -> Result<Option<Revision>, SnapshotError> {
        self.inner.configuration.object_revision(object, at).await
    }
}
