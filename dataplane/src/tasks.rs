//! A task that ends with its owner.

use std::future::Future;

use tokio::task::JoinHandle;

/// A spawned task, aborted when this is dropped: an actor's task dies with its state, also when the
/// actor panics or is killed.
#[derive(Debug)]
pub struct Task(JoinHandle<()>);

impl Task {
    /// Spawns `future` on the current runtime.
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
