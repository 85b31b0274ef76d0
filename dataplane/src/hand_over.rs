//! Whether this data plane leaves what it runs to the next one, instead of ending it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

/// A data plane's decision to hand over: actors that are stopped after it leave what outlives them.
/// Clones share it.
#[derive(Clone, Debug, Default)]
pub struct HandOver {
    begun: Arc<AtomicBool>,
    asked: Arc<Notify>,
}

impl HandOver {
    /// Asks whoever runs the data plane for it.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    /// Waits until it is asked for. Safe to cancel.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Makes the stop of actors one that leaves what they run.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Tells whether [`Self::begin`] was called.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }
}
