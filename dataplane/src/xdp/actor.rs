//! Owns the XDP engine: one actor for all interfaces given to the data plane.
//!
//! Parent: the data plane's root supervisor. Restart rule: restart within the budget; a new actor
//! takes over pinned maps and links. Its death means: packets are forwarded on by the last
//! generation, and no change reaches XDP until the restart. Where XDP is not to be had the actor
//! lives on, says why, and tries again.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use model::{EngineReport, Revision, rollout::NodeTraffic, shares::Uses};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use runtime::chain::chain;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    engine::{Engine, Settings},
    flows::FlowNames,
    judge, judged, pins,
    placement::L4Placement,
    qos,
    slow_start::STEP_MIN,
    statistics,
    traffic::Series,
    ways,
};
use crate::{
    afxdp,
    desired::{Desired, DesiredReceiver},
    shares::Loan,
    tasks::Task,
};

/// Time between looks at counters, addresses and interfaces. Prometheus scrapes every 15 s by
/// default, so each scrape sees new figures.
const TICK: Duration = Duration::from_secs(5);

/// Time between looks at the limits that nodes share; the leader lends as often.
const SHARE_EVERY: Duration = Duration::from_secs(1);

/// What the actor is told.
#[derive(Debug)]
pub enum XdpMessage {
    /// The desired state may have changed.
    Reconcile,
    /// Time has passed.
    Tick,
    /// An endpoint that starts slowly is due to get more.
    Step,
    /// Routes, links or neighbours of the host have changed.
    WaysChanged,
    /// It is time to look at the limits that nodes share.
    Share,
}

/// The engine, which the actor owns and who explains packets borrows; `None` before it is loaded.
pub type SharedEngine = Arc<Mutex<Option<Engine>>>;

/// What the actor is started with; the same again after a restart.
#[derive(Clone, Debug)]
pub struct XdpArguments {
    /// Interfaces, pins and addresses.
    pub settings: Settings,
    /// The desired state.
    pub desired: DesiredReceiver,
    /// Where reports go; the newest is what counts, so one that finds no room is left out.
    pub reports: mpsc::Sender<EngineReport>,
    /// Where the engine is; one of an earlier incarnation is let go.
    pub engine: SharedEngine,
    /// Where the placement is published.
    pub placement: watch::Sender<Arc<L4Placement>>,
    /// What this node was lent of the limits that nodes share.
    pub loan: watch::Receiver<Option<Loan>>,
    /// Where it is published what this node says of these limits.
    pub uses: watch::Sender<Arc<Uses>>,
    /// Where the series of endpoints are published.
    pub series: watch::Sender<Series>,
    /// Where it is published what the numbers in events of flows stand for.
    pub names: watch::Sender<FlowNames>,
    /// Whether the control nodes judge a rollout by what is counted.
    pub counting: watch::Receiver<bool>,
    /// Where it is published for them.
    pub traffic: watch::Sender<NodeTraffic>,
}

/// The actor.
#[derive(Debug, Default)]
pub struct XdpActor;

/// The actor's state.
#[derive(Debug)]
pub struct XdpState {
    arguments: XdpArguments,
    engine: SharedEngine,
    reported: Option<EngineReport>,
    /// Whether the first attempt to load the program has come to an end.
    decided: bool,
    _wakers: Vec<Task>,
    /// Sends the next [`XdpMessage::Step`].
    step: Option<Task>,
}

impl Actor for XdpActor {
    type Msg = XdpMessage;
    type State = XdpState;
    type Arguments = XdpArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<XdpMessage>,
        arguments: XdpArguments,
    ) -> Result<XdpState, ActorProcessingErr> {
        let mut wakers = vec![
            Task::spawn(wake_on_change(arguments.desired.clone(), myself.clone())),
            Task::spawn(wake_in_time(myself.clone())),
        ];
        let decided = arguments.settings.interfaces.is_empty();
        if !decided {
            wakers.push(Task::spawn(wake_on_other_ways(myself.clone())));
            wakers.push(Task::spawn(wake_to_share(arguments.loan.clone(), myself)));
            let (wanted, traffic) = (arguments.counting.clone(), arguments.traffic.clone());
            wakers.push(Task::spawn(judged::count(arguments.engine.clone(), wanted, traffic)));
        }
        let engine = Arc::clone(&arguments.engine);
        let left = Arc::clone(&engine);
        // What runs goes on without it.
        tokio::task::spawn_blocking(move || {
            left.lock().unwrap_or_else(PoisonError::into_inner).take();
        })
        .await?;
        let mut state =
            XdpState { arguments, engine, reported: None, decided, _wakers: wakers, step: None };
        let revision = state.arguments.desired.borrow().revision;
        state.undecided(revision);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<XdpMessage>,
        message: XdpMessage,
        state: &mut XdpState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            XdpMessage::Reconcile | XdpMessage::Step => state.reconcile(&myself).await,
            XdpMessage::Tick => state.tick(&myself).await,
            XdpMessage::WaysChanged => state.ways_changed().await,
            XdpMessage::Share => state.share(&myself).await,
        }
    }
}

