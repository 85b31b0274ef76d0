//! A place that always holds the newest incarnation of a restarted actor.

use std::sync::{Arc, PoisonError, RwLock};

use ractor::{ActorRef, ActorStatus, Message};

/// The newest incarnation of an actor, for those who send to it across restarts.
#[derive(Debug)]
pub struct Current<M: Message>(Arc<RwLock<Option<ActorRef<M>>>>);

impl<M: Message> Current<M> {
    /// A place that is empty until the first start.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(RwLock::new(None)))
    }

    /// Puts the newest incarnation in.
    pub fn set(&self, actor: &ActorRef<M>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(actor.clone());
    }

    /// The newest incarnation, unless it has ended.
    #[must_use]
    pub fn get(&self) -> Option<ActorRef<M>> {
        let actor = self.0.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        (actor.get_status() < ActorStatus::Stopping).then_some(actor)
    }
}

impl<M: Message> Default for Current<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Message> Clone for Current<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
