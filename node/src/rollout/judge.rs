//! The leader's judgement of a rollout (pure but for memory of when and from where).

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Engine, Revision, Rollout, RolloutPolicy,
    ack::{AckState, Bearing, NodeReport},
    cluster::NodeId,
    rollout::{NodeTraffic, PacketCounts, Phase},
};
use tokio::time::Instant;

use super::traffic::Heard;
use crate::ledger::Table;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing yet.
    Wait,
    /// These nodes get it, too.
    Step(usize, BTreeSet<NodeId>),
    /// All get it.
    Complete,
    /// It is taken back, for a reason.
    Abort(String),
}

/// What the leader remembers.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// What the rest is about.
    of: Option<(Revision, Option<usize>)>,
    /// Since when all nodes of the step have answered.
    settled: Option<Instant>,
    /// When nodes were found to have the revision, and what they counted next.
    since: BTreeMap<NodeId, (Instant, Option<NodeTraffic>)>,
}

impl Judge {
    /// Looks at a rollout that is under way.
    pub(super) fn look(
        &mut self,
        rollout: &Rollout,
        policy: &RolloutPolicy,
        nodes: &BTreeMap<NodeId, String>,
        table: &Table,
        traffic: &BTreeMap<NodeId, Heard>,
        now: Instant,
    ) -> Next {
        let of = Some((rollout.target, rollout.step));
        if self.of != of {
            if self.of.map(|(target, _)| target) != Some(rollout.target) {
                self.since.clear();
            }
            self.settled = None;
            self.of = of;
        }
        let outcome = table.outcome(rollout.target);
        let reached: Vec<&NodeReport> =
            outcome.reports.iter().filter(|report| rollout.nodes.contains(&report.node)).collect();
        for report in &reached {
            let name = nodes.get(&report.node).map_or("?", String::as_str);
            let place = format!("node {} ({name})", report.node);
            if let Some(refusal) = refusal(report, rollout.target) {
                return Next::Abort(format!("{place}: {refusal}"));
            }
            if !has_answered(report, rollout.target) {
                continue;
            }
            let (at, before) = self.since.entry(report.node).or_insert((now, None));
            // What was counted earlier is what the configuration before has done.
            let Some(heard) = traffic.get(&report.node).filter(|heard| heard.at > *at) else {
                continue;
            };
            let before = before.get_or_insert(heard.traffic);
            // They are read by themselves, and may come later.
            before.packets = before.packets.or(heard.traffic.packets);
            if let Some(fault) = fault(policy, *before, heard.traffic) {
                return Next::Abort(format!("{place}: {fault}"));
            }
        }
        if rollout.phase == Phase::Paused {
            self.settled = None;
            return Next::Wait;
        }
        let Some(step) = rollout.step else { return Next::Step(0, policy.nodes(0, nodes)) };
        let mut present = rollout.nodes.iter().filter(|node| nodes.contains_key(*node)).peekable();
        if present.peek().is_none() {
            // A step without nodes proves nothing: it waits for one that it means.
            self.settled = None;
            let meant = policy.nodes(step, nodes);
            return if meant.is_empty() { Next::Wait } else { Next::Step(step, meant) };
        }
        let answered = |node: &NodeId| {
            let report = reached.iter().find(|report| report.node == *node);
            report.is_some_and(|report| has_answered(report, rollout.target))
        };
        if !present.all(answered) {
            self.settled = None;
            return Next::Wait;
        }
        let settled = *self.settled.get_or_insert(now);
        // A policy that has become shorter meanwhile is at its end.
        let hold = policy.steps.get(step).map(|step| step.hold).unwrap_or_default();
        if now.duration_since(settled) < hold {
            return Next::Wait;
        }
        if step + 1 < policy.steps.len() {
            let mut next = policy.nodes(step + 1, nodes);
            // Nobody is led back.
            next.extend(&rollout.nodes);
            return Next::Step(step + 1, next);
        }
        Next::Complete
    }
}

fn has_answered(report: &NodeReport, target: Revision) -> bool {
    report.connected
        && Engine::ALL.iter().all(|engine| {
            let of = report.engines.iter().find(|one| one.engine == *engine);
            of.is_some_and(|one| one.revision >= target && one.bearing() == Bearing::Answer)
        })
}

fn refusal(report: &NodeReport, target: Revision) -> Option<String> {
    report.engines.iter().filter(|engine| engine.revision >= target).find_map(|engine| {
        let AckState::Refused { refusals } = &engine.ack else { return None };
        let first = refusals.first()?;
        let object = first.object.as_ref().map_or(first.resource.clone(), ToString::to_string);
        let message = first.message.trim();
        Some(format!("{} refuses {object} {}: {message}", engine.engine, first.field))
    })
}

/// What traffic since a node has the revision says against it.
fn fault(policy: &RolloutPolicy, before: NodeTraffic, counted: NodeTraffic) -> Option<String> {
    // Who begins to count anew has counted all of it since.
    let since = |before: u64, now: u64| now.checked_sub(before).unwrap_or(now);
    let requests = since(before.requests, counted.requests);
    let errors = since(before.errors, counted.errors);
    let gate = &policy.gates.errors;
    if requests >= gate.min_requests.into() && errors * 100 > requests * u64::from(gate.max_percent)
    {
        let limit = gate.max_percent;
        return Some(format!("{errors} of {requests} responses are 5xx, more than {limit} %"));
    }
    if let (Some(gate), Some(p99)) = (&policy.gates.latency, counted.p99_ms) {
        let limit = gate.p99.as_millis() as u64;
        if requests >= gate.min_requests.into() && p99 > limit {
            return Some(format!("p99 is {p99} ms, more than {limit} ms"));
        }
    }
    let gate = policy.gates.drops.as_ref()?;
    let (before, counted) = before.packets.zip(counted.packets)?;
    // One that counts anew counts both anew.
    let anew = counted.all < before.all || counted.dropped < before.dropped;
    let before = if anew { PacketCounts::default() } else { before };
    let (packets, dropped) = (counted.all - before.all, counted.dropped - before.dropped);
    let limit = gate.max_percent;
    (packets >= gate.min_packets.into() && dropped * 100 > packets * u64::from(limit))
        .then(|| format!("XDP dropped {dropped} of {packets} packets, more than {limit} %"))
}

#[cfg(test)]
mod tests;
