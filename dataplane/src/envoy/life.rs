//! What outlives one incarnation of the actor, and who keeps an Envoy while its data plane is
//! replaced.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use model::rollout::NodeTraffic;
use runtime::process::Keeper;
use tokio::sync::watch;

use super::{leading::Leading, stats::Reading, status::EnvoyStatus};
use crate::{hand_over::HandOver, xds::Crashes};

/// How an Envoy outlives its data plane.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// How its keeper is started.
    pub keeper: Keeper,
    /// The lock that the data plane holds.
    pub owner: PathBuf,
    /// How long it goes on without a data plane.
    pub linger: Duration,
}

impl Keeping {
    /// How long Envoy goes on without a data plane: several times what the control process takes to
    /// start another one, its waits between failed starts included.
    pub const LINGER: Duration = Duration::from_secs(60);
}

/// What outlives one incarnation of the actor. Clones share it.
#[derive(Clone, Debug)]
pub struct Life {
    /// Without one, Envoy dies with this process.
    pub keeping: Option<Keeping>,
    /// Which Envoy is told the configuration.
    pub leading: watch::Sender<Leading>,
    /// How often it crashed.
    pub crashes: watch::Sender<Crashes>,
    /// What it has counted of listeners and services, for the metrics.
    pub series: watch::Sender<Arc<str>>,
    /// Whether the control nodes judge a rollout by what it and XDP count.
    pub counting: watch::Sender<bool>,
    /// What both have counted for them.
    pub traffic: watch::Sender<NodeTraffic>,
    /// How Envoy stands.
    pub status: watch::Sender<EnvoyStatus>,
    /// Makes the actor's stop leave Envoy to the next data plane, where somebody keeps it.
    pub hand_over: HandOver,
    counted: Arc<Mutex<Reading>>,
    /// Whether it takes no traffic, so that metrics say nothing of it.
    canary: bool,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            keeping: None,
            leading: watch::Sender::default(),
            crashes: watch::Sender::default(),
            series: watch::Sender::new("".into()),
            counting: watch::Sender::default(),
            traffic: watch::Sender::default(),
            status: watch::Sender::default(),
            hand_over: HandOver::default(),
            counted: Arc::default(),
            canary: false,
        }
    }
}

impl Life {
    /// Begins a life in which Envoy is kept so, or dies with this process.
    #[must_use]
    pub fn new(keeping: Option<Keeping>) -> Self {
        Self { keeping, ..Self::default() }
    }

    /// Begins the life of an Envoy on which configurations are tried.
    #[must_use]
    pub fn canary() -> Self {
        Self { canary: true, ..Self::default() }
    }

    /// Tells whether it takes traffic, as a rule.
    pub(super) fn is_canary(&self) -> bool {
        self.canary
    }

    /// Says in the metrics whether it takes traffic.
    pub(super) fn ready(&self, ready: bool) {
        if !self.canary {
            metrics::gauge!("marchproxy_envoy_ready").set(if ready { 1.0 } else { 0.0 });
        }
    }

    pub(super) fn is_handed_over(&self) -> bool {
        self.keeping.is_some() && self.hand_over.is_begun()
    }

    /// Returns what the newest reading said, and puts another in its place.
    pub(super) fn counted(&self, reading: Reading) -> Reading {
        std::mem::replace(&mut self.counted.lock().unwrap_or_else(PoisonError::into_inner), reading)
    }
}
