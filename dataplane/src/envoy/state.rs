//! The actor's processes: who serves, who is to take over, who drains, and what follows from each
//! event. The actor gives it the events.

use std::time::Duration;

use ractor::{ActorProcessingErr, ActorRef, RpcReplyPort};
use runtime::{chain::chain, process::Exit};
use tokio::task::JoinHandle;

use super::{
    actor::{EnvoyMessage, find},
    admin::Admin,
    arguments::EnvoyArguments,
    binary::{Binary, BinaryError},
    leading::Leading,
    restart::{Restart, RestartError, Restarting},
    running::{self, Running},
    status::{self, EnvoyState as Standing, EnvoyStatus, LastRestart},
    traffic, watch,
};
use crate::tasks::Task;

/// How long an Envoy that has handed over may live past the time it was told to end at.
const LATE: Duration = Duration::from_secs(5);

/// Its processes.
#[derive(Debug)]
pub struct EnvoyState {
    pub(super) arguments: EnvoyArguments,
    pub(super) serving: Option<Running>,
    pub(super) candidate: Option<Restarting>,
    pub(super) draining: Option<Running>,
    pub(super) counting: Option<[Task; 2]>,
    /// What is to be done once the Envoy that serves is known to.
    pub(super) due: Option<Restart>,
    pub(super) output: Option<JoinHandle<()>>,
}

impl Drop for EnvoyState {
    fn drop(&mut self) {
        if let Some(output) = &self.output {
            output.abort();
        }
    }
}

