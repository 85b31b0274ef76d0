//! The actor of one probed endpoint.
//!
//! Owns the endpoint's health. Its parent is [`super::Probes`], which starts it again when it dies
//! and tells it what was known. It probes, tells its parent, and waits for the next time; the first
//! probe and every wait are jittered, so that many targets never probe in step.

use std::{sync::Arc, time::Duration};

use model::{EndpointId, endpoint::EndpointHealth, service::HealthCheck};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rand::Rng;
use tokio::sync::Semaphore;

use super::{
    ProbesMessage,
    attempt::probe,
    sm::{Health, Thresholds},
};

/// The first probe of a target comes within this time, so that a new service is soon known.
const FIRST_WITHIN: Duration = Duration::from_millis(500);
/// The share of the interval by which waits differ, in percent up and down.
const JITTER_PERCENT: u32 = 10;

/// What the actor is told.
#[derive(Debug)]
pub(super) enum TargetMessage {
    /// It is time.
    Probe,
}

/// What the actor begins with.
pub(super) struct TargetArguments {
    pub(super) endpoint: EndpointId,
    pub(super) check: HealthCheck,
    /// The health that was known before.
    pub(super) known: Option<bool>,
    /// Bounds the probes under way on this node.
    pub(super) permits: Arc<Semaphore>,
    pub(super) parent: ActorRef<ProbesMessage>,
}

/// The actor.
pub(super) struct Target;

pub(super) struct State {
    arguments: TargetArguments,
    health: Health,
}

impl Actor for Target {
    type Msg = TargetMessage;
    type State = State;
    type Arguments = TargetArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<TargetMessage>,
        arguments: TargetArguments,
    ) -> Result<State, ActorProcessingErr> {
        let within = arguments.check.interval.min(FIRST_WITHIN);
        myself.send_after(within.mul_f64(rand::rng().random()), || TargetMessage::Probe);
        let health = Health::begin(arguments.known);
        Ok(State { arguments, health })
    }

    async fn handle(
        &self,
        myself: ActorRef<TargetMessage>,
        message: TargetMessage,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TargetMessage::Probe => {
                state.probe().await?;
                myself
                    .send_after(jittered(state.arguments.check.interval), || TargetMessage::Probe);
                Ok(())
            }
        }
    }
}

impl State {
    async fn probe(&mut self) -> Result<(), ActorProcessingErr> {
        let TargetArguments { endpoint, check, permits, parent, .. } = &self.arguments;
        let outcome = {
            let _permit = permits.acquire().await?;
            probe(endpoint.address, check).await
        };
        let thresholds =
            Thresholds { unhealthy: check.unhealthy_threshold, healthy: check.healthy_threshold };
        self.health = self.health.after(outcome.is_ok(), thresholds);
        let service = format!("{}/{}", endpoint.service.namespace, endpoint.service.name);
        let (rtt_us, reason) = match outcome {
            Ok(rtt) => {
                metrics::histogram!("marchproxy_probe_rtt_seconds", "service" => service)
                    .record(rtt.as_secs_f64());
                (Some(u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)), String::new())
            }
            Err(error) => {
                metrics::counter!("marchproxy_probe_failures_total", "service" => service)
                    .increment(1);
                (None, error.to_string())
            }
        };
        let healthy = self.health.counts_as_healthy();
        let health = EndpointHealth { endpoint: endpoint.clone(), healthy, rtt_us, reason };
        let decided = !matches!(self.health, Health::Unknown { .. });
        Ok(parent.cast(ProbesMessage::Observed { health, decided })?)
    }
}

fn jittered(interval: Duration) -> Duration {
    let percent = rand::rng().random_range(100 - JITTER_PERCENT..=100 + JITTER_PERCENT);
    interval * percent / 100
}
