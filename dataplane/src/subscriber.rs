//! The subscriber: follows a control node's configuration and gives it to the engines.
//!
//! ```text
//! control ══QUIC══▶ session ─▶ Follower (pure) ─▶ apply (pure) ─▶ watch<Desired> ─▶ engines
//!         ◀═══════         ◀──────────── report book ◀──────────────────────────────┘
//! ```
//! Owns the session with one control node at a time, and takes up renewed certificates. Child of the
//! root supervisor, restarted under a budget. Its death loses nothing: the desired state stands in the
//! `watch` channel, the engines run on, and the next incarnation resumes from the revision that stands
//! there.

mod apply;
mod arriving;
mod renewal;
mod retry;
mod session;

pub mod reports;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use model::{Revision, announce::AddressReport, rollout::NodeTraffic, shares::Uses};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use runtime::{identity::NodeId, push::PlaneInfo, tls::SavedIdentity};
use serde::Serialize;
use tokio::sync::watch;

use crate::{
    acme::Challenges, announce::Granted, certificates::Certificates, desired::Desired,
    modules::Modules, quotas::Quotas, shares::Loan, tasks::Task,
};

pub use reports::{ReportBook, Reports};

/// For a minute Envoy may be told the configuration before again, when it crashes over and over.
pub const FORGET_AFTER: Duration = Duration::from_secs(2 * 60);

/// How the session with the control nodes stands, for the status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PushStatus {
    /// The control node that serves, while one does.
    pub node: Option<NodeId>,
    /// The address of the last try.
    pub address: Option<SocketAddr>,
    /// Why the last try failed or the last session ended.
    pub last_error: Option<String>,
    /// The revision of the desired state.
    pub revision: Revision,
}

/// What the subscriber works with. Cloned for each incarnation.
#[derive(Debug, Clone)]
pub struct SubscriberArguments {
    /// Who this data plane is; survives the actor, as what was renewed does.
    pub identity: SavedIdentity,
    /// Push addresses of control nodes, the preferred one first; not empty.
    pub control: Vec<SocketAddr>,
    /// What the control node is told of this process.
    pub plane: PlaneInfo,
    /// Where the desired state stands; survives the actor.
    pub desired: Arc<watch::Sender<Arc<Desired>>>,
    /// Where certificates are kept.
    pub certificates: Certificates,
    /// How long Envoy has lived without one that nothing names before it is removed.
    pub forget_after: Duration,
    /// Where modules are kept.
    pub modules: Modules,
    /// Where it stands what challenges of ACME are answered.
    pub challenges: watch::Sender<Arc<Challenges>>,
    /// How many requests may pass that all nodes count together.
    pub quotas: Quotas,
    /// The newest report of each engine.
    pub reports: watch::Receiver<Reports>,
    /// Where it stands which announced addresses are this node's.
    pub granted: Arc<watch::Sender<Option<Granted>>>,
    /// How this node stands to the addresses that are announced.
    pub addresses: watch::Receiver<Arc<Vec<AddressReport>>>,
    /// Where it stands what this node was lent of the limits that nodes share.
    pub loan: Arc<watch::Sender<Option<Loan>>>,
    /// What this node says of these limits.
    pub uses: watch::Receiver<Arc<Uses>>,
    /// Where it stands whether traffic is to be counted.
    pub counting: watch::Sender<bool>,
    /// What Envoy and XDP have counted of it.
    pub traffic: watch::Receiver<NodeTraffic>,
    /// Where the status goes.
    pub status: Arc<watch::Sender<PushStatus>>,
}

/// What the subscriber hears.
#[derive(Debug)]
pub enum SubscriberMessage {
    /// The task that holds the session ended, which it does only by a panic.
    SessionLost,
}

/// The subscriber actor.
#[derive(Debug)]
pub struct SubscriberActor;

/// The subscriber's state.
#[derive(Debug)]
pub struct SubscriberState {
    /// Holds sessions, one after the other.
    _sessions: Task,
}

impl Actor for SubscriberActor {
    type Msg = SubscriberMessage;
    type State = SubscriberState;
    type Arguments = SubscriberArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<SubscriberMessage>,
        arguments: SubscriberArguments,
    ) -> Result<SubscriberState, ActorProcessingErr> {
        let sessions = Task::spawn(async move {
            let told = TellOnDrop(myself);
            let identity = arguments.identity.clone();
            tokio::select! {
                never = renewal::follow(identity, renewal::LOOK_EVERY) => match never {},
                () = session::run(arguments) => {}
            }
            drop(told);
        });
        Ok(SubscriberState { _sessions: sessions })
    }

    async fn handle(
        &self,
        _myself: ActorRef<SubscriberMessage>,
        message: SubscriberMessage,
        _state: &mut SubscriberState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SubscriberMessage::SessionLost => Err("the session's task ended".into()),
        }
    }
}

/// Tells the actor when the task that holds this ends in whatever way.
struct TellOnDrop(ActorRef<SubscriberMessage>);

impl Drop for TellOnDrop {
    fn drop(&mut self) {
        // When the actor ended first, there is nobody to tell.
        let _ = self.0.cast(SubscriberMessage::SessionLost);
    }
}

#[cfg(test)]
mod tests;
