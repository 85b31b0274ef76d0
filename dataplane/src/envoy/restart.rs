//! The replacement of an Envoy by another one, as it is asked for.

use std::time::Duration;

use ractor::RpcReplyPort;

use super::{
    binary::BinaryError,
    running::{Running, StartError},
};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Why.
    pub reason: String,
    /// Whether the one that runs is drained and ended before the new one starts: connections are
    /// refused meanwhile.
    pub drain: bool,
}

impl Restart {
    /// A restart in which the new Envoy takes over from the one that runs.
    #[must_use]
    pub fn hot(reason: &str) -> Self {
        Self { reason: reason.to_owned(), drain: false }
    }
}

/// Why an Envoy was not replaced. The one before goes on, but where the words say otherwise.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// There is none.
    #[error("no Envoy runs here")]
    NothingRuns,
    /// It has no listeners to hand over yet.
    #[error("the Envoy that runs is not ready; it has nothing to hand over")]
    NotReady,
    /// The last restart is not over.
    #[error("the last restart is not over: an Envoy still drains or gets ready; try again")]
    Busy,
    /// There is no other.
    #[error(transparent)]
    Binary(#[from] BinaryError),
    /// The versions cannot hand over to each other.
    #[error("Envoy {running} cannot hand over to {new}; a restart with drain can")]
    Incompatible {
        /// The version that runs.
        running: String,
        /// The other.
        new: String,
    },
    /// The new one does not start.
    #[error("the new Envoy does not start")]
    Start(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It ended.
    #[error("the new Envoy {exit} before it was ready; the one before goes on")]
    Ended {
        /// How.
        exit: String,
    },
    /// It takes too long.
    #[error("the new Envoy was not ready within {within:?} and was ended; the one before goes on")]
    Late {
        /// What it had.
        within: Duration,
    },
    /// The one before ended first.
    #[error("the Envoy that was to hand over ended; another one starts")]
    ServingEnded,
    /// The data plane stops.
    #[error("the data plane stops")]
    Stopping,
}

impl From<StartError> for RestartError {
    fn from(error: StartError) -> Self {
        Self::Start(Box::new(error))
    }
}

/// An Envoy that gets ready to take over.
#[derive(Debug)]
pub(super) struct Restarting {
    pub(super) running: Running,
    pub(super) restart: Restart,
    pub(super) reply: Option<RpcReplyPort<Result<(), RestartError>>>,
}

impl Restarting {
    /// How long the new one may take: several times what 10,000 hosts take, and less than whoever
    /// asked waits.
    pub(super) const READY_WITHIN: Duration = Duration::from_secs(25);

    /// Tells whoever asked.
    pub(super) fn answer(self, answer: Result<(), RestartError>) {
        if let Some(reply) = self.reply {
            // They may have given up waiting.
            let _ = reply.send(answer);
        }
    }
}