impl XdpState {
    async fn reconcile(&mut self, myself: &ActorRef<XdpMessage>) -> Result<(), ActorProcessingErr> {
        let desired = self.arguments.desired.borrow_and_update().clone();
        if desired.changed == crate::desired::Changed::Nothing {
            return Ok(());
        }
        self.undecided(desired.revision);
        let (arguments, engine) = (self.arguments.clone(), self.engine.clone());
        let for_kernel = desired.clone();
        let outcome =
            tokio::task::spawn_blocking(move || follow(&arguments, &engine, &for_kernel)).await?;
        self.decided = true;
        self.plan_step(myself, outcome.next_step);
        let placement = Arc::new(outcome.placement);
        let report = judge::report(
            &desired.config,
            &placement,
            &outcome.notes,
            outcome.installed,
            outcome.unfiltered.as_deref(),
        );
        self.arguments.placement.send_if_modified(|current| {
            let changed = **current != *placement;
            *current = placement;
            changed
        });
        self.report(report);
        Ok(())
    }

    /// Wakes the actor for the next step of a slow start; steps of services with windows of different
    /// lengths are taken together when they are close.
    fn plan_step(&mut self, myself: &ActorRef<XdpMessage>, at: Option<Instant>) {
        self.step = at.map(|at| {
            let (actor, wait) = (myself.clone(), at.saturating_duration_since(Instant::now()));
            Task::spawn(async move {
                tokio::time::sleep(wait.max(STEP_MIN)).await;
                // A dead actor has no use for it.
                let _ = actor.cast(XdpMessage::Step);
            })
        });
    }

    /// Says that the answer is yet to come, until the first attempt to load the program is over.
    fn undecided(&mut self, revision: Revision) {
        if !self.decided {
            self.report(judge::undecided(revision));
        }
    }

    fn report(&mut self, report: EngineReport) {
        // A full channel has a newer one coming: the next tick repeats this one.
        if self.reported.as_ref() != Some(&report)
            && self.arguments.reports.try_send(report.clone()).is_ok()
        {
            self.reported = Some(report);
        }
    }

    /// Lends the engine, if there is one, to work that blocks.
    fn lend<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let engine = self.engine.clone();
        tokio::task::spawn_blocking(move || {
            engine.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(work)
        })
    }

    async fn ways_changed(&mut self) -> Result<(), ActorProcessingErr> {
        if let Some(Err(error)) = self.lend(Engine::ways_changed).await? {
            tracing::warn!(error = %chain(&error), "VLANs of the host are not followed");
        }
        Ok(())
    }

    /// Keeps to what this node was lent of the limits that nodes share, and says what it uses.
    async fn share(&mut self, myself: &ActorRef<XdpMessage>) -> Result<(), ActorProcessingErr> {
        let loan = self.arguments.loan.borrow().clone();
        let followed = self.lend(move |engine| engine.follow_loan(loan.as_ref(), Instant::now()));
        if followed.await? == Some(true) {
            self.reconcile(myself).await?;
        }
        // What is said of a loan is said when its shares are in force.
        let Some(uses) = self.lend(|engine| engine.uses(Instant::now())).await? else {
            return Ok(());
        };
        match uses {
            // Said again and again: what is not repeated is not believed for long.
            Ok(uses) => {
                self.arguments.uses.send_if_modified(|said| {
                    let news = !uses.uses.is_empty() || !said.uses.is_empty();
                    *said = Arc::new(uses);
                    news
                });
            }
            Err(error) => tracing::warn!(error = %chain(&error), "shares of limits were not read"),
        }
        Ok(())
    }

    async fn tick(&mut self, myself: &ActorRef<XdpMessage>) -> Result<(), ActorProcessingErr> {
        let (engine, series) = (self.engine.clone(), self.arguments.series.clone());
        let stale = tokio::task::spawn_blocking(move || look(&engine, &series)).await?;
        if stale || self.reported.is_none() { self.reconcile(myself).await } else { Ok(()) }
    }
}

