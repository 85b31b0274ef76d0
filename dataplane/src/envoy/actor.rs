//! Owns the node's Envoy. Child of the data plane's root, after `xds`.
//!
//! ```text
//! nothing ──start──▶ starting ──ready──▶ serving ──restart──▶ serving + candidate
//!                                           ▲                   │ ready      │ late, ended
//!                                           └── serving + draining ◀┘        └▶ serving, as before
//! ```
//! It fails when the Envoy that serves ends, and is restarted within the root's budget; the new Envoy
//! is told the accepted configuration by `xds`. A restart that is asked for hands over: the candidate
//! takes the listening sockets once it has all its configuration, and the one before finishes what it
//! has. Where no Envoy of a supported version is to be had it stays up, reports why, and L7 is not
//! carried. Its own stop drains Envoy, or leaves it to the next data plane ([`HandOver`](crate::HandOver)), which
//! adopts it.

use model::{AckState, Engine, EngineReport, Revision};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use runtime::{
    chain::chain,
    process::{Exit, trace_pipe},
};

use super::{
    arguments::EnvoyArguments,
    binary::{self, Binary, BinaryError},
    restart::{Restart, RestartError},
    running::Running,
    shared_memory,
    state::EnvoyState,
    stats::{self, Reading},
};

/// What the actor is told.
#[derive(Debug)]
pub enum EnvoyMessage {
    /// An Envoy ended.
    Ended {
        /// Which.
        instance: String,
        /// How.
        exit: Exit,
    },
    /// One takes traffic.
    BecameReady {
        /// Which.
        instance: String,
    },
    /// Replaces the Envoy that runs by another one.
    Restart {
        /// Why, and how.
        restart: Restart,
        /// Told when the new one takes traffic, or will not.
        reply: Option<RpcReplyPort<Result<(), RestartError>>>,
    },
    /// One is not ready, or not gone, in time.
    Late {
        /// Which.
        instance: String,
    },
}

/// The actor.
#[derive(Debug)]
pub struct EnvoyActor;

impl Actor for EnvoyActor {
    type Msg = EnvoyMessage;
    type State = EnvoyState;
    type Arguments = EnvoyArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<EnvoyMessage>,
        arguments: EnvoyArguments,
    ) -> Result<EnvoyState, ActorProcessingErr> {
        stats::describe();
        super::status::describe();
        arguments.life.ready(false);
        let found = find(&arguments).await?;
        let output = match &arguments.life.keeping {
            Some(_) => Some(trace_pipe("envoy", &arguments.output())?),
            None => None,
        };
        let adopted = Running::adopt(&arguments, &myself)?;
        let mut state = EnvoyState {
            arguments,
            serving: None,
            candidate: None,
            draining: None,
            counting: None,
            due: None,
            output,
        };
        match (adopted.is_empty(), found) {
            (false, found) => state.adopt(&myself, adopted, found),
            (true, Ok(binary)) => {
                state.arguments.life.counted(Reading::default());
                let running = Running::start(&binary, &state.arguments, 0, &myself).await?;
                state.lead(&running, true);
                state.serving = Some(running);
            }
            (true, Err(error)) => unavailable(&state.arguments, &error).await,
        }
        state.publish(None);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<EnvoyMessage>,
        message: EnvoyMessage,
        state: &mut EnvoyState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            EnvoyMessage::Ended { instance, exit } => state.ended(&instance, exit).await,
            EnvoyMessage::BecameReady { instance } => state.became_ready(&myself, &instance),
            EnvoyMessage::Restart { restart, reply } => {
                state.restart(&myself, restart, reply).await
            }
            EnvoyMessage::Late { instance } => state.late(&instance).await,
        }
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<EnvoyMessage>,
        state: &mut EnvoyState,
    ) -> Result<(), ActorProcessingErr> {
        if state.arguments.life.is_handed_over() {
            tracing::info!("envoy is left to the next data plane");
            return Ok(());
        }
        if let Some(candidate) = state.candidate.take() {
            candidate.running.end().await;
        }
        if let Some(serving) = state.serving.take() {
            let exit = serving.drain(state.arguments.drain).await;
            tracing::info!(%exit, "envoy stopped");
        }
        if let Some(draining) = state.draining.take() {
            draining.end().await;
        }
        shared_memory::remove(state.arguments.base_id()?);
        Ok(())
    }
}

pub(super) async fn find(
    arguments: &EnvoyArguments,
) -> Result<Result<Binary, BinaryError>, tokio::task::JoinError> {
    let explicit = arguments.binary.clone();
    tokio::task::spawn_blocking(move || binary::find(explicit.as_deref())).await
}

async fn unavailable(arguments: &EnvoyArguments, error: &BinaryError) {
    let reason = chain(error);
    tracing::error!(reason, "L7 is not carried");
    let ack = AckState::Unavailable { reason };
    let report = EngineReport::new(Engine::Envoy, Revision::ZERO, ack);
    // A closed channel means that the data plane stops.
    let _ = arguments.reports.send(report).await;
}
