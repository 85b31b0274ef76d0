//! The recorder: saves each desired configuration, after the engines have been told.
//!
//! Owns the [`Store`]. Child of the root supervisor, restarted under a budget; its death means only
//! that a later cold start finds an older configuration. A full disk is no failure: it is told,
//! shown in the status, and tried again.

use std::{sync::Arc, time::Duration};

use model::Revision;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use serde::Serialize;
use tokio::sync::{Mutex, watch};

use super::Store;
use crate::{desired::DesiredReceiver, metrics as names, tasks::Task};

/// Wait before a save that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How the saved configuration stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RecorderStatus {
    /// The saved revision.
    pub revision: Revision,
    /// Why the last save failed; `None` when it did not.
    pub error: Option<String>,
}

/// What the recorder is told.
#[derive(Debug)]
pub enum RecorderMessage {
    /// There may be something new to save.
    Save {
        /// Told when it is done, so that what comes meanwhile becomes one message.
        reply: RpcReplyPort<()>,
    },
    /// The wait after a save that failed is over.
    SaveAgain,
}

/// What the recorder works with.
#[derive(Debug, Clone)]
pub struct RecorderArguments {
    /// The store; kept by the root, so that a restart goes on where the last one was.
    pub store: Arc<Mutex<Store>>,
    /// What is to be saved.
    pub desired: DesiredReceiver,
    /// Where the status goes.
    pub status: watch::Sender<RecorderStatus>,
}

/// The recorder actor.
#[derive(Debug)]
pub struct RecorderActor;

/// The recorder's state.
#[derive(Debug)]
pub struct RecorderState {
    arguments: RecorderArguments,
    /// Whether a [`RecorderMessage::SaveAgain`] is on its way; there is never more than one.
    waiting: bool,
    /// Wakes the actor.
    _waker: Task,
}

impl Actor for RecorderActor {
    type Msg = RecorderMessage;
    type State = RecorderState;
    type Arguments = RecorderArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<RecorderMessage>,
        arguments: RecorderArguments,
    ) -> Result<RecorderState, ActorProcessingErr> {
        let mut desired = arguments.desired.clone();
        let waker = Task::spawn(async move {
            // The first look is at what stands already.
            desired.mark_changed();
            while desired.changed().await.is_ok() {
                if myself.call(|reply| RecorderMessage::Save { reply }, None).await.is_err() {
                    return;
                }
            }
        });
        Ok(RecorderState { arguments, waiting: false, _waker: waker })
    }

    async fn handle(
        &self,
        myself: ActorRef<RecorderMessage>,
        message: RecorderMessage,
        state: &mut RecorderState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RecorderMessage::Save { reply } => {
                save(&myself, state).await?;
                // The waker may have gone with an older incarnation.
                let _ = reply.send(());
                Ok(())
            }
            RecorderMessage::SaveAgain => {
                state.waiting = false;
                save(&myself, state).await
            }
        }
    }

    async fn post_stop(
        &self,
        myself: ActorRef<RecorderMessage>,
        state: &mut RecorderState,
    ) -> Result<(), ActorProcessingErr> {
        save(&myself, state).await
    }
}

async fn save(
    myself: &ActorRef<RecorderMessage>,
    state: &mut RecorderState,
) -> Result<(), ActorProcessingErr> {
    let arguments = &state.arguments;
    let config = arguments.desired.borrow().config.clone();
    let revision = config.revision();
    if revision == Revision::ZERO {
        return Ok(());
    }
    let mut store = Arc::clone(&arguments.store).lock_owned().await;
    let saved = tokio::task::spawn_blocking(move || store.save(&config)).await?;
    match saved {
        Ok(written) => {
            if written {
                names::last_known_good(revision);
            }
            arguments.status.send_if_modified(|status| {
                let next = RecorderStatus { revision, error: None };
                let changed = *status != next;
                *status = next;
                changed
            });
        }
        Err(error) => {
            let words = chain(&error);
            tracing::warn!(%revision, error = %words, "the configuration is not saved");
            arguments.status.send_modify(|status| status.error = Some(words));
            if !std::mem::replace(&mut state.waiting, true) {
                myself.send_after(RETRY, || RecorderMessage::SaveAgain);
            }
        }
    }
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