impl EnvoyState {
    /// Takes over what a data plane of before has left. The newest leads: it is ready, or is about
    /// to take over from the one before it.
    pub(super) fn adopt(
        &mut self,
        myself: &ActorRef<EnvoyMessage>,
        mut adopted: Vec<Running>,
        found: Result<Binary, BinaryError>,
    ) {
        let Some(newest) = adopted.pop() else { return };
        tracing::info!(version = newest.start.version, epoch = newest.start.epoch, "envoy adopted");
        self.lead(&newest, true);
        let instance = newest.start.instance.clone();
        // It may be one whose listeners are closed, left by one that has crashed since.
        myself.send_after(Restarting::READY_WITHIN, move || EnvoyMessage::Late { instance });
        if let Some(before) = adopted.pop() {
            self.expect_gone(myself, &before);
            self.draining = Some(before);
        }
        match found.map(|binary| self.arguments.fingerprint(&binary)) {
            Ok(Ok(wanted)) if wanted == newest.start.fingerprint => {}
            Ok(Ok(_)) => {
                self.due = Some(Restart::hot("its program or its settings have changed"));
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "whether envoy is to be replaced is not known");
            }
            Err(error) => tracing::warn!(%error, "the envoy that runs goes on; there is no other"),
        }
        self.serving = Some(newest);
    }

    /// Has the configuration told to an Envoy.
    pub(super) fn lead(&self, running: &Running, admin: bool) {
        let instance = Some(running.start.instance.as_str().into());
        self.arguments.life.leading.send_replace(Leading { instance, admin });
    }

    fn is_serving(&self, instance: &str) -> bool {
        self.serving.as_ref().is_some_and(|serving| serving.start.instance == instance)
    }

    fn is_candidate(&self, instance: &str) -> bool {
        self.candidate.as_ref().is_some_and(|it| it.running.start.instance == instance)
    }

    pub(super) async fn ended(
        &mut self,
        instance: &str,
        exit: Exit,
    ) -> Result<(), ActorProcessingErr> {
        if self.is_serving(instance) {
            self.arguments.life.ready(false);
            if let Some(candidate) = self.candidate.take() {
                // It waits for sockets that nobody hands over any more.
                candidate.running.end().await;
                candidate.answer(Err(RestartError::ServingEnded));
            }
            if let Some(draining) = self.draining.take() {
                // Nobody else would tell it to end, and its listeners are closed.
                draining.end().await;
            }
            self.arguments.life.crashes.send_modify(|crashes| {
                crashes.count += 1;
                crashes.exit = exit.to_string();
            });
            if !self.arguments.life.is_canary() {
                metrics::counter!("marchproxy_envoy_crashes_total").increment(1);
            }
            return Err(format!("envoy {exit}").into());
        }
        if self.is_candidate(instance) {
            self.failed(RestartError::Ended { exit: exit.to_string() }).await;
        } else if self.draining.take_if(|it| it.start.instance == instance).is_some() {
            tracing::info!(%exit, "the envoy that handed over has ended");
            self.publish(None);
        }
        Ok(())
    }

    pub(super) fn became_ready(
        &mut self,
        myself: &ActorRef<EnvoyMessage>,
        instance: &str,
    ) -> Result<(), ActorProcessingErr> {
        let (mut last, mut asked) = (None, None);
        if self.is_candidate(instance)
            && let Some(candidate) = self.candidate.take()
        {
            if let Some(before) = self.serving.replace(candidate.running) {
                self.expect_gone(myself, &before);
                self.draining = Some(before);
            }
            status::restarted("handed_over");
            tracing::info!(reason = candidate.restart.reason, "another envoy has taken over");
            last = Some(LastRestart::now(candidate.restart.reason, None));
            asked = candidate.reply;
        }
        if let Some(serving) = self.serving.as_mut().filter(|it| it.start.instance == instance) {
            serving.ready = true;
            serving.note(&self.arguments)?;
            self.arguments.life.ready(true);
            tracing::info!("envoy takes traffic");
            if !self.arguments.life.is_canary() {
                let admin = Admin::new(&self.arguments.admin_socket());
                let life = self.arguments.life.clone();
                let traffic = traffic::count(admin.clone(), life.clone());
                let counting = watch::count(admin, life);
                self.counting = Some([Task::spawn(counting), Task::spawn(traffic)]);
            }
        }
        if let Some(restart) = self.due.take() {
            // A mailbox that is closed means that the data plane stops.
            let _ = myself.cast(EnvoyMessage::Restart { restart, reply: None });
        }
        self.publish(last);
        if let Some(reply) = asked {
            // Whoever asked may have given up waiting.
            let _ = reply.send(Ok(()));
        }
        Ok(())
    }

    pub(super) async fn restart(
        &mut self,
        myself: &ActorRef<EnvoyMessage>,
        restart: Restart,
        reply: Option<RpcReplyPort<Result<(), RestartError>>>,
    ) -> Result<(), ActorProcessingErr> {
        tracing::info!(reason = restart.reason, drain = restart.drain, "envoy is to be replaced");
        let answer = |reply: Option<RpcReplyPort<_>>, answer| {
            // Whoever asked may have given up waiting.
            reply.map(|reply| reply.send(answer).map_err(drop))
        };
        match self.begin(myself, &restart).await {
            Ok(Some(running)) => {
                self.lead(&running, true);
                let instance = running.start.instance.clone();
                let late = move || EnvoyMessage::Late { instance };
                myself.send_after(Restarting::READY_WITHIN, late);
                self.candidate = Some(Restarting { running, restart, reply });
                self.publish(None);
                Ok(())
            }
            Ok(None) => {
                self.publish(Some(LastRestart::now(restart.reason, None)));
                answer(reply, Ok(()));
                Ok(())
            }
            Err(error) => {
                status::restarted("failed");
                let reason = chain(&error);
                tracing::error!(reason, "envoy is not replaced");
                self.publish(Some(LastRestart::now(restart.reason, Some(reason.clone()))));
                answer(reply, Err(error));
                match self.serving {
                    Some(_) => Ok(()),
                    None => Err(reason.into()),
                }
            }
        }
    }

    /// Starts another Envoy: a candidate; or, where the restart is to drain, one in the place of the
    /// one that was drained.
    async fn begin(
        &mut self,
        myself: &ActorRef<EnvoyMessage>,
        restart: &Restart,
    ) -> Result<Option<Running>, RestartError> {
        let binary = find(&self.arguments).await.map_err(|_| RestartError::Stopping)??;
        if self.candidate.is_some() || self.draining.is_some() {
            return Err(RestartError::Busy);
        }
        let Some(serving) = &self.serving else { return Err(RestartError::NothingRuns) };
        if restart.drain {
            serving.drain(self.arguments.drain).await;
            // Its end is expected, so it is not a failure.
            self.serving = None;
            self.counting = None;
            self.arguments.life.ready(false);
            let running = Running::start(&binary, &self.arguments, 0, myself).await?;
            self.lead(&running, true);
            self.serving = Some(running);
            status::restarted("drained");
            return Ok(None);
        }
        if !serving.ready {
            return Err(RestartError::NotReady);
        }
        if serving.start.hot_restart != binary.hot_restart {
            return Err(RestartError::Incompatible {
                running: serving.start.version.clone(),
                new: binary.version,
            });
        }
        let epoch = serving.start.epoch + 1;
        Ok(Some(Running::start(&binary, &self.arguments, epoch, myself).await?))
    }

    pub(super) async fn late(&mut self, instance: &str) -> Result<(), ActorProcessingErr> {
        if self.is_candidate(instance) {
            self.failed(RestartError::Late { within: Restarting::READY_WITHIN }).await;
        } else if let Some(late) = self.draining.take_if(|it| it.start.instance == instance) {
            tracing::warn!("the envoy that handed over does not end by itself");
            late.end().await;
            self.publish(None);
        } else if let Some(serving) =
            self.serving.take_if(|it| it.start.instance == instance && !it.ready)
        {
            serving.end().await;
            return Err("the envoy that was adopted takes no traffic".into());
        }
        Ok(())
    }

    /// Goes on with the Envoy that serves, since the one that was to take over does not.
    async fn failed(&mut self, error: RestartError) {
        let Some(candidate) = self.candidate.take() else { return };
        candidate.running.end().await;
        running::clear(&self.arguments, &candidate.running.start);
        status::restarted("failed");
        tracing::error!(reason = %error, "envoy is not replaced");
        if let Some(serving) = &self.serving {
            let admin = serving.has_admin().await;
            if !admin {
                tracing::warn!(
                    "its admin interface was closed for the one that failed; it is not \
                    counted and not drained until it is replaced"
                );
            }
            self.lead(serving, admin);
        }
        let last = LastRestart::now(candidate.restart.reason.clone(), Some(error.to_string()));
        self.publish(Some(last));
        candidate.answer(Err(error));
    }

    /// Makes sure that an Envoy that hands over ends.
    fn expect_gone(&self, myself: &ActorRef<EnvoyMessage>, before: &Running) {
        let instance = before.start.instance.clone();
        let within = self.arguments.parent_shutdown() + LATE;
        myself.send_after(within, move || EnvoyMessage::Late { instance });
    }

    pub(super) fn publish(&self, last: Option<LastRestart>) {
        self.arguments.life.status.send_modify(|status| {
            let state = match (&self.serving, &self.candidate) {
                (None, _) => Standing::Absent,
                (Some(_), Some(_)) => Standing::HandingOver,
                (Some(serving), None) if serving.ready => Standing::Ready,
                (Some(_), None) => Standing::Starting,
            };
            *status = EnvoyStatus {
                state,
                version: self.serving.as_ref().map(|it| it.start.version.clone()),
                epoch: self.serving.as_ref().map_or(0, |it| it.start.epoch),
                draining: self.draining.is_some(),
                last_restart: last.or_else(|| status.last_restart.take()),
            };
        });
    }
}
