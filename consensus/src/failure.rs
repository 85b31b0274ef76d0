//! The one place where a part reports that the node can do nothing right any more.

use std::sync::Arc;

use tokio::sync::watch;

use crate::errors::Fatal;

/// Keeps the first fatal error; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Failure(Arc<watch::Sender<Option<Fatal>>>);

impl Default for Failure {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Failure {
    /// Reports an error; later ones are consequences and are only logged.
    pub(crate) fn report(&self, fatal: Fatal) {
        tracing::error!(part = fatal.part, reason = %fatal.reason, "consensus failed");
        self.0.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(fatal);
            }
            first
        });
    }

    /// The first error.
    pub(crate) fn get(&self) -> Option<Fatal> {
        self.0.borrow().clone()
    }

    /// Follows the first error.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Fatal>> {
        self.0.subscribe()
    }
}
