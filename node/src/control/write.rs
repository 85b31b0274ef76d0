//! Writing the configuration: read, plan, validate, propose with the condition that nothing came in
//! between, and begin again when something did.
//!
//! A write is decided on the linearizable state and committed only if that is still the state, so
//! two writers can never undo each other's checks (a service deleted while a route to it is made).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use consensus::{
    Committed, Compare, Consensus, Consistency, Op, ProposeError, RequestId, Transaction,
};
use model::{
    ConfigError, ConfigErrors, Kind, Object, ObjectKey, Plan, Revision, Rollout, Snapshot,
    api::ApplyResponse,
    lockout::{Protected, cut_off},
    plan_apply, plan_delete, plan_replace,
    rollout::Phase,
};
use tokio::{sync::Mutex, time::Instant};

use super::{
    configuration::Configuration,
    errors::{ApplyError, SnapshotError},
    handle::{ApplyOptions, Spread},
    modules::modules_of,
    objects::operations,
    store::{configuration_unchanged, touch_configuration},
};
use crate::{
    membership::members,
    preflight::{Preflight, Tried},
    rollout,
};

/// Times that a write begins again because another came first. Writers on one node queue, so only
/// as many as there are other nodes compete.
const ATTEMPTS_MAX: u128 = 16;

/// How long the outcome of a write is asked for before the caller is told that it is unknown.
const OUTCOME_WITHIN: Duration = Duration::from_secs(10);

/// Between two questions for an outcome: a leader is elected in a few of these.
const OUTCOME_RETRY: Duration = Duration::from_millis(200);

/// What the history says of a write that the guard against lock-outs would have refused.
const CUTS_OFF: &str = "[forced: cuts off the cluster or the caller]";
/// What it says of one that Envoy refuses.
const REFUSED: &str = "[forced: Envoy refuses it]";

/// What a caller wants to do to the configuration.
pub(super) enum Edit {
    Apply(Vec<Object>),
    Delete(Vec<ObjectKey>),
    Rollback(Revision),
}

/// Writes the configuration; clones share the queue.
#[derive(Clone)]
pub(super) struct Writer {
    consensus: Consensus,
    configuration: Configuration,
    queue: Arc<Mutex<()>>,
    preflight: Preflight,
}

impl Writer {
    pub(super) fn new(
        consensus: Consensus,
        configuration: Configuration,
        preflight: Preflight,
    ) -> Self {
        Self { consensus, configuration, queue: Arc::default(), preflight }
    }

    pub(super) async fn write(
        &self,
        edit: Edit,
        options: ApplyOptions,
    ) -> Result<ApplyResponse, ApplyError> {
        let _turn = self.queue.lock().await;
        let mut last = None;
        for attempt in 0..ATTEMPTS_MAX {
            let view = self
                .consensus
                .read(Consistency::Linearizable)
                .await
                .map_err(SnapshotError::from)?;
            let present = self.configuration.in_view(&view)?;
            check_expected(&options, present.revision())?;
            let plan = self.plan(&edit, &present)?;
            let cut_off = self.guard(&plan, &present, &options)?;
            let needed = modules_of(&plan, &view, options.dry_run)?;
            let tried = match options.spread {
                // Envoys have run it, and it is urgent.
                Spread::TakesBack { .. } => Tried::default(),
                Spread::ByPolicy | Spread::AtOnce => self.preflight.check(&present, &plan).await,
            };
            if let Some(errors) = tried.errors() {
                // A dry run is a question, and this its answer.
                if options.dry_run || !options.force {
                    return Err(ApplyError::EngineRefuses(errors));
                }
            }
            let forced: Vec<_> = cut_off.iter().chain(&tried.refused).cloned().collect();
            let marks = [(!cut_off.is_empty(), CUTS_OFF), (!tried.refused.is_empty(), REFUSED)];
            let mut operations = operations(&plan);
            let respond = |revision| ApplyResponse {
                revision,
                dry_run: options.dry_run,
                objects: plan.outcomes.clone(),
                forced: forced.clone(),
                warnings: [needed.warnings.as_slice(), &tried.warnings].concat(),
            };
            let takes_back = matches!(options.spread, Spread::TakesBack { .. });
            if options.dry_run || (plan.is_empty() && !takes_back) {
                return Ok(respond(present.revision()));
            }
            operations.push(touch_configuration());
            let spread = spread(&options, rollout::in_view(&view), &present, &plan.next)?;
            let mut compare = vec![configuration_unchanged(present.revision())];
            compare.extend_from_slice(&needed.unchanged);
            if let Some((put, unchanged)) = spread {
                operations.push(put);
                compare.push(unchanged);
            }
            let mut transaction =
                Transaction::new(options.actor.as_str(), message(&options, marks), operations);
            if let Some(request) = options.request {
                // A refused attempt is remembered under its id, so each attempt has its own; a
                // caller's retry goes through the same ones.
                transaction.request = RequestId(request.0.wrapping_add(attempt));
            }
            transaction.compare = compare;
            match self.commit(transaction).await {
                Ok(committed) => return Ok(respond(committed.revision)),
                Err(ProposeError::Conflict { found, .. }) => {
                    last = Some((present.revision(), found.unwrap_or(Revision::ZERO)));
                }
                Err(error) => return Err(refused(error)),
            }
        }
        let (expected, found) = last.expect("every attempt but a conflicting one returned");
        Err(ApplyError::Conflict { expected, found })
    }

