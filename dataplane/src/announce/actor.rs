//! Owns the addresses that this node announces.
//!
//! Parent: the data plane's root supervisor. Restart rule: default; a new actor goes on with what is
//! marked on the host. Its death means: the addresses that are held end with their lifetimes, unless
//! the restart is faster. When it is asked to stop it says that it leaves, waits for others to be given
//! its addresses, and takes them off.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use model::announce::AddressReport;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    Granted,
    holder::{self, Holder, Input},
};
use crate::{
    HandOver, desired::DesiredReceiver, subscriber::Reports, tasks::Task, xdp::L4Placement,
};

/// Between looks: the second that lies between two announcements of a move.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a stop waits for others to be given the addresses: the leader decides at once, and a node
/// asks twice a second.
const HAND_OVER: Duration = Duration::from_secs(3);

/// What the actor is told.
#[derive(Debug)]
pub enum AnnounceMessage {
    /// It is time, or something may have changed.
    Look,
}

/// What the actor is started with; the same again after a restart.
#[derive(Clone, Debug)]
pub struct AnnounceArguments {
    /// Interfaces that clients come in by; any when empty.
    pub interfaces: Vec<String>,
    /// The desired state.
    pub desired: DesiredReceiver,
    /// Which listeners XDP carries.
    pub placement: watch::Receiver<Arc<L4Placement>>,
    /// The newest report of each engine.
    pub reports: watch::Receiver<Reports>,
    /// What is granted.
    pub granted: watch::Receiver<Option<Granted>>,
    /// Where it is told how this node stands to each address.
    pub told: Arc<watch::Sender<Arc<Vec<AddressReport>>>>,
    /// Whether a stop leaves the addresses to the next data plane.
    pub hand_over: HandOver,
}

/// The actor.
#[derive(Debug, Default)]
pub struct AnnounceActor;

/// The actor's state.
#[derive(Debug)]
pub struct AnnounceState {
    arguments: AnnounceArguments,
    holder: Arc<Mutex<Holder>>,
    _waker: Task,
}

impl Actor for AnnounceActor {
    type Msg = AnnounceMessage;
    type State = AnnounceState;
    type Arguments = AnnounceArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<AnnounceMessage>,
        arguments: AnnounceArguments,
    ) -> Result<AnnounceState, ActorProcessingErr> {
        holder::describe();
        let waker = Task::spawn(wake(arguments.granted.clone(), myself));
        let holder = Holder::new(arguments.interfaces.clone());
        Ok(AnnounceState { arguments, holder: Arc::new(Mutex::new(holder)), _waker: waker })
    }

    async fn handle(
        &self,
        _myself: ActorRef<AnnounceMessage>,
        message: AnnounceMessage,
        state: &mut AnnounceState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AnnounceMessage::Look => state.look(None).await,
        }
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<AnnounceMessage>,
        state: &mut AnnounceState,
    ) -> Result<(), ActorProcessingErr> {
        if state.arguments.hand_over.is_begun() {
            // The next one renews them within their lifetime.
            return Ok(());
        }
        state.leave().await
    }
}

impl AnnounceState {
    async fn look(&mut self, leaving: Option<&'static str>) -> Result<(), ActorProcessingErr> {
        let input = Input {
            config: self.arguments.desired.borrow().config.clone(),
            placement: self.arguments.placement.borrow().clone(),
            reports: self.arguments.reports.borrow().clone(),
            granted: self.arguments.granted.borrow_and_update().clone(),
            leaving,
        };
        let holder = self.holder.clone();
        let looked = tokio::task::spawn_blocking(move || {
            holder.lock().unwrap_or_else(PoisonError::into_inner).look(&input)
        });
        match looked.await? {
            Ok(reports) => self.tell(reports),
            // What is held ends with its lifetime.
            Err(error) => tracing::warn!(%error, "announced addresses were not looked after"),
        }
        Ok(())
    }

    fn tell(&self, reports: Vec<AddressReport>) {
        self.arguments.told.send_if_modified(|told| {
            let changed = **told != reports;
            if changed {
                *told = Arc::new(reports);
            }
            changed
        });
    }

    /// Hands the addresses over, as far as others take them in time.
    async fn leave(&mut self) -> Result<(), ActorProcessingErr> {
        const LEAVING: &str = "its data plane stops";
        let holds = self.holder.lock().unwrap_or_else(PoisonError::into_inner).is_holding();
        if holds {
            let leaves = |report: &AddressReport| AddressReport {
                address: report.address,
                state: model::announce::AddressState::Unfit { reason: LEAVING.to_owned() },
            };
            let told = self.arguments.told.borrow().iter().map(leaves).collect();
            self.tell(told);
            let empty = |granted: &Option<Granted>| {
                granted.as_ref().is_none_or(|granted| granted.addresses.is_empty())
            };
            // When nobody takes them they end here all the same.
            let _ = timeout(HAND_OVER, self.arguments.granted.wait_for(empty)).await;
        }
        self.look(Some(LEAVING)).await
    }
}

async fn wake(mut granted: watch::Receiver<Option<Granted>>, actor: ActorRef<AnnounceMessage>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut addresses = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // A grant that only lasts longer can wait for the next tick.
            Ok(()) = granted.changed() => {
                let now = granted.borrow_and_update().as_ref().map(|it| it.addresses.clone());
                if now == addresses {
                    continue;
                }
                addresses = now;
            }
        }
        if actor.cast(AnnounceMessage::Look).is_err() {
            return;
        }
    }
}
