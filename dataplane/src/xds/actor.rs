//! Owns the xDS server: its socket, the compiler, the ledger. Child of the data plane's root.
//!
//! It is restarted at once: Envoy connects again by itself and, with equal versions, is sent
//! nothing again. Its death harms no traffic; configuration stands still until it is back.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use model::{AckState, Engine, EngineReport, ObjectKey, Revision};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{mpsc, watch};

use super::{
    compiling::Compiling,
    crash_loop::{CrashLimits, Crashes},
    driver::{OwnEnvoy, Shared, StreamEvent},
    ledger::{Ledger, Standing},
    service,
    sm::Answer,
    socket,
    transfer::{self, Transferred},
};
use crate::{
    acme::Challenges,
    desired::DesiredReceiver,
    envoy::{Admin, Leading},
    l7::Settings,
    quotas::Quotas,
    tasks::Task,
    xdp::L4Placement,
};

/// Events of streams on their way to the actor; each stream has few at a time.
const EVENTS_QUEUED_MAX: usize = 64;

/// What the server is told.
#[derive(Debug)]
pub enum XdsMessage {
    /// Envoy connected; there are two while one Envoy takes over from another.
    StreamOpened,
    /// Envoy answered for a revision.
    RevisionAnswered(Box<EngineReport>),
    /// Envoy is gone.
    StreamClosed,
    /// The server or the compiler ended, which neither should.
    TaskEnded(String),
}

/// What the server needs.
#[derive(Clone, Debug)]
pub struct XdsArguments {
    /// What Envoy should run.
    pub desired: DesiredReceiver,
    /// The TCP and UDP listeners that XDP carries; the others are Envoy's.
    pub placement: watch::Receiver<Arc<L4Placement>>,
    /// Where answers go.
    pub reports: mpsc::Sender<EngineReport>,
    /// The path of the Unix socket; its directory exists.
    pub socket: PathBuf,
    /// The socket of Envoy's admin interface, which tells what Envoy listens on.
    pub envoy_admin: PathBuf,
    /// What authorities are answered that are asked by ACME.
    pub challenges: watch::Receiver<Arc<Challenges>>,
    /// How many requests may pass that all nodes count together.
    pub quotas: Quotas,
    /// Node settings of the translation.
    pub settings: Settings,
    /// What Envoy has accepted; kept by the parent, so that it outlives a restart of the actor.
    pub ledger: Arc<Mutex<Ledger>>,
    /// Where its refusals go, to be saved.
    pub standing: watch::Sender<Arc<Standing>>,
    /// Counts what is sent.
    pub transferred: Arc<Transferred>,
    /// Which of two Envoys of this node is told the configuration, while one takes over.
    pub leading: watch::Receiver<Leading>,
    /// How often Envoy crashed.
    pub crashes: watch::Receiver<Crashes>,
    /// When it counts as crashing over and over.
    pub crash_limits: CrashLimits,
}

/// The actor.
pub struct XdsActor;

/// Its state.
pub struct XdsState {
    desired: DesiredReceiver,
    reports: mpsc::Sender<EngineReport>,
    streams: usize,
    last: Option<EngineReport>,
    answered: watch::Sender<Revision>,
    _tasks: [Task; 3],
}

impl Actor for XdsActor {
    type Msg = XdsMessage;
    type State = XdsState;
    type Arguments = XdsArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<XdsMessage>,
        arguments: XdsArguments,
    ) -> Result<XdsState, ActorProcessingErr> {
        transfer::describe();
        let listener = socket::bind(&arguments.socket)?;
        let (worlds, receiver) = watch::channel(None);
        let (events, event_receiver) = mpsc::channel(EVENTS_QUEUED_MAX);
        let shared = Shared {
            worlds: receiver,
            transferred: arguments.transferred,
            lingers: true,
            own: Some(OwnEnvoy {
                ledger: arguments.ledger,
                standing: arguments.standing,
                events,
                admin: Admin::new(&arguments.envoy_admin),
                leading: arguments.leading,
                opens_ports: arguments.settings.opens_ports,
            }),
        };
        let desired = arguments.desired.clone();
        let (answered, answers) = watch::channel(Revision::ZERO);
        let compiling = Compiling {
            desired: arguments.desired,
            placement: arguments.placement,
            crashes: arguments.crashes,
            answered: answers,
            // One without traffic has no connections to lose.
            waits_for_xdp: arguments.settings.opens_ports,
            worlds,
        };
        let compiler = compiling.run(arguments.settings, arguments.crash_limits);
        let myself_too = myself.clone();
        let compiling = Task::spawn(async move {
            compiler.await;
            let _ = myself_too.cast(XdsMessage::TaskEnded("the compiler".into()));
        });
        let (challenges, quotas) = (arguments.challenges, arguments.quotas);
        let myself_too = myself.clone();
        let serving = Task::spawn(async move {
            let reason = match service::serve(listener, shared, challenges, quotas).await {
                Ok(()) => "the server".to_owned(),
                Err(error) => format!("the server: {error}"),
            };
            let _ = myself_too.cast(XdsMessage::TaskEnded(reason));
        });
        let forwarding = Task::spawn(forward(event_receiver, myself));
        Ok(XdsState {
            desired,
            reports: arguments.reports,
            streams: 0,
            last: None,
            answered,
            _tasks: [compiling, serving, forwarding],
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<XdsMessage>,
        message: XdsMessage,
        state: &mut XdsState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            XdsMessage::StreamOpened => state.streams += 1,
            XdsMessage::RevisionAnswered(report) => {
                state.answered.send_replace(report.revision);
                state.report(*report).await;
            }
            XdsMessage::StreamClosed => state.closed().await,
            XdsMessage::TaskEnded(what) => myself.stop(Some(format!("ended: {what}"))),
        }
        Ok(())
    }
}

impl XdsState {
    async fn report(&mut self, mut report: EngineReport) {
        report.notes = self.desired.borrow().panicking.iter().map(panic_note).collect();
        if self.last.as_ref() != Some(&report) {
            self.last = Some(report.clone());
            // A closed channel means that the data plane stops.
            let _ = self.reports.send(report).await;
        }
    }

    async fn closed(&mut self) {
        self.streams = self.streams.saturating_sub(1);
        if self.streams == 0 {
            let revision = self.last.as_ref().map_or(Revision::ZERO, |report| report.revision);
            let ack = AckState::Unavailable { reason: "Envoy is not connected".into() };
            let report = EngineReport::new(Engine::Envoy, revision, ack);
            self.report(report).await;
        }
    }
}

fn panic_note(service: &ObjectKey) -> String {
    format!("{service}: all endpoints fail; traffic goes to all of them")
}

fn answer_report(answer: Answer) -> EngineReport {
    let ack = if answer.refusals.is_empty() {
        AckState::Applied
    } else {
        AckState::Refused { refusals: answer.refusals }
    };
    EngineReport::new(Engine::Envoy, answer.revision, ack)
}

/// Turns the events of streams into messages.
async fn forward(mut events: mpsc::Receiver<StreamEvent>, actor: ActorRef<XdsMessage>) {
    while let Some(event) = events.recv().await {
        let message = match event {
            StreamEvent::Opened => XdsMessage::StreamOpened,
            StreamEvent::Answered(answer) => {
                XdsMessage::RevisionAnswered(Box::new(answer_report(answer)))
            }
            StreamEvent::Closed => XdsMessage::StreamClosed,
        };
        if actor.cast(message).is_err() {
            return;
        }
    }
}
