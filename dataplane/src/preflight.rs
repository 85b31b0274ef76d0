//! Tries a configuration on an Envoy of its own before it is committed: the canary.
//!
//! The canary is configured as the node's Envoy is, by a server and a translation of its own, but
//! opens no port and takes no traffic. What it refuses is told by object, field and Envoy's words.
//! It is started when the node's own has its configuration, or with the first question, and stays:
//! some 60 MB, and as much again for the translation of 10,000 services.
//!
//! **Invariants.** Nothing here changes what the node's Envoy is told. A question is answered within
//! a bounded time. What was refused before the change is not the change's fault.

mod canary;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{ModuleFile, ModuleId, Object, ObjectKey, Refusal, Revision, Snapshot};
use runtime::chain::chain;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};

use crate::{
    certificates::Certificates,
    desired::DesiredReceiver,
    l7::{ResourceType, Settings},
    modules::Modules,
    xdp::L4Placement,
};
use canary::Canary;

/// How long the data plane may be behind the revision that a change is based on: a push takes
/// milliseconds.
const BASE_WITHIN: Duration = Duration::from_secs(1);
/// How long a module that was uploaded in this moment may take to come: 16 MiB at 100 Mb/s.
const MODULES_WITHIN: Duration = Duration::from_millis(1_500);
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long the canary may take: a start with 10,000 services, which is 3 s, and two answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(7);

/// A change that is to be tried.
#[derive(Debug)]
pub struct Candidate {
    /// The revision that it changes.
    pub base: Revision,
    /// What is new or different.
    pub puts: Vec<Object>,
    /// What goes.
    pub deletes: Vec<ObjectKey>,
}

/// Why a change was not tried; it may be right or wrong.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The data plane runs another configuration.
    #[error("the data plane is at revision {present}, the change is based on {base}")]
    OtherBase {
        /// What it is based on.
        base: Revision,
        /// What there is.
        present: Revision,
    },
    /// There is no canary to be had.
    #[error("there is no Envoy to try it on: {reason}")]
    NoCanary {
        /// Why.
        reason: String,
    },
    /// A module is on its way to this node.
    #[error("module {module} has not come to this node within {MODULES_WITHIN:?}")]
    NoModule {
        /// Which.
        module: ModuleId,
    },
    /// It takes too long.
    #[error("the Envoy that was to try it did not answer within {ANSWER_WITHIN:?}")]
    TimedOut,
}

/// What came of a try.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What Envoy refuses of the change.
    pub refusals: Vec<Refusal>,
    /// What it refuses for what this node's files are: they may be there by the time they are
    /// needed, and are on another node.
    pub of_this_node: Vec<Refusal>,
}

/// What a canary is made of.
#[derive(Clone, Debug)]
pub struct PreflightArguments {
    /// The configuration that is in force.
    pub desired: DesiredReceiver,
    /// What XDP carries: nothing of it is for an Envoy.
    pub placement: watch::Receiver<Arc<L4Placement>>,
    /// Where its files stand; made when it is needed.
    pub run_dir: PathBuf,
    /// The executable, by flag.
    pub binary: Option<PathBuf>,
    /// The node's name in Envoy's eyes.
    pub node: String,
    /// The cluster's.
    pub cluster: String,
    /// Node settings of the translation.
    pub settings: Settings,
    /// The node's certificates, which new ones are to join.
    pub certificates: Certificates,
    /// The node's modules.
    pub modules: Modules,
}

/// Answers questions, one after the other. Clones share the canary.
#[derive(Clone, Debug)]
pub struct Preflight {
    arguments: PreflightArguments,
    canary: Arc<Mutex<Option<Canary>>>,
}

impl Preflight {
    /// Prepares; starts nothing.
    #[must_use]
    pub fn new(arguments: PreflightArguments) -> Self {
        Self { arguments, canary: Arc::default() }
    }

