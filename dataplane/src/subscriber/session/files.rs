//! What a session does to the files of certificates and modules, on a thread for such work, one thing at a
//! time.
//!
//! ```text
//! came ─▶ those that have not come are stood in for ─▶ in force ─▶ Envoy has applied it, for a time ─▶ the rest is removed
//! ```
//! **Invariants.** A configuration is in force when each certificate that it names has a file. What nothing
//! names is removed when Envoy has lived without it, and never while something else is on its way.

use std::{collections::BTreeSet, future::pending, sync::Arc, time::Duration};

use model::{AckState, Engine, filter_module::ModuleFile};
use runtime::chain::chain;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::{certificates::Certificates, desired::Desired, modules::Modules, subscriber::Reports};

/// The files, and what waits for them.
pub(super) struct Files {
    certificates: Certificates,
    modules: Modules,
    forget_after: Duration,
    /// What came last, while it is not in force.
    ahead: Option<Arc<Desired>>,
    /// Whether there may be some that nothing names: those of a life before, too.
    lie_about: bool,
    /// When Envoy was found to do without them.
    spared: Option<Instant>,
    work: Option<(Work, JoinHandle<Option<BTreeSet<ModuleFile>>>)>,
}

enum Work {
    /// Lets certificates stand in, and makes the files of modules; returns those that there are.
    Prepare(Arc<Desired>),
    Forget,
}

impl Files {
    pub(super) fn new(
        certificates: Certificates,
        modules: Modules,
        forget_after: Duration,
    ) -> Self {
        let (ahead, spared, work) = (None, None, None);
        Self { certificates, modules, forget_after, ahead, lie_about: true, spared, work }
    }

    /// What came last, while it is not in force.
    pub(super) fn ahead(&self) -> Option<Arc<Desired>> {
        self.ahead.clone()
    }

    /// Something may be named no more.
    pub(super) fn may_lie_about(&mut self) {
        self.lie_about = true;
        self.spared = None;
    }

    /// Takes what came; returns it when nothing of it need be waited for.
    pub(super) fn next(&mut self, next: Desired, names_others: bool) -> Option<Desired> {
        if self.ahead.is_none() && !names_others {
            return Some(next);
        }
        self.ahead = Some(Arc::new(next));
        self.prepare();
        None
    }

    /// Sees to it that what Envoy has lived without for a time is removed.
    pub(super) fn look(&mut self, in_force: &Desired, reports: &Reports) {
        if !self.lie_about || self.ahead.is_some() || self.work.is_some() {
            return;
        }
        let report = reports.get(&Engine::Envoy);
        let applied = |it: &&model::EngineReport| {
            it.revision >= in_force.revision && it.ack == AckState::Applied
        };
        if report.filter(applied).is_none() {
            return;
        }
        let since = *self.spared.get_or_insert_with(Instant::now);
        if since.elapsed() < self.forget_after {
            return;
        }
        (self.lie_about, self.spared) = (false, None);
        let (certificates, config) = (self.certificates.clone(), in_force.config.clone());
        let forget = move || {
            if let Err(error) = certificates.forget_others(&config) {
                tracing::warn!(error = %chain(&error), "a certificate of before stays on the disk");
            }
            None
        };
        self.work = Some((Work::Forget, tokio::task::spawn_blocking(forget)));
    }

    /// Waits until something is done or is to be looked at; returns what can be put in force.
    pub(super) async fn done(&mut self) -> Option<Desired> {
        let Some((_, work)) = &mut self.work else {
            match self.spared {
                Some(since) if self.lie_about => sleep_until(since + self.forget_after).await,
                _ => pending().await,
            }
            return None;
        };
        let modules = match work.await {
            Ok(modules) => modules,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let (work, _) = self.work.take()?;
        let Work::Prepare(prepared) = work else {
            self.prepare();
            return None;
        };
        if self.ahead.as_ref().is_some_and(|ahead| Arc::ptr_eq(ahead, &prepared)) {
            self.ahead = None;
        }
        // What came meanwhile.
        self.prepare();
        let mut next = Desired::clone(&prepared);
        if let Some(modules) = modules.filter(|modules| *modules != *next.modules) {
            next.modules = Arc::new(modules);
        }
        Some(next)
    }

    fn prepare(&mut self) {
        let Some(next) = self.ahead.clone().filter(|_| self.work.is_none()) else { return };
        let (certificates, config) = (self.certificates.clone(), next.config.clone());
        let modules = self.modules.clone();
        let prepare = move || {
            // An engine tells of one that it misses.
            if let Err(error) = certificates.stand_in(&config) {
                tracing::error!(error = %chain(&error), "a certificate has nothing in its place");
            }
            let prepared = modules.prepare(&config);
            prepared
                .inspect_err(|error| {
                    tracing::error!(error = %chain(error), "modules cannot be read");
                })
                .ok()
        };
        self.work = Some((Work::Prepare(next), tokio::task::spawn_blocking(prepare)));
    }
}