    pub(super) async fn pause_rollout(
        &self,
        actor: &str,
        pause: bool,
    ) -> Result<Rollout, ApplyError> {
        let (rollout, seen) = self.under_way().await?;
        let phase = if pause { Phase::Paused } else { Phase::Running };
        if rollout.phase == phase {
            return Ok(rollout);
        }
        let reason = if pause { format!("paused by {actor}") } else { String::new() };
        let next = rollout::in_phase(&rollout, phase, &reason);
        let (put, compare) = rollout::put(&next, Some(seen));
        let words = if pause { "pause the rollout" } else { "resume the rollout" };
        let mut transaction = Transaction::new(actor, words, vec![put]);
        transaction.compare = vec![compare];
        match self.commit(transaction).await {
            Ok(_) => Ok(next),
            Err(ProposeError::Conflict { found, .. }) => {
                let found = found.unwrap_or(Revision::ZERO);
                Err(ApplyError::Conflict { expected: seen, found })
            }
            Err(error) => Err(refused(error)),
        }
    }

    pub(super) async fn abort_rollout(
        &self,
        actor: &str,
        reason: &str,
    ) -> Result<ApplyResponse, ApplyError> {
        let (rollout, _) = self.under_way().await?;
        let options = ApplyOptions {
            actor: actor.to_owned(),
            message: format!("rollout of revision {} taken back: {reason}", rollout.target),
            // What was in force before is no new danger, and Envoy took it.
            force: true,
            spread: Spread::TakesBack { target: rollout.target, reason: reason.to_owned() },
            ..ApplyOptions::default()
        };
        let response = self.write(Edit::Rollback(rollout.base), options).await?;
        rollout::count("aborted");
        Ok(response)
    }

    async fn under_way(&self) -> Result<(Rollout, Revision), ApplyError> {
        let view =
            self.consensus.read(Consistency::Linearizable).await.map_err(SnapshotError::from)?;
        let found = rollout::in_view(&view).filter(|(rollout, _)| rollout.phase.is_under_way());
        found.ok_or(ApplyError::NoRollout)
    }

    /// Refuses what would cut off the cluster or the caller; returns what force overrules.
    fn guard(
        &self,
        plan: &Plan,
        present: &Snapshot,
        options: &ApplyOptions,
    ) -> Result<Vec<ConfigError>, ApplyError> {
        let concerned = |kind| matches!(kind, Kind::PacketFilter | Kind::PrefixList);
        let puts = plan.puts.iter().map(|object| object.spec.kind());
        if !puts.chain(plan.deletes.iter().map(|key| key.kind)).any(concerned) {
            return Ok(Vec::new());
        }
        let nodes = members(&self.consensus.status().borrow(), &BTreeSet::new());
        let protected = Protected {
            members: nodes.into_iter().map(|node| node.addresses).collect(),
            caller: options.caller,
        };
        let found = cut_off(present, &plan.next, &protected);
        if found.is_empty() || options.force {
            return Ok(found);
        }
        Err(ApplyError::LockOut(ConfigErrors(found)))
    }

