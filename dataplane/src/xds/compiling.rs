//! The task that translates: each desired state, the latest first, until the subscriber ends; or what
//! stands in for one that Envoy crashes with.

use std::{
    collections::BTreeSet,
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{Refusal, Revision, Snapshot};
use tokio::{sync::watch, task::JoinError};

use super::{
    crash_loop::{CrashLimits, CrashLoop, Crashes},
    undecided::Undecided,
};
use crate::{
    desired::{Changed, Desired, DesiredReceiver},
    l7::{Compiler, Input, Settings, World},
    secret_files::SecretFiles,
    xdp::L4Placement,
};

/// How often files with secrets are looked at again: soon for who has put one in place, and rare beside
/// what a look costs.
const SECRETS_INTERVAL: Duration = Duration::from_secs(5);

/// What it follows, and where its translations go.
pub(super) struct Compiling {
    pub(super) desired: DesiredReceiver,
    pub(super) placement: watch::Receiver<Arc<L4Placement>>,
    /// How often Envoy crashed.
    pub(super) crashes: watch::Receiver<Crashes>,
    /// The newest revision that Envoy answered for.
    pub(super) answered: watch::Receiver<Revision>,
    /// Whether what XDP has not decided on is held back.
    pub(super) waits_for_xdp: bool,
    pub(super) worlds: watch::Sender<Option<World>>,
}

impl Compiling {
    /// Translates until the subscriber ends.
    pub(super) async fn run(mut self, settings: Settings, limits: CrashLimits) {
        let mut compiler = Compiler::new(settings);
        let mut undecided = Undecided::default();
        let mut secrets = SecretFiles::default();
        let mut crash_loop = CrashLoop::new(limits);
        let (mut xdp_decides, mut envoy_tells) = (true, true);
        // What happened before belongs to no configuration that is known here.
        self.crashes.mark_unchanged();
        loop {
            let latest = self.desired.borrow_and_update().clone();
            if latest.changed != Changed::Nothing {
                let instead = crash_loop.instead(&latest.config);
                match self.translate(compiler, &mut undecided, &latest, instead).await {
                    Ok((back, read)) => (compiler, secrets) = (back, read),
                    Err(error) => {
                        tracing::error!(%error, "the compiler failed");
                        return;
                    }
                }
            }
            // Until there is something else to translate.
            loop {
                let timeout = undecided.next_timeout();
                let timer = async move {
                    match timeout {
                        Some(at) => tokio::time::sleep_until(at.into()).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    changed = self.desired.changed() => if changed.is_err() { return },
                    // When XDP is gone for good, what it carried last counts.
                    changed = self.placement.changed(), if xdp_decides => {
                        xdp_decides = changed.is_ok();
                    }
                    () = look_again(&secrets) => {}
                    () = timer => tracing::warn!("XDP has not decided in time what it carries"),
                    Ok(()) = self.answered.changed() => {
                        if *self.answered.borrow_and_update() == latest.revision {
                            crash_loop.answered(Instant::now(), &latest.config);
                        }
                        continue;
                    }
                    changed = self.crashes.changed(), if envoy_tells => {
                        envoy_tells = changed.is_ok();
                        let exit = self.crashes.borrow_and_update().exit.clone();
                        if !envoy_tells || !crash_loop.crashed(Instant::now(), &latest.config, &exit) {
                            continue;
                        }
                        tracing::error!(revision = %latest.revision, "envoy crashes over and over");
                    }
                }
                break;
            }
        }
    }

    /// Translates a configuration and publishes what came of it.
    async fn translate(
        &mut self,
        mut compiler: Compiler,
        undecided: &mut Undecided,
        latest: &Desired,
        instead: Option<(Snapshot, Refusal)>,
    ) -> Result<(Compiler, SecretFiles), JoinError> {
        let placed = self.placement.borrow_and_update().clone();
        let held_back = match self.waits_for_xdp {
            true => undecided.update(Instant::now(), &latest.config, &placed),
            false => BTreeSet::new(),
        };
        let (config, withheld) = match instead {
            Some((config, refusal)) => (config, Some(refusal)),
            None => (latest.config.clone(), None),
        };
        let mut input = Input {
            config,
            unhealthy: latest.unhealthy.clone(),
            modules: latest.modules.clone(),
            placements: placed.listeners.clone(),
            undecided: Arc::new(held_back),
            secret_files: SecretFiles::default(),
        };
        // A whole configuration takes a second; the runtime's threads have other work.
        let work = tokio::task::spawn_blocking(move || {
            input.secret_files = SecretFiles::of(&input.config);
            let secrets = input.secret_files.clone();
            let delta = compiler.update(input);
            tracing::debug!(revision = %delta.revision, resources = delta.touched.len(), "compiled");
            (compiler, secrets)
        });
        let (compiler, secrets) = work.await?;
        let mut world = compiler.world().clone();
        // It is the answer to the revision that is wanted, whatever it was made of.
        world.revision = latest.revision;
        world.withheld = withheld;
        self.worlds.send_replace(Some(world));
        Ok((compiler, secrets))
    }
}

/// Waits until a file holds another secret than was read.
async fn look_again(read: &SecretFiles) {
    loop {
        if read.is_empty() {
            return pending().await;
        }
        tokio::time::sleep(SECRETS_INTERVAL).await;
        let before = read.clone();
        let changed = tokio::task::spawn_blocking(move || before.again() != before);
        if changed.await.unwrap_or(false) {
            return;
        }
    }
}
