//! Rollouts: a revision goes to a few nodes first, and to all when it has proved itself there.
//!
//! ```text
//! write ─▶ store: the revision and its rollout, in one transaction ─▶ publishers hold back who is not reached
//! data planes ─▶ answers, traffic ─▶ leader: judge (pure) ─▶ store: next step, or back to what was before
//! ```
//! **Invariants.** A node that is not reached never gets a revision under way: who is reached stands
//! in the store, and a publisher decides by the view that holds the revision itself. Nobody is led
//! back: what takes a revision back is a new one. When the leader is lost the next one begins the
//! step's time anew, so no step is cut short.

pub(crate) mod events;
mod judge;
mod traffic;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use consensus::{Compare, Consistency, Op, ProposeError, RaftState, Transaction, Versioned, View};
use model::{Revision, Rollout, cluster::NodeId, rollout::Phase};
use tokio::time::Instant;

use self::judge::{Judge, Next};
pub(crate) use self::traffic::Traffic;
use crate::{
    control::{
        ApplyError, Control,
        store::{ROLLOUT, configuration_revision},
    },
    ledger::Ledger,
};

/// How often the leader looks when nothing was told.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After a failed attempt to take one back: without a majority, or with a history that does not reach
/// so far, the next one has hardly a better chance. Nodes are held back meanwhile.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The newest rollout in a view, and the revision of its record.
pub(crate) fn in_view(view: &View) -> Option<(Rollout, Revision)> {
    let stored = view.get(ROLLOUT)?;
    Some((of_record(stored)?, stored.mod_revision))
}

fn of_record(stored: &Versioned) -> Option<Rollout> {
    let mut rollout: Rollout = serde_json::from_slice(&stored.value).ok()?;
    if rollout.target == Revision::ZERO {
        // Its record was written with the revision itself.
        rollout.target = stored.mod_revision;
    }
    Some(rollout)
}

/// Returns the revision that a node should have of the configuration in a view, and whether it is to
/// count its traffic for a rollout.
pub(crate) fn standing(view: &View, node: NodeId) -> (Revision, bool) {
    let newest = configuration_revision(view);
    let Some((rollout, _)) = in_view(view) else { return (newest, false) };
    let counts = rollout.phase.is_under_way() && rollout.nodes.contains(&node);
    (rollout.revision_for(node, newest), counts)
}

/// The rollout of the revision that is written with it.
pub(crate) fn begun(base: Revision) -> Rollout {
    Rollout {
        base,
        target: Revision::ZERO,
        step: None,
        nodes: BTreeSet::new(),
        phase: Phase::Running,
        reason: String::new(),
        since_ms: now_ms(),
    }
}

/// The same rollout in another phase.
pub(crate) fn in_phase(rollout: &Rollout, phase: Phase, reason: &str) -> Rollout {
    let reason = reason.to_owned();
    Rollout { phase, reason, since_ms: now_ms(), ..rollout.clone() }
}

/// The write that puts a rollout in the store, and the condition that it is still as it was seen.
pub(crate) fn put(rollout: &Rollout, seen: Option<Revision>) -> (Op, Compare) {
    let value = serde_json::to_vec(rollout).expect("its keys are text");
    let put = Op::Put { key: ROLLOUT.to_owned(), value: Bytes::from(value) };
    (put, Compare::KeyRevision { key: ROLLOUT.to_owned(), revision: seen })
}

/// Leads rollouts while this node leads, until it is dropped.
pub(crate) async fn lead(control: Control) -> anyhow::Result<()> {
    let mut judge = Judge::default();
    let mut table = control.ledger().subscribe();
    loop {
        table.borrow_and_update();
        if control.consensus().status().borrow().state == RaftState::Leader {
            look(&control, &mut judge).await;
        } else {
            judge = Judge::default();
            metrics::gauge!("marchproxy_rollout_held_nodes").set(0.0);
        }
        tokio::select! {
            changed = table.changed() => changed?,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn look(control: &Control, judge: &mut Judge) {
    // Stale is good enough: what is written demands that the rollout is still the one seen.
    let Ok(view) = control.consensus().read(Consistency::Stale).await else { return };
    let Some((rollout, seen)) = in_view(&view).filter(|(it, _)| it.phase.is_under_way()) else {
        metrics::gauge!("marchproxy_rollout_held_nodes").set(0.0);
        return;
    };
    let Ok(config) = control.snapshot(Consistency::Stale).await else { return };
    let nodes = with_data_plane(control);
    let held = nodes.keys().filter(|node| !rollout.nodes.contains(*node)).count();
    metrics::gauge!("marchproxy_rollout_held_nodes").set(held as f64);
    let next = match config.rollout_policy() {
        None => Next::Complete,
        Some(policy) => {
            let traffic = control.traffic().of_late();
            let table = control.ledger().subscribe().borrow().clone();
            judge.look(&rollout, policy, &nodes, &table, &traffic, Instant::now())
        }
    };
    let next = match next {
        Next::Wait => return,
        Next::Step(step, nodes) => {
            tracing::info!(revision = %rollout.target, step, ?nodes, "a rollout goes on");
            Rollout { step: Some(step), nodes, since_ms: now_ms(), ..rollout }
        }
        Next::Complete => {
            tracing::info!(revision = %rollout.target, "a rollout is complete");
            in_phase(&rollout, Phase::Completed, "")
        }
        Next::Abort(reason) => {
            tracing::warn!(revision = %rollout.target, %reason, "a rollout is taken back");
            match control.abort_rollout("the leader", &reason).await {
                // Another look is 250 ms away.
                Ok(_) | Err(ApplyError::Conflict { .. } | ApplyError::NoRollout) => {}
                Err(error) => {
                    tracing::error!(%error, "a rollout cannot be taken back");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
            return;
        }
    };
    let outcome = next.phase;
    let (put, compare) = put(&next, Some(seen));
    let mut transaction = Transaction::new("the leader", "go on with a rollout", vec![put]);
    transaction.compare = vec![compare];
    match control.consensus().propose(transaction).await {
        Ok(_) if outcome == Phase::Completed => count("completed"),
        // Another look is 250 ms away.
        Ok(_) | Err(ProposeError::Conflict { .. }) => {}
        Err(error) => tracing::debug!(%error, "the rollout is not written yet"),
    }
}

/// Counts an ended rollout.
pub(crate) fn count(outcome: &'static str) {
    metrics::counter!("marchproxy_rollouts_total", "outcome" => outcome).increment(1);
}

/// The members whose data planes are to answer, with their names.
fn with_data_plane(control: &Control) -> BTreeMap<NodeId, String> {
    let expected = expected(control.ledger());
    let status = control.consensus().status().borrow().clone();
    let members = status.members.into_iter().filter(|(node, _)| expected.contains(node));
    members.map(|(node, member)| (node, member.addresses.name)).collect()
}

fn expected(ledger: &Ledger) -> BTreeSet<NodeId> {
    ledger.subscribe().borrow().expected().clone()
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis().try_into().unwrap_or(u64::MAX)
}

/// The metrics that are written here, with their meaning.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_gauge!(
        "marchproxy_rollout_held_nodes",
        Unit::Count,
        "Nodes that this node, as the leader, holds back from the newest revision"
    );
    describe_counter!(
        "marchproxy_rollouts_total",
        Unit::Count,
        "Rollouts that ended while this node led, by outcome: completed or aborted"
    );
}
