//! Watching changes without gaps.
//!
//! A watcher holds a position, not a queue: it looks the next batch up in the published history.
//! A slow one therefore costs nothing, never blocks apply, and is cut when the history's floor
//! passes its position.

use tokio::sync::watch;

use crate::errors::WatchError;
use crate::history::{Batch, Event};
use crate::ids::Revision;
use crate::state::Published;

/// Hands out every batch that touches a prefix, in order, each exactly once.
#[derive(Debug)]
pub struct Watcher {
    prefix: String,
    position: Revision,
    published: watch::Receiver<Published>,
}

impl Watcher {
    pub(crate) fn new(
        prefix: &str,
        after: Revision,
        published: watch::Receiver<Published>,
    ) -> Self {
        Self { prefix: prefix.to_owned(), position: after, published }
    }

    /// The revision up to which everything was handed out or did not touch the prefix.
    pub fn position(&self) -> Revision {
        self.position
    }

    /// Waits for the next batch with at least one event under the prefix.
    ///
    /// Cancel-safe: a dropped call loses nothing.
    ///
    /// # Errors
    /// [`WatchError::Lagged`] when the history no longer reaches back to the position,
    /// [`WatchError::Stopped`] when the node stopped.
    pub async fn next(&mut self) -> Result<Batch, WatchError> {
        loop {
            if let Some(batch) = self.take()? {
                return Ok(batch);
            }
            if self.published.changed().await.is_err() {
                return Err(WatchError::Stopped);
            }
        }
    }

    /// Returns the next batch if it is already there.
    fn take(&mut self) -> Result<Option<Batch>, WatchError> {
        let published = self.published.borrow_and_update().clone();
        let floor = published.floor;
        if self.position < floor {
            return Err(WatchError::Lagged { last: self.position, floor });
        }
        let start = published.position(self.position);
        for batch in published.history.iter().skip(start) {
            self.position = batch.revision;
            if let Some(batch) = self.select(batch) {
                return Ok(Some(batch));
            }
        }
        self.position = self.position.max(published.view.revision());
        Ok(None)
    }

    /// Keeps the events under the prefix.
    fn select(&self, batch: &Batch) -> Option<Batch> {
        if self.prefix.is_empty() {
            return (!batch.events.is_empty()).then(|| batch.clone());
        }
        let matches = |event: &&Event| event.key.starts_with(&self.prefix);
        let kept: Vec<Event> = batch.events.iter().filter(matches).cloned().collect();
        if kept.is_empty() {
            return None;
        }
        let events = if kept.len() == batch.events.len() {
            batch.events.clone()
        } else {
            std::sync::Arc::new(kept)
        };
        Some(Batch { events, ..batch.clone() })
    }
}
