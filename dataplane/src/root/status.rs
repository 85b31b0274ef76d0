//! The data plane's status page.

use std::{
    fmt,
    sync::{Arc, OnceLock, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use model::{
    announce::AddressReport,
    explain::Explanation,
    qos_report::QosReport,
    traffic::{EndpointList, EndpointQuery},
};
use ractor::rpc::CallResult;
use runtime::{
    identity::PeerIdentity,
    push::PlaneInfo,
    supervision::{Current, SupervisorHandle},
    telemetry::Metrics,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    admin::{CountedError, Pages},
    desired::DesiredReceiver,
    envoy::{EnvoyMessage, Life, Restart, RestartError},
    lkg::RecorderStatus,
    preflight::{Candidate, Preflight, PreflightError, Verdict},
    subscriber::{PushStatus, Reports},
    xdp::{
        Engine, L4Placement, Placement,
        actor::SharedEngine,
        explain::{ExplainError, Question, explain},
        flows::FlowHub,
        traffic::Series,
    },
};

/// How long a restart of Envoy may take: less than whoever asks over the API waits.
const RESTART_WITHIN: Duration = Duration::from_secs(29);

/// Everything the status is made of, live.
pub struct Status {
    pub(super) plane: PlaneInfo,
    pub(super) peer: PeerIdentity,
    pub(super) metrics: Metrics,
    pub(super) desired: DesiredReceiver,
    pub(super) push: watch::Receiver<PushStatus>,
    pub(super) recorder: watch::Receiver<RecorderStatus>,
    pub(super) reports: watch::Receiver<Reports>,
    pub(super) placement: watch::Receiver<Arc<L4Placement>>,
    pub(super) addresses: watch::Receiver<Arc<Vec<AddressReport>>>,
    pub(super) series: watch::Receiver<Series>,
    pub(super) flows: FlowHub,
    pub(super) engine: SharedEngine,
    /// Held while a packet is explained: one at a time, since each loads the program.
    pub(super) explaining: tokio::sync::Mutex<()>,
    pub(super) envoy: Current<EnvoyMessage>,
    pub(super) life: Life,
    pub(super) preflight: Preflight,
    pub(super) supervisor: OnceLock<SupervisorHandle>,
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Status {
    /// Asks the engine for what it has counted.
    fn counted<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Engine) -> Result<T, CountedError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, CountedError>> {
        let engine = Arc::clone(&self.engine);
        Box::pin(async move {
            let counted = tokio::task::spawn_blocking(move || {
                let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
                ask(engine.as_mut().ok_or(CountedError::NotRunning)?)
            });
            counted.await.unwrap_or(Err(CountedError::NotRunning))
        })
    }
}

impl Pages for Status {
    fn metrics(&self) -> String {
        self.metrics.render() + &self.series.borrow() + &self.life.series.borrow()
    }

    fn flows(&self) -> &FlowHub {
        &self.flows
    }

    fn endpoints(&self, query: EndpointQuery) -> BoxFuture<'_, Result<EndpointList, CountedError>> {
        let node = self.flows.node();
        self.counted(move |engine| {
            let revision = engine.running().ok_or(CountedError::NotRunning)?;
            Ok(EndpointList { node, revision, endpoints: engine.traffic(&query)? })
        })
    }

    fn qos(&self) -> BoxFuture<'_, Result<QosReport, CountedError>> {
        let node = self.flows.node();
        self.counted(move |engine| engine.qos(node)?.ok_or(CountedError::NotRunning))
    }

    fn explain(&self, question: Question) -> BoxFuture<'_, Result<Explanation, ExplainError>> {
        let mut engine = Arc::clone(&self.engine);
        let desired = Arc::clone(&self.desired.borrow());
        Box::pin(async move {
            let _alone = self.explaining.lock().await;
            let answered =
                tokio::task::spawn_blocking(move || explain(&mut engine, &desired, &question));
            answered.await.unwrap_or(Err(ExplainError::NotRunning))
        })
    }

    fn restart_envoy(&self, restart: Restart) -> BoxFuture<'_, Result<(), RestartError>> {
        let envoy = self.envoy.get();
        Box::pin(async move {
            let envoy = envoy.ok_or(RestartError::Stopping)?;
            let message = |reply| EnvoyMessage::Restart { restart, reply: Some(reply) };
            let answered = envoy.call(message, Some(RESTART_WITHIN)).await;
            match answered {
                Ok(CallResult::Success(answer)) => answer,
                _ => Err(RestartError::Stopping),
            }
        })
    }

    fn preflight(&self, candidate: Candidate) -> BoxFuture<'_, Result<Verdict, PreflightError>> {
        Box::pin(self.preflight.check(candidate))
    }

    fn hand_over(&self) {
        self.life.hand_over.ask();
    }

    fn status(&self) -> Value {
        let desired = Arc::clone(&self.desired.borrow());
        let actors = self.supervisor.get().map(|handle| handle.status().borrow().clone());
        let engines: Vec<_> = self.reports.borrow().values().cloned().collect();
        json!({
            "version": self.plane.version,
            "host": self.plane.host,
            "pid": self.plane.pid,
            "cluster": self.peer.cluster,
            "node": self.peer.node,
            "revision": desired.revision,
            "objects": desired.config.len(),
            "unhealthy": *desired.unhealthy,
            "panicking": *desired.panicking,
            "push": *self.push.borrow(),
            "last_known_good": *self.recorder.borrow(),
            "actors": actors.as_deref().unwrap_or_default(),
            "engines": engines,
            "envoy": *self.life.status.borrow(),
            "addresses": **self.addresses.borrow(),
            "l4": placement(&self.placement.borrow()),
        })
    }
}

fn placement(placement: &L4Placement) -> Value {
    let listeners: serde_json::Map<String, Value> = placement
        .listeners
        .iter()
        .map(|(listener, placed)| {
            let told = match placed {
                Placement::Carried => json!({"carried": true}),
                Placement::NotCarried(reason) => {
                    json!({"carried": false, "reason": reason.to_string()})
                }
            };
            (listener.to_string(), told)
        })
        .collect();
    json!({"revision": placement.revision, "summary": placement.summary, "xdp": listeners})
}
