//! The recorder: saves each desired configuration, after the engines have been told, and what Envoy
//! refused of it.
//!
//! Owns the [`Store`] and the [`RefusalStore`]. Child of the root supervisor, restarted under a
//! budget; its death means only that a later cold start finds an older configuration, or offers
//! again what was refused. A full disk is no failure: it is told, shown in the status, and tried
//! again.

use std::{sync::Arc, time::Duration};

use model::{Revision, Snapshot};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use runtime::chain::chain;
use serde::Serialize;
use tokio::sync::{Mutex, watch};

use super::{RefusalStore, Store, StoreError};
use crate::{desired::DesiredReceiver, metrics as names, tasks::Task, xds::Standing};

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
    /// The store of the refusals; kept by the root for the same reason.
    pub refusals: Arc<Mutex<RefusalStore>>,
    /// What is to be saved.
    pub desired: DesiredReceiver,
    /// The refusals that are to be saved.
    pub standing: watch::Receiver<Arc<Standing>>,
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
        let (mut desired, mut standing) = (arguments.desired.clone(), arguments.standing.clone());
        let waker = Task::spawn(async move {
            // The first look is at what stands already.
            desired.mark_changed();
            standing.mark_changed();
            loop {
                let changed = tokio::select! {
                    changed = desired.changed() => changed,
                    changed = standing.changed() => changed,
                };
                if changed.is_err() {
                    return;
                }
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
    let standing = arguments.standing.borrow().clone();
    let revision = config.revision();
    let mut store = Arc::clone(&arguments.store).lock_owned().await;
    let mut refusals = Arc::clone(&arguments.refusals).lock_owned().await;
    let work = move || (save_config(&mut store, &config), refusals.save(&standing));
    let (config, refusals) = tokio::task::spawn_blocking(work).await?;
    if config.as_ref().is_ok_and(|written| *written) {
        names::last_known_good(revision);
    }
    let failures = [
        config.as_ref().err().map(|error| chain(error)),
        refusals.as_ref().err().map(|error| chain(error)),
    ];
    let error = failures.into_iter().flatten().reduce(|all, next| format!("{all}; {next}"));
    if let Some(error) = &error {
        tracing::warn!(%revision, error, "what is to survive a restart is not saved");
        if !std::mem::replace(&mut state.waiting, true) {
            myself.send_after(RETRY, || RecorderMessage::SaveAgain);
        }
    }
    arguments.status.send_if_modified(|status| {
        let saved = if config.is_ok() { revision } else { status.revision };
        let next = RecorderStatus { revision: saved, error };
        let changed = *status != next;
        *status = next;
        changed
    });
    Ok(())
}

/// Saves a configuration, once one is known; tells whether anything was written.
fn save_config(store: &mut Store, config: &Snapshot) -> Result<bool, StoreError> {
    if config.revision() == Revision::ZERO { Ok(false) } else { store.save(config) }
}