    /// Tries a change; tells what Envoy refuses of it that it did not refuse before.
    ///
    /// # Errors
    /// See [`PreflightError`]: it was not tried.
    pub async fn check(&self, candidate: Candidate) -> Result<Verdict, PreflightError> {
        let base = self.base(candidate.base).await?;
        let mut changed = base.clone();
        for key in &candidate.deletes {
            changed.remove(key);
        }
        for object in candidate.puts {
            changed.put(Arc::new(object));
        }
        let asked = async {
            self.stand_in(&changed).await;
            let modules = self.modules(&changed).await?;
            self.ask(&base, &changed, modules).await
        };
        let answered = timeout(ANSWER_WITHIN, asked).await;
        let refused = answered.unwrap_or(Err(PreflightError::TimedOut))?;
        let secret = ResourceType::Secret.to_string();
        let (of_this_node, refusals) =
            refused.into_iter().partition(|refusal| refusal.resource.starts_with(&secret));
        Ok(Verdict { refusals, of_this_node })
    }

    /// Starts the canary with what is in force, so that no change need wait for that. What it refuses
    /// is nobody's question.
    ///
    /// # Errors
    /// See [`PreflightError`]; the first change tries again.
    pub async fn warm(&self) -> Result<(), PreflightError> {
        let (config, modules) = {
            let desired = self.arguments.desired.borrow();
            (desired.config.clone(), desired.modules.clone())
        };
        let answered = timeout(ANSWER_WITHIN, self.ask(&config, &config, modules)).await;
        answered.unwrap_or(Err(PreflightError::TimedOut)).map(drop)
    }

    /// Ends the canary.
    pub async fn stop(&self) {
        if let Some(canary) = self.canary.lock().await.take() {
            canary.stop().await;
        }
    }

    async fn base(&self, base: Revision) -> Result<Snapshot, PreflightError> {
        let mut desired = self.arguments.desired.clone();
        // Late, it is at another revision, which is told below.
        let _ = timeout(BASE_WITHIN, desired.wait_for(|it| it.revision >= base)).await;
        let desired = desired.borrow();
        if desired.revision != base {
            return Err(PreflightError::OtherBase { base, present: desired.revision });
        }
        Ok(desired.config.clone())
    }

    /// Lets certificates stand in that the change brings. Who gave up waiting leaves them to be made: the
    /// next try finds them.
    async fn stand_in(&self, changed: &Snapshot) {
        let (certificates, config) = (self.arguments.certificates.clone(), changed.clone());
        let stand_in = tokio::task::spawn_blocking(move || certificates.stand_in(&config));
        if let Ok(Err(error)) = stand_in.await {
            tracing::warn!(error = %chain(&error), "a certificate has nothing in its place");
        }
    }

    /// Makes the files of the modules of a configuration, when they have come.
    async fn modules(
        &self,
        config: &Snapshot,
    ) -> Result<Arc<BTreeSet<ModuleFile>>, PreflightError> {
        let until = Instant::now() + MODULES_WITHIN;
        loop {
            let (modules, wanted) = (self.arguments.modules.clone(), config.clone());
            let prepared = tokio::task::spawn_blocking(move || modules.prepare(&wanted)).await;
            let ready = match prepared {
                Ok(Ok(ready)) => ready,
                Ok(Err(error)) => return Err(PreflightError::NoCanary { reason: chain(&error) }),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            let mut files = config.filter_modules().map(|(_, module)| module.file());
            let Some(missing) = files.find(|file| !ready.contains(file)) else {
                return Ok(Arc::new(ready));
            };
            if Instant::now() > until {
                return Err(PreflightError::NoModule { module: missing.sha256 });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn ask(
        &self,
        base: &Snapshot,
        changed: &Snapshot,
        modules: Arc<BTreeSet<ModuleFile>>,
    ) -> Result<Vec<Refusal>, PreflightError> {
        let mut place = self.canary.lock().await;
        if place.as_ref().is_some_and(|canary| !canary.runs()) {
            *place = None;
        }
        let canary = match &mut *place {
            Some(canary) => canary,
            none => none.insert(Canary::start(&self.arguments).await?),
        };
        let refused = canary.ask(changed, &modules).await?;
        if refused.is_empty() {
            return Ok(refused);
        }
        let before = canary.ask(base, &modules).await?;
        let known = |refusal: &Refusal| {
            before.iter().any(|it| it.resource == refusal.resource && it.message == refusal.message)
        };
        Ok(refused.into_iter().filter(|refusal| !known(refusal)).collect())
    }
}
