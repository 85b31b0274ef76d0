//! What the rest of a program holds of a supervisor.

use std::{sync::Arc, time::Duration};

use ractor::{Actor, ActorCell, ActorRef, SpawnErr, concurrency::JoinHandle};
use tokio::sync::watch;

use super::{Supervisor, SupervisorArguments, SupervisorFailed, SupervisorMessage};
use crate::supervision::{ChildSpec, ChildStatus};

/// How long a question to a supervisor may take: longer than a child's slowest start.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);

type Statuses = watch::Receiver<Arc<[ChildStatus]>>;
type Failure = watch::Receiver<Option<String>>;

/// Why a child was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// Another child has the name.
    #[error("a child named {name} is already supervised")]
    Taken {
        /// The name.
        name: String,
    },
    /// It did not start.
    #[error(transparent)]
    Start(SupervisorFailed),
    /// The supervisor has ended or does not answer.
    #[error("the supervisor does not answer")]
    NoAnswer,
}

/// A running supervisor.
#[derive(Debug, Clone)]
pub struct SupervisorHandle {
    actor: ActorRef<SupervisorMessage>,
    status: watch::Receiver<Arc<[ChildStatus]>>,
    failure: watch::Receiver<Option<String>>,
}

impl SupervisorHandle {
    /// Starts a root supervisor; the join handle ends with it.
    ///
    /// # Errors
    /// A child did not start; those before it were stopped again.
    pub async fn start(children: Vec<ChildSpec>) -> Result<(Self, JoinHandle<()>), SpawnErr> {
        let (arguments, status, failure) = Self::arguments(children);
        let (actor, join) = Supervisor::spawn(None, Supervisor, arguments).await?;
        Ok((Self { actor, status, failure }, join))
    }

    /// Starts a supervisor beneath `parent`, which gets its failure as a supervision event.
    ///
    /// # Errors
    /// A child did not start; those before it were stopped again.
    pub async fn start_linked(
        children: Vec<ChildSpec>,
        parent: ActorCell,
    ) -> Result<Self, SpawnErr> {
        let (arguments, status, failure) = Self::arguments(children);
        let (actor, _) = Supervisor::spawn_linked(None, Supervisor, arguments, parent).await?;
        Ok(Self { actor, status, failure })
    }

    fn arguments(children: Vec<ChildSpec>) -> (SupervisorArguments, Statuses, Failure) {
        let (status, statuses) = watch::channel(Arc::from([]));
        let (failure, failed) = watch::channel(None);
        (SupervisorArguments { children, status, failure }, statuses, failed)
    }

    /// Adds a child and starts it.
    ///
    /// # Errors
    /// The name is taken, the child does not start, or the supervisor has ended.
    pub async fn add(&self, spec: ChildSpec) -> Result<(), AddError> {
        let spec = Box::new(spec);
        self.actor
            .call(|reply| SupervisorMessage::Add { spec, reply }, Some(ANSWER_WITHIN))
            .await
            .ok()
            .and_then(|answer| answer.success_or(()).ok())
            .unwrap_or(Err(AddError::NoAnswer))
    }

    /// Stops a child and forgets it; `false` when there is none of that name.
    pub async fn remove(&self, name: &str) -> bool {
        let name = name.to_owned();
        self.actor
            .call(|reply| SupervisorMessage::Remove { name, reply }, Some(ANSWER_WITHIN))
            .await
            .ok()
            .and_then(|answer| answer.success_or(()).ok())
            .unwrap_or(false)
    }

    /// How the children stand; the receiver also tells of changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Arc<[ChildStatus]>> {
        self.status.clone()
    }

    /// Why the supervisor gave up; `None` while it runs, and when it was stopped.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    /// The supervisor itself, to link it, stop it or wait for it.
    #[must_use]
    pub fn cell(&self) -> ActorCell {
        self.actor.get_cell()
    }

    /// Stops the children in reverse order, then the supervisor, and waits for the end.
    pub async fn stop(&self, reason: &str) {
        let cell = self.cell();
        cell.stop(Some(reason.to_owned()));
        // Each child's own limit bounds this wait.
        let _ = cell.wait(None).await;
    }
}
