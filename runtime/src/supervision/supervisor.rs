//! The supervisor: starts children in order, restarts them under their budgets, stops them in
//! reverse order.
//!
//! Owns nothing but its children. Its parent is another supervisor or the process's root. A failed
//! first start, or an exhausted budget, ends it with [`SupervisorFailed`] after the other children
//! were stopped in order; its own parent decides what follows. A killed supervisor kills its
//! children without order.

use std::{sync::Arc, time::Instant};

use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr,
    SupervisionEvent,
};
use tokio::sync::watch;

use crate::chain::chain;

use super::{
    BudgetExhausted, ChildSpec, ChildState, ChildStatus, Policy, RestartHistory, child::StartError,
};

mod handle;
mod stop;

pub use handle::{AddError, SupervisorHandle};

/// What a supervisor is told. Programs use [`SupervisorHandle`].
#[derive(Debug)]
pub enum SupervisorMessage {
    /// The wait before a restart is over.
    Restart {
        /// Which child.
        name: String,
        /// Which of its ends this answers; a later one makes it void.
        end: u64,
    },
    /// Adds a child and starts it.
    Add {
        /// The child.
        spec: Box<ChildSpec>,
        /// Gets the outcome.
        reply: RpcReplyPort<Result<(), AddError>>,
    },
    /// Stops a child and forgets it.
    Remove {
        /// Which child.
        name: String,
        /// Gets whether there was such a child.
        reply: RpcReplyPort<bool>,
    },
}

/// Why a supervisor gave up.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorFailed {
    /// A child did not start the first time.
    #[error("{child} does not start: {reason}")]
    Start {
        /// The child's name.
        child: String,
        /// Why.
        reason: String,
    },
    /// A child failed more often than it may.
    #[error("{child} is given up, {budget}; last: {last_error}")]
    GivenUp {
        /// The child's name.
        child: String,
        /// The budget.
        budget: BudgetExhausted,
        /// Why the child ended the last time.
        last_error: String,
    },
}

/// The children of a supervisor, in the order of their start.
#[derive(Debug)]
pub struct SupervisorArguments {
    /// The first children.
    pub children: Vec<ChildSpec>,
    /// Where their status is published.
    pub status: watch::Sender<Arc<[ChildStatus]>>,
    /// Where the reason is left when the supervisor gives up.
    pub failure: watch::Sender<Option<String>>,
}

/// The supervisor actor.
#[derive(Debug)]
pub struct Supervisor;

/// A supervisor's children.
#[derive(Debug)]
pub struct SupervisorState {
    /// In the order of their start.
    children: Vec<Child>,
    status: watch::Sender<Arc<[ChildStatus]>>,
    failure: watch::Sender<Option<String>>,
}

#[derive(Debug)]
struct Child {
    spec: ChildSpec,
    actor: Option<ActorCell>,
    history: RestartHistory,
    /// How often it ended; tells a due restart from one that is void.
    ends: u64,
    status: ChildStatus,
}

impl Actor for Supervisor {
    type Msg = SupervisorMessage;
    type State = SupervisorState;
    type Arguments = SupervisorArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: SupervisorArguments,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        let SupervisorArguments { children, status, failure } = arguments;
        let mut state = SupervisorState { children: Vec::new(), status, failure };
        for spec in children {
            if let Err(failed) = state.add(&myself, spec).await {
                state.stop_children("a sibling did not start").await;
                return Err(failed.into());
            }
        }
        state.publish();
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: SupervisorMessage,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMessage::Restart { name, end } => state.restart(&myself, &name, end).await?,
            SupervisorMessage::Add { spec, reply } => {
                let outcome = state.add_later(&myself, *spec).await;
                // Whoever asked may have given up waiting; the child stays.
                let _ = reply.send(outcome);
            }
            SupervisorMessage::Remove { name, reply } => {
                let removed = state.remove(&name).await;
                let _ = reply.send(removed);
            }
        }
        state.publish();
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        let (id, end) = match event {
            SupervisionEvent::ActorFailed(actor, error) => {
                (actor.get_id(), End { failed: true, reason: error_chain(error.as_ref()) })
            }
            SupervisionEvent::ActorTerminated(actor, _, reason) => {
                (actor.get_id(), End::terminated(reason))
            }
            _ => return Ok(()),
        };
        state.ended(&myself, id, end).await?;
        state.publish();
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        state.stop_children("the supervisor stops").await;
        Ok(())
    }
}

/// How a child ended.
struct End {
    failed: bool,
    reason: String,
}

impl End {
    fn terminated(reason: Option<String>) -> Self {
        // The words of ractor for `kill` and for a cancelled task.
        let failed = matches!(reason.as_deref(), Some("killed" | "actor_task_cancelled"));
        Self { failed, reason: reason.unwrap_or_else(|| "stopped".to_owned()) }
    }
}