/// What came of following a desired state.
struct Outcome {
    placement: L4Placement,
    notes: Vec<String>,
    installed: bool,
    /// Why the packet filter that is desired is not in force.
    unfiltered: Option<String>,
    /// When an endpoint that starts slowly is due to get more.
    next_step: Option<Instant>,
}

fn follow(arguments: &XdpArguments, engine: &Mutex<Option<Engine>>, desired: &Desired) -> Outcome {
    let settings = &arguments.settings;
    let failed = |reason: &dyn std::error::Error| Outcome {
        placement: judge::unavailable(&desired.config, &chain(reason)),
        notes: Vec::new(),
        installed: false,
        unfiltered: Some(chain(reason)),
        next_step: None,
    };
    if settings.interfaces.is_empty() {
        // What a process with interfaces left behind would forward by its last configuration for
        // ever.
        match pins::detach(&settings.pins) {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => tracing::info!(?removed, "XDP removed: no interface is given to it"),
            Err(error) => tracing::warn!(error = %chain(&error), "XDP was not removed"),
        }
        return Outcome {
            placement: judge::unavailable(&desired.config, judge::NOT_ASKED_FOR),
            notes: Vec::new(),
            installed: false,
            unfiltered: Some(judge::NOT_ASKED_FOR.to_owned()),
            next_step: None,
        };
    }
    let mut slot = engine.lock().unwrap_or_else(PoisonError::into_inner);
    if slot.is_none() {
        match Engine::open(settings.clone()) {
            Ok(mut opened) => {
                opened.tell_names_to(arguments.names.clone());
                *slot = Some(opened);
            }
            Err(error) => return failed(&error),
        }
    }
    let engine = slot.as_mut().expect("opened above");
    match engine.reconcile(desired) {
        Ok(plan) => {
            let placement = judge::placement(&desired.config, &plan, engine.attachments());
            let installed = engine.attachments().values().all(Result::is_ok);
            let policies = qos::report::notes(&desired.config, &placement, &engine.problems());
            let notes = plan.notes.values().flatten().cloned().chain(policies).collect();
            let missing = (!installed).then(|| placement.summary.clone());
            let unfiltered = engine.unfiltered().map(str::to_owned).or(missing);
            Outcome { placement, notes, installed, unfiltered, next_step: engine.next_step() }
        }
        Err(error) => failed(&error),
    }
}

/// Publishes the counters, and tells whether a reconcile is called for.
fn look(engine: &Mutex<Option<Engine>>, series: &watch::Sender<Series>) -> bool {
    let (counted, endpoints, stale) = {
        let mut slot = engine.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(engine) = slot.as_mut() else { return true };
        engine.resolve_neighbours();
        afxdp::view::publish(&engine.waiting());
        let counted = engine.note_rates().and_then(|()| engine.statistics());
        (counted, engine.series(), engine.is_stale())
    };
    let counted = counted.and_then(|counted| Ok((counted, endpoints?)));
    match counted {
        Ok((counted, endpoints)) => {
            statistics::publish(&counted);
            series.send_replace(endpoints);
        }
        Err(error) => tracing::warn!(error = %chain(&error), "XDP counters were not read"),
    }
    stale
}

async fn wake_on_change(mut desired: DesiredReceiver, actor: ActorRef<XdpMessage>) {
    desired.mark_changed();
    while desired.changed().await.is_ok() {
        desired.mark_unchanged();
        if actor.cast(XdpMessage::Reconcile).is_err() {
            return;
        }
    }
}

/// Wakes the actor when packets may have another next hop.
async fn wake_on_other_ways(actor: ActorRef<XdpMessage>) {
    loop {
        match ways::follow(|| actor.cast(XdpMessage::WaysChanged).is_ok()).await {
            Ok(()) => return,
            // Next hops still age.
            Err(error) => tracing::warn!(%error, "routes, links, neighbours are not followed"),
        }
        tokio::time::sleep(TICK).await;
        // What has changed meanwhile is not known.
        if actor.cast(XdpMessage::WaysChanged).is_err() {
            return;
        }
    }
}

/// Wakes the actor once a second, and when shares were lent to this node.
async fn wake_to_share(mut loan: watch::Receiver<Option<Loan>>, actor: ActorRef<XdpMessage>) {
    let mut ticks = tokio::time::interval(SHARE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while actor.cast(XdpMessage::Share).is_ok() {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = loan.changed() => {
                loan.mark_unchanged();
            }
        }
    }
}

async fn wake_in_time(actor: ActorRef<XdpMessage>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if actor.cast(XdpMessage::Tick).is_err() {
            return;
        }
    }
}
