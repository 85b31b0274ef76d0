//! What a supervisor knows of a child: how to start it, when to restart it, how it stands.

use std::{error::Error, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use ractor::{Actor, ActorCell, ActorRef};
use serde::Serialize;

use super::{Backoff, RestartBudget};

/// How long a child may take to start before that counts as a failure.
const START_WITHIN: Duration = Duration::from_secs(30);

/// How long a child may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// When an ended child is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// However it ended.
    Permanent,
    /// When it failed: an error, a panic, or a kill.
    Transient,
    /// Never.
    Temporary,
}

pub(super) type StartError = Box<dyn Error + Send + Sync>;
type Starting = Pin<Box<dyn Future<Output = Result<ActorCell, StartError>> + Send>>;

/// How a supervisor treats one child.
#[derive(Clone)]
pub struct ChildSpec {
    pub(super) name: String,
    pub(super) policy: Policy,
    pub(super) budget: RestartBudget,
    pub(super) backoff: Backoff,
    pub(super) start_within: Duration,
    pub(super) stop_within: Duration,
    pub(super) start: Arc<dyn Fn(ActorCell) -> Starting + Send + Sync>,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

impl ChildSpec {
    /// A permanent child. `start` gets the supervisor's cell and must spawn the child *linked* to
    /// it; it is called again for every restart.
    pub fn new<F, Fut, E>(name: impl Into<String>, start: F) -> Self
    where
        F: Fn(ActorCell) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<ActorCell, E>> + Send + 'static,
        E: Into<StartError>,
    {
        let start = move |supervisor| -> Starting {
            let starting = start(supervisor);
            Box::pin(async move { starting.await.map_err(Into::into) })
        };
        Self {
            name: name.into(),
            policy: Policy::Permanent,
            budget: RestartBudget::default(),
            backoff: Backoff::default(),
            start_within: START_WITHIN,
            stop_within: STOP_WITHIN,
            start: Arc::new(start),
        }
    }

    /// A permanent child made of an actor; `make` gives its handler and arguments for each start.
    pub fn actor<A, F>(name: impl Into<String>, make: F) -> Self
    where
        A: Actor,
        F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    {
        Self::observed_actor(name, make, |_| {})
    }

    /// Like [`actor`](Self::actor); `started` sees the actor after each start.
    pub fn observed_actor<A, F, S>(name: impl Into<String>, make: F, started: S) -> Self
    where
        A: Actor,
        F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
        S: Fn(&ActorRef<A::Msg>) + Send + Sync + 'static,
    {
        let started = Arc::new(started);
        Self::new(name, move |supervisor| {
            let (handler, arguments) = make();
            let started = Arc::clone(&started);
            async move {
                let (actor, _) = Actor::spawn_linked(None, handler, arguments, supervisor).await?;
                started(&actor);
                Ok::<_, ractor::SpawnErr>(actor.get_cell())
            }
        })
    }

    /// Sets when the child is restarted.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how often the child may be restarted.
    #[must_use]
    pub fn budget(mut self, budget: RestartBudget) -> Self {
        self.budget = budget;
        self
    }

    /// Sets the waits before restarts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets how long the child may take to stop before it is killed.
    #[must_use]
    pub fn stop_within(mut self, limit: Duration) -> Self {
        self.stop_within = limit;
        self
    }

    /// Sets how long the child may take to start.
    #[must_use]
    pub fn start_within(mut self, limit: Duration) -> Self {
        self.start_within = limit;
        self
    }
}

/// Whether a child runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChildState {
    /// It runs.
    Running,
    /// It failed and waits for its restart.
    Waiting,
    /// It ended and stays so.
    Ended,
}

/// How a child stands, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChildStatus {
    /// The child's name.
    pub name: String,
    /// Whether it runs.
    pub state: ChildState,
    /// Restarts since its supervisor started.
    pub restarts: u64,
    /// Why it ended the last time; `None` when it never did.
    pub last_error: Option<String>,
}