impl SupervisorState {
    async fn add(
        &mut self,
        myself: &ActorRef<SupervisorMessage>,
        spec: ChildSpec,
    ) -> Result<(), SupervisorFailed> {
        let actor = start(&spec, myself).await.map_err(|error| SupervisorFailed::Start {
            child: spec.name.clone(),
            reason: error_chain(error.as_ref()),
        })?;
        let status = ChildStatus {
            name: spec.name.clone(),
            state: ChildState::Running,
            restarts: 0,
            last_error: None,
        };
        let history = RestartHistory::new(spec.budget);
        self.children.push(Child { spec, actor: Some(actor), history, ends: 0, status });
        Ok(())
    }

    async fn add_later(
        &mut self,
        myself: &ActorRef<SupervisorMessage>,
        spec: ChildSpec,
    ) -> Result<(), AddError> {
        if self.children.iter().any(|child| child.spec.name == spec.name) {
            return Err(AddError::Taken { name: spec.name });
        }
        self.add(myself, spec).await.map_err(AddError::Start)
    }

    async fn remove(&mut self, name: &str) -> bool {
        let Some(at) = self.children.iter().position(|child| child.spec.name == name) else {
            return false;
        };
        let child = self.children.remove(at);
        stop::stop(&child.spec, child.actor, "removed").await;
        true
    }

    async fn ended(
        &mut self,
        myself: &ActorRef<SupervisorMessage>,
        id: ActorId,
        end: End,
    ) -> Result<(), SupervisorFailed> {
        let is_it = |child: &&mut Child| child.actor.as_ref().is_some_and(|a| a.get_id() == id);
        let Some(child) = self.children.iter_mut().find(is_it) else {
            // Removed, or not of this supervisor's making.
            return Ok(());
        };
        child.actor = None;
        let again = match child.spec.policy {
            Policy::Permanent => true,
            Policy::Transient => end.failed,
            Policy::Temporary => false,
        };
        let name = child.spec.name.clone();
        if end.failed || again {
            tracing::warn!(child = %name, reason = %end.reason, again, "a supervised child ended");
        } else {
            tracing::debug!(child = %name, reason = %end.reason, "a supervised child ended");
        }
        if again {
            return self.failed(myself, &name, end.reason).await;
        }
        child.status.state = ChildState::Ended;
        child.status.last_error = Some(end.reason);
        Ok(())
    }

    /// Schedules the next restart, or gives up.
    async fn failed(
        &mut self,
        myself: &ActorRef<SupervisorMessage>,
        name: &str,
        reason: String,
    ) -> Result<(), SupervisorFailed> {
        let Some(child) = self.children.iter_mut().find(|child| child.spec.name == name) else {
            return Ok(());
        };
        child.ends += 1;
        child.status.last_error = Some(reason.clone());
        child.status.state = ChildState::Waiting;
        match child.history.spend(Instant::now()) {
            Ok(nth) => {
                let (name, end) = (name.to_owned(), child.ends);
                let message = move || SupervisorMessage::Restart { name, end };
                myself.send_after(child.spec.backoff.delay(nth), message);
                Ok(())
            }
            Err(budget) => {
                child.status.state = ChildState::Ended;
                self.publish();
                self.stop_children("a sibling is given up").await;
                let child = name.to_owned();
                let failed = SupervisorFailed::GivenUp { child, budget, last_error: reason };
                self.failure.send_replace(Some(failed.to_string()));
                Err(failed)
            }
        }
    }

    async fn restart(
        &mut self,
        myself: &ActorRef<SupervisorMessage>,
        name: &str,
        end: u64,
    ) -> Result<(), SupervisorFailed> {
        let due = |child: &&mut Child| {
            child.spec.name == name && child.ends == end && child.actor.is_none()
        };
        let Some(child) = self.children.iter_mut().find(due) else { return Ok(()) };
        match start(&child.spec, myself).await {
            Ok(actor) => {
                child.actor = Some(actor);
                child.status.restarts += 1;
                child.status.state = ChildState::Running;
                metrics::counter!("marchproxy_actor_restarts_total", "child" => name.to_owned())
                    .increment(1);
                tracing::info!(child = name, restarts = child.status.restarts, "child restarted");
                Ok(())
            }
            Err(error) => {
                let reason = error_chain(error.as_ref());
                tracing::warn!(child = name, reason = %reason, "a child does not start again");
                self.failed(myself, name, reason).await
            }
        }
    }

    /// Stops all children, the last started first, each within its own limit.
    async fn stop_children(&mut self, reason: &str) {
        for child in self.children.iter_mut().rev() {
            stop::stop(&child.spec, child.actor.take(), reason).await;
            child.status.state = ChildState::Ended;
        }
        self.publish();
    }

    fn publish(&self) {
        let status = self.children.iter().map(|child| child.status.clone()).collect();
        self.status.send_replace(status);
    }
}

async fn start(
    spec: &ChildSpec,
    myself: &ActorRef<SupervisorMessage>,
) -> Result<ActorCell, StartError> {
    match tokio::time::timeout(spec.start_within, (spec.start)(myself.get_cell())).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("not started within {:?}", spec.start_within).into()),
    }
}

/// An error with its causes, in one line. ractor's own wrapper around a failed start repeats the
/// error inside it and claims a panic, so only what is inside counts.
fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(SpawnErr::StartupFailed(inner)) = error.downcast_ref() {
        return error_chain(inner.as_ref());
    }
    chain(error)
}

#[cfg(test)]
mod tests;
