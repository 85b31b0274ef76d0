//! What the engines should run: the configuration and the endpoints that should get no traffic.
//!
//! Published by the subscriber through a `watch` channel: the latest wins, values may be skipped. An
//! engine therefore compares with what it runs itself ([`model::Snapshot::diff`] costs the number of
//! changes) and never relies on having seen every value.

use std::{collections::BTreeSet, sync::Arc};

use model::{EndpointId, ModuleFile, ObjectKey, Revision, Snapshot};
use tokio::sync::watch;

/// The desired state of a data plane. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// The revision of `config`; zero before any configuration is known.
    pub revision: Revision,
    /// All objects.
    pub config: Snapshot,
    /// Endpoints that should get no traffic. Those of panicking services are not in it.
    pub unhealthy: Arc<BTreeSet<EndpointId>>,
    /// Services so many of whose endpoints fail that the failures are not acted upon.
    pub panicking: Arc<BTreeSet<ObjectKey>>,
    /// The files of modules that this node has.
    pub modules: Arc<BTreeSet<ModuleFile>>,
    /// What led to this value, for logs and measurements only.
    pub changed: Changed,
}

/// What led to a new desired state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Changed {
    /// Nothing is known yet.
    #[default]
    Nothing,
    /// It was read from disk at the start.
    Restored,
    /// A control node sent a whole configuration.
    Snapshot,
    /// A control node sent a change.
    Delta,
    /// Endpoints became healthy or unhealthy.
    Health,
    /// A module came.
    Modules,
}

impl Desired {
    /// A desired state in which every endpoint is healthy.
    #[must_use]
    pub fn of(config: Snapshot, changed: Changed) -> Self {
        Self { revision: config.revision(), config, changed, ..Self::default() }
    }
}

/// What engines hold.
pub type DesiredReceiver = watch::Receiver<Arc<Desired>>;
