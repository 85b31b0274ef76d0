//! Health probes: one supervised actor per endpoint that a service wants watched.
//!
//! Owns the target actors. Its parent is the root supervisor; it is permanent, and what was known of
//! endpoints survives its death. A process that begins tells its data plane nothing until each target
//! has come to a verdict (or [`SETTLE_WITHIN`] is over), so that a restart sends no traffic to an
//! endpoint that was found dead before. The set of targets is
//! reconciled from the whole configuration; a target that dies is started again under a budget of
//! its own. Results are soft state of this node: they go to its data plane and to listeners, never
//! through Raft.

mod attempt;
mod sm;
mod target;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use model::{
    EndpointId, ObjectKey, Revision, Snapshot, api::Event, endpoint::EndpointHealth,
    service::HealthCheck,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use runtime::{
    push::HealthUpdate,
    supervision::{Backoff, RestartBudget, RestartHistory},
};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio_util::task::AbortOnDropHandle;

use target::{Target, TargetArguments};

/// Probes under way at a time: below the usual limit of open files, with room for everything else.
const CONCURRENT_MAX: usize = 256;
/// Time after which verdicts are told though some targets have none yet: a few probes of the usual
/// interval; an endpoint without a verdict counts as healthy.
const SETTLE_WITHIN: Duration = Duration::from_secs(15);
/// Targets of a node; more would take more than this node's share of probes.
const TARGETS_MAX: usize = 10_000;

/// What the probes know, for whoever asks; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Results {
    endpoints: Arc<Mutex<BTreeMap<EndpointId, EndpointHealth>>>,
    /// `None` until the targets have settled.
    update: Arc<watch::Sender<Option<HealthUpdate>>>,
}

impl Results {
    pub(crate) fn new() -> Self {
        let update = watch::Sender::new(None);
        Self { endpoints: Arc::default(), update: Arc::new(update) }
    }

    /// What is known of each probed endpoint.
    pub(crate) fn endpoints(&self) -> Vec<EndpointHealth> {
        self.lock().values().cloned().collect()
    }

    /// The services all of whose endpoints fail.
    pub(crate) fn panicking(&self) -> Vec<ObjectKey> {
        self.update.borrow().as_ref().map(|update| update.panicking.clone()).unwrap_or_default()
    }

    /// Follows what the data plane is told, `None` being nothing; latest wins.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<HealthUpdate>> {
        self.update.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<EndpointId, EndpointHealth>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the actor is told.
#[derive(Debug)]
pub(crate) enum ProbesMessage {
    /// The configuration may want other targets.
    Reconcile,
    /// A target came to a result.
    Observed {
        /// What it knows.
        health: EndpointHealth,
        /// Whether that is a verdict.
        decided: bool,
    },
    /// The time to settle is over.
    Settle,
    /// The wait before a restart is over.
    Restart(EndpointId),
}

/// What the actor works with.
#[derive(Clone)]
pub(crate) struct ProbesArguments {
    pub(crate) configuration: watch::Receiver<Snapshot>,
    pub(crate) results: Results,
    pub(crate) events: broadcast::Sender<Event>,
}

/// The actor.
pub(crate) struct Probes;

pub(crate) struct State {
    arguments: ProbesArguments,
    targets: BTreeMap<EndpointId, Child>,
    permits: Arc<Semaphore>,
    /// Targets without a verdict, until all have settled; `None` from then on.
    undecided: Option<BTreeSet<EndpointId>>,
    /// What was reconciled last.
    reconciled: Option<Snapshot>,
    /// Casts `Reconcile` for each change of the configuration.
    _wake: AbortOnDropHandle<()>,
}

struct Child {
    check: HealthCheck,
    /// `None` between its end and its restart.
    actor: Option<ActorCell>,
    restarts: RestartHistory,
}

impl Actor for Probes {
    type Msg = ProbesMessage;
    type State = State;
    type Arguments = ProbesArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<ProbesMessage>,
        arguments: ProbesArguments,
    ) -> Result<State, ActorProcessingErr> {
        // After its own death the targets had settled before, or do so within the time.
        let settled = arguments.results.update.borrow().is_some();
        myself.send_after(SETTLE_WITHIN, || ProbesMessage::Settle);
        let mut configuration = arguments.configuration.clone();
        configuration.mark_changed();
        let wake = tokio::spawn(async move {
            while configuration.changed().await.is_ok() {
                configuration.borrow_and_update();
                if myself.cast(ProbesMessage::Reconcile).is_err() {
                    return;
                }
            }
        });
        Ok(State {
            arguments,
            targets: BTreeMap::new(),
            permits: Arc::new(Semaphore::new(CONCURRENT_MAX)),
            undecided: (!settled).then(BTreeSet::new),
            reconciled: None,
            _wake: AbortOnDropHandle::new(wake),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ProbesMessage>,
        message: ProbesMessage,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ProbesMessage::Reconcile => state.reconcile(&myself).await,
            ProbesMessage::Observed { health, decided } => {
                state.observe(health, decided);
                Ok(())
            }
            ProbesMessage::Settle => {
                state.settle();
                Ok(())
            }
            ProbesMessage::Restart(endpoint) => state.restart(&myself, &endpoint).await,
        }
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ProbesMessage>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(actor, error) => {
                state.ended(&myself, &actor, &error.to_string())
            }
            SupervisionEvent::ActorTerminated(actor, _, reason) => {
                state.ended(&myself, &actor, reason.as_deref().unwrap_or("killed"))
            }
            _ => Ok(()),
        }
    }
}

