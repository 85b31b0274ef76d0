//! What came and is not written yet.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::ObjectKey;
use runtime::push::Material;
use tokio::sync::Notify;

/// The newest of each certificate: there are never more than the cluster has.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    newest: Mutex<BTreeMap<ObjectKey, Material>>,
    changed: Notify,
}

impl Waiting {
    pub(super) fn put(&self, material: Material) {
        self.newest().insert(material.certificate.clone(), material);
        self.changed.notify_one();
    }

    pub(super) fn take(&self) -> Option<Material> {
        self.newest().pop_first().map(|(_, material)| material)
    }

    /// Returns when one was put since it last returned.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn newest(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Material>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
