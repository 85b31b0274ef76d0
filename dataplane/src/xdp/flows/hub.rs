//! Keeps the newest events, and hands events to whoever follows.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt, stream};
use model::{
    cluster::NodeId,
    flow::{FlowEvent, FlowMessage, FlowQuery, LostEvents},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

/// Events that are kept for who comes later.
const KEPT: usize = 1_024;
/// Events that a follower may be behind, some 2 MB; one that is further behind misses the oldest.
const BEHIND_MAX: usize = 4_096;
/// Followers at once: people and one or two collectors.
pub const FOLLOWERS_MAX: usize = 8;

/// The hub; clones share it.
#[derive(Clone, Debug)]
pub struct FlowHub {
    node: NodeId,
    kept: Arc<Mutex<VecDeque<Arc<FlowMessage>>>>,
    sender: broadcast::Sender<Arc<FlowMessage>>,
    places: Arc<Semaphore>,
}

/// As many follow as may.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{FOLLOWERS_MAX} callers follow flows already: end one of them, then try again")]
pub struct TooManyFollowers;

impl FlowHub {
    /// Makes a hub for the events of a node.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            kept: Arc::default(),
            sender: broadcast::Sender::new(BEHIND_MAX),
            places: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
        }
    }

    /// Returns the node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Hands an event on.
    pub fn publish(&self, event: FlowEvent) {
        self.hand_on(FlowMessage::Flow(Box::new(event)));
    }

    /// Tells that the kernel has not told of so many packets that it should have.
    pub fn lost(&self, ring: u64, held_back: u64) {
        self.hand_on(FlowMessage::Lost(LostEvents { node: self.node, ring, held_back, slow: 0 }));
    }

    fn hand_on(&self, message: FlowMessage) {
        let message = Arc::new(message);
        // Under the lock, so that who subscribes under it gets each message once.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&message));
        // Nobody following is no error.
        let _ = self.sender.send(message);
    }

    /// Returns the events that are wanted: those that are kept, and where they are followed those
    /// that come.
    ///
    /// # Errors
    /// Too many follow.
    pub fn read(
        &self,
        query: FlowQuery,
    ) -> Result<impl Stream<Item = Arc<FlowMessage>> + Send + use<>, TooManyFollowers> {
        let place = query
            .follow
            .then(|| Arc::clone(&self.places).try_acquire_owned())
            .transpose()
            .map_err(|_| TooManyFollowers)?;
        let (kept, live) = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let live = place.map(|place| Live { receiver: self.sender.subscribe(), _place: place });
            (kept.clone(), live)
        };
        let node = self.node;
        let live = stream::unfold(live, move |live| async move {
            let mut live = live?;
            let message = live.next(node).await?;
            Some((message, Some(live)))
        });
        let wanted = move |message: &Arc<FlowMessage>| match &**message {
            FlowMessage::Flow(event) => query.wants(event),
            FlowMessage::Lost(_) => true,
        };
        Ok(stream::iter(kept).chain(live).filter(move |message| {
            let wanted = wanted(message);
            async move { wanted }
        }))
    }
}

/// A follower's place.
struct Live {
    receiver: broadcast::Receiver<Arc<FlowMessage>>,
    _place: OwnedSemaphorePermit,
}

impl Live {
    async fn next(&mut self, node: NodeId) -> Option<Arc<FlowMessage>> {
        match self.receiver.recv().await {
            Ok(message) => Some(message),
            Err(broadcast::error::RecvError::Lagged(slow)) => {
                let lost = LostEvents { node, slow, ..LostEvents::default() };
                Some(Arc::new(FlowMessage::Lost(lost)))
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
#[path = "hub/tests.rs"]
mod tests;