impl State {
    async fn reconcile(
        &mut self,
        myself: &ActorRef<ProbesMessage>,
    ) -> Result<(), ActorProcessingErr> {
        let snapshot = self.arguments.configuration.borrow().clone();
        let before = self.reconciled.replace(snapshot.clone());
        // Most changes are about other things, and targets are many.
        if before.is_some_and(|before| !verdict::concerned(&before, &snapshot))
            && self.arguments.results.update.borrow().is_some()
        {
            return Ok(());
        }
        let mut wanted = verdict::targets(&snapshot);
        if wanted.len() > TARGETS_MAX {
            tracing::warn!(
                wanted = wanted.len(),
                limit = TARGETS_MAX,
                "too many endpoints to probe; the rest counts as healthy"
            );
            let rest = wanted.keys().nth(TARGETS_MAX).cloned();
            wanted = rest.map_or(wanted.clone(), |rest| {
                wanted.split_off(&rest);
                wanted
            });
        }
        let gone: Vec<EndpointId> = self
            .targets
            .iter()
            .filter(|(endpoint, child)| wanted.get(endpoint) != Some(&child.check))
            .map(|(endpoint, _)| endpoint.clone())
            .collect();
        for endpoint in gone {
            let child = self.targets.remove(&endpoint);
            if let Some(actor) = child.and_then(|child| child.actor) {
                actor.stop(Some("no longer wanted".to_owned()));
            }
        }
        // A changed check keeps what is known; a removed endpoint is forgotten.
        self.arguments.results.lock().retain(|endpoint, _| wanted.contains_key(endpoint));
        let known: BTreeSet<EndpointId> = self.arguments.results.lock().keys().cloned().collect();
        if let Some(undecided) = &mut self.undecided {
            *undecided = wanted.keys().filter(|key| !known.contains(key)).cloned().collect();
        }
        for (endpoint, check) in wanted {
            if !self.targets.contains_key(&endpoint) {
                let restarts = RestartHistory::new(RestartBudget::default());
                let actor = Some(self.spawn(myself, &endpoint, &check).await?);
                self.targets.insert(endpoint, Child { check, actor, restarts });
            }
        }
        metrics::gauge!("marchproxy_probe_targets").set(self.targets.len() as f64);
        self.publish(&snapshot);
        Ok(())
    }

    async fn spawn(
        &self,
        myself: &ActorRef<ProbesMessage>,
        endpoint: &EndpointId,
        check: &HealthCheck,
    ) -> Result<ActorCell, ActorProcessingErr> {
        let known = self.arguments.results.lock().get(endpoint).map(|health| health.healthy);
        let arguments = TargetArguments {
            endpoint: endpoint.clone(),
            check: check.clone(),
            known,
            permits: self.permits.clone(),
            parent: myself.clone(),
        };
        let (actor, _) = Actor::spawn_linked(None, Target, arguments, myself.get_cell()).await?;
        Ok(actor.get_cell())
    }

