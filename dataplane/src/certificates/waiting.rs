//! What came and is not written yet.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::ObjectKey;
use runtime::push::Material;
use tokio::sync::Notify;

/// The newest of each certificate: there are never more than the cluster has.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    newest: BTreeMap<ObjectKey, Material>,
    /// What was taken last: the next is behind it, so that one that cannot be written keeps back no other.
    last: Option<ObjectKey>,
}

impl Waiting {
    pub(super) fn put(&self, material: Material) {
        self.state().newest.insert(material.certificate.clone(), material);
        self.changed.notify_one();
    }

    /// Puts one back that was not written, unless a newer one has come.
    pub(super) fn put_back(&self, material: Material) {
        self.state().newest.entry(material.certificate.clone()).or_insert(material);
    }

    pub(super) fn take(&self) -> Option<Material> {
        let mut state = self.state();
        let from = state.last.take().map_or(Bound::Unbounded, Bound::Excluded);
        let behind = state.newest.range((from, Bound::Unbounded)).next();
        let key = behind.or_else(|| state.newest.first_key_value())?.0.clone();
        let material = state.newest.remove(&key);
        state.last = Some(key);
        material
    }

    /// Returns when one was put since it last returned.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