    fn plan(&self, edit: &Edit, present: &Snapshot) -> Result<Plan, ApplyError> {
        match edit {
            Edit::Apply(objects) => Ok(plan_apply(present, objects.clone())?),
            Edit::Delete(keys) => {
                if let Some(key) = keys.iter().find(|key| present.get(key).is_none()) {
                    return Err(ApplyError::NotFound { key: key.clone() });
                }
                Ok(plan_delete(present, keys)?)
            }
            Edit::Rollback(to) => Ok(plan_replace(present, &self.configuration.read_at(*to)?)?),
        }
    }

    /// Proposes until the outcome is known; the request id makes retries apply once.
    async fn commit(&self, transaction: Transaction) -> Result<Committed, ProposeError> {
        let deadline = Instant::now() + OUTCOME_WITHIN;
        loop {
            match self.consensus.propose(transaction.clone()).await {
                Err(ProposeError::OutcomeUnknown { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(OUTCOME_RETRY).await;
                }
                outcome => return outcome,
            }
        }
    }
}

/// What goes with a write: the rollout of what is written, or the end of the one under way.
fn spread(
    options: &ApplyOptions,
    found: Option<(Rollout, Revision)>,
    present: &Snapshot,
    next: &Snapshot,
) -> Result<Option<(Op, Compare)>, ApplyError> {
    let seen = found.as_ref().map(|(_, seen)| *seen);
    let under_way = found.map(|(rollout, _)| rollout).filter(|it| it.phase.is_under_way());
    let has_policy = present.rollout_policy().is_some() && next.rollout_policy().is_some();
    let rollout = match (&options.spread, under_way) {
        (Spread::ByPolicy, under_way) if has_policy => {
            // What nodes have that were not reached is still what was before.
            rollout::begun(under_way.map_or(present.revision(), |rollout| rollout.base))
        }
        (Spread::TakesBack { target, reason }, Some(rollout)) if rollout.target == *target => {
            rollout::in_phase(&rollout, Phase::Aborted, reason)
        }
        // Another one has begun meanwhile, or none is under way any more.
        (Spread::TakesBack { .. }, _) => return Err(ApplyError::NoRollout),
        (_, Some(rollout)) => {
            rollout::in_phase(&rollout, Phase::Completed, "a write to all at once")
        }
        (_, None) => return Ok(None),
    };
    Ok(Some(rollout::put(&rollout, seen)))
}

/// The message for the history, which tells of force.
fn message(options: &ApplyOptions, marks: [(bool, &str); 2]) -> String {
    let own = Some(options.message.as_str()).filter(|own| !own.is_empty());
    let marks = marks.into_iter().filter_map(|(is_so, mark)| is_so.then_some(mark));
    own.into_iter().chain(marks).collect::<Vec<_>>().join(" ")
}

fn check_expected(options: &ApplyOptions, found: Revision) -> Result<(), ApplyError> {
    match options.expect_revision {
        Some(expected) if expected != found => Err(ApplyError::Conflict { expected, found }),
        _ => Ok(()),
    }
}

fn refused(error: ProposeError) -> ApplyError {
    match error {
        ProposeError::TooLarge { what, size, limit } => ApplyError::TooLarge { what, size, limit },
        ProposeError::OutcomeUnknown { reason, .. } => ApplyError::OutcomeUnknown { reason },
        other => ApplyError::Unavailable { reason: other.to_string() },
    }
}

impl From<SnapshotError> for ApplyError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::NotKept { revision, reason } => Self::NotKept { revision, reason },
            other => Self::Unavailable { reason: other.to_string() },
        }
    }
}