    fn observe(&mut self, health: EndpointHealth, decided: bool) {
        // A result of a target that was stopped meanwhile says nothing any more.
        if !self.targets.contains_key(&health.endpoint) {
            return;
        }
        let flipped = {
            let mut endpoints = self.arguments.results.lock();
            let before = endpoints.insert(health.endpoint.clone(), health.clone());
            before.is_none_or(|before| before.healthy != health.healthy)
        };
        let settled = decided && self.decide(&health.endpoint);
        if flipped {
            tracing::info!(
                endpoint = %health.endpoint,
                healthy = health.healthy,
                reason = health.reason,
                "an endpoint changed its health"
            );
            // Nobody listening is no error.
            let _ = self.arguments.events.send(Event::Health(health));
        }
        if flipped || settled {
            let snapshot = self.arguments.configuration.borrow().clone();
            self.publish(&snapshot);
        }
    }

    /// Notes a verdict; true when it was the last one that was missing.
    fn decide(&mut self, endpoint: &EndpointId) -> bool {
        self.undecided
            .as_mut()
            .is_some_and(|undecided| undecided.remove(endpoint) && undecided.is_empty())
    }

    fn settle(&mut self) {
        if self.undecided.take().is_some() {
            let snapshot = self.arguments.configuration.borrow().clone();
            self.publish(&snapshot);
        }
    }

    fn publish(&mut self, snapshot: &Snapshot) {
        // Before the first configuration there is nothing to have settled.
        if snapshot.revision() == Revision::ZERO
            || self.undecided.as_ref().is_some_and(|undecided| !undecided.is_empty())
        {
            return;
        }
        self.undecided = None;
        let update = verdict::update(snapshot, &self.arguments.results.lock());
        metrics::gauge!("marchproxy_probe_unhealthy_endpoints").set(update.unhealthy.len() as f64);
        metrics::gauge!("marchproxy_probe_panicking_services").set(update.panicking.len() as f64);
        self.arguments.results.update.send_if_modified(|held| {
            let update = Some(update);
            let changed = *held != update;
            *held = update;
            changed
        });
    }

    fn ended(
        &mut self,
        myself: &ActorRef<ProbesMessage>,
        actor: &ActorCell,
        reason: &str,
    ) -> Result<(), ActorProcessingErr> {
        let ended = self.targets.iter_mut().find(|(_, child)| {
            child.actor.as_ref().is_some_and(|held| held.get_id() == actor.get_id())
        });
        // One that was stopped on purpose is not among the targets any more.
        let Some((endpoint, child)) = ended else { return Ok(()) };
        tracing::error!(%endpoint, reason, "a probe ended; starting it again");
        child.actor = None;
        let nth = child.restarts.spend(Instant::now())?;
        let endpoint = endpoint.clone();
        myself.send_after(Backoff::default().delay(nth), move || ProbesMessage::Restart(endpoint));
        Ok(())
    }

    async fn restart(
        &mut self,
        myself: &ActorRef<ProbesMessage>,
        endpoint: &EndpointId,
    ) -> Result<(), ActorProcessingErr> {
        let Some(child) = self.targets.get(endpoint).filter(|child| child.actor.is_none()) else {
            return Ok(());
        };
        let actor = self.spawn(myself, endpoint, &child.check.clone()).await?;
        if let Some(child) = self.targets.get_mut(endpoint) {
            child.actor = Some(actor);
        }
        Ok(())
    }
}

/// The metrics that are written here, with their meaning.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_histogram!(
        "marchproxy_probe_rtt_seconds",
        Unit::Seconds,
        "Time of a successful health probe"
    );
    describe_counter!("marchproxy_probe_failures_total", Unit::Count, "Failed health probes");
    describe_gauge!("marchproxy_probe_targets", Unit::Count, "Endpoints that this node probes");
    describe_gauge!(
        "marchproxy_probe_unhealthy_endpoints",
        Unit::Count,
        "Endpoints that get no traffic because their probes fail"
    );
    describe_gauge!(
        "marchproxy_probe_panicking_services",
        Unit::Count,
        "Services all of whose endpoints fail, so that failures are not acted upon"
    );
}

#[cfg(test)]
mod tests;
