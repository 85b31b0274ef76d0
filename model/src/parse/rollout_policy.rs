//! Reads the spec of a `RolloutPolicy`.

use std::{collections::BTreeSet, time::Duration};

use super::{
    backend::unique,
    reader::{Node, Read},
    scalar::{bounded, duration, whole},
};
use crate::{
    limits::{
        MAX_GATE_PACKETS, MAX_GATE_REQUESTS, MAX_HOLD, MAX_NODE_NAME, MAX_ROLLOUT_NODES,
        MAX_ROLLOUT_STEPS, MAX_TIMEOUT, MIN_HOLD, MIN_TIMEOUT,
    },
    rollout_policy::{
        DropGate, ErrorGate, Gates, LatencyGate, NodeGroup, RolloutPolicy, RolloutStep,
    },
};

const DEFAULT_HOLD: Duration = Duration::from_secs(30);
const DEFAULT_REQUESTS: u32 = 100;
const DEFAULT_PACKETS: u32 = 1_000;
const DEFAULT_ERRORS: ErrorGate = ErrorGate { max_percent: 1, min_requests: DEFAULT_REQUESTS };

pub(super) fn rollout_policy(node: &Node<'_>) -> Read<RolloutPolicy> {
    let fields = node.fields()?;
    let steps = fields.required("steps", "a list of groups of nodes", |node| {
        node.items(1, MAX_ROLLOUT_STEPS, step)?.into_iter().collect::<Read<Vec<_>>>()
    });
    let gates =
        fields.or("gates", Gates { errors: DEFAULT_ERRORS, latency: None, drops: None }, gates);
    let known = fields.finish();
    let policy = RolloutPolicy { steps: steps?, gates: gates? };
    known.map(|()| policy)
}

fn step(node: &Node<'_>) -> Read<RolloutStep> {
    let fields = node.fields()?;
    let nodes = fields.optional("nodes", |node| {
        let items = node.items(1, MAX_ROLLOUT_NODES, |node| bounded(node, 1, MAX_NODE_NAME))?;
        unique(node, &items, |node| node)?;
        items.into_iter().collect::<Read<BTreeSet<_>>>()
    });
    let percent = fields.optional("percent", |node| whole(node, 1..=99));
    let hold = fields.or("hold", DEFAULT_HOLD, |node| duration(node, MIN_HOLD, MAX_HOLD));
    let known = fields.finish();
    let group = match (nodes?, percent?) {
        (Some(nodes), None) => NodeGroup::Nodes(nodes),
        (None, Some(percent)) => NodeGroup::Percent(percent),
        (Some(_), Some(_)) => {
            return Err(node.error("has both nodes and percent", "keep one of them"));
        }
        (None, None) => {
            return Err(node.error("names no nodes", "add nodes (their names) or percent"));
        }
    };
    let step = RolloutStep { group, hold: hold? };
    known.map(|()| step)
}

fn gates(node: &Node<'_>) -> Read<Gates> {
    let fields = node.fields()?;
    let errors = fields.or("errors", DEFAULT_ERRORS, |node| {
        let fields = node.fields()?;
        let max_percent =
            fields.or("maxPercent", DEFAULT_ERRORS.max_percent, |node| whole(node, 0..=100));
        let min_requests = fields.or("minRequests", DEFAULT_REQUESTS, requests);
        let known = fields.finish();
        let gate = ErrorGate { max_percent: max_percent?, min_requests: min_requests? };
        known.map(|()| gate)
    });
    let latency = fields.optional("latency", |node| {
        let fields = node.fields()?;
        let p99 = fields.required("p99", "a time such as 500ms", |node| {
            duration(node, MIN_TIMEOUT, MAX_TIMEOUT)
        });
        let min_requests = fields.or("minRequests", DEFAULT_REQUESTS, requests);
        let known = fields.finish();
        let gate = LatencyGate { p99: p99?, min_requests: min_requests? };
        known.map(|()| gate)
    });
    let drops = fields.optional("drops", |node| {
        let fields = node.fields()?;
        let max_percent = fields.or("maxPercent", 1, |node| whole(node, 0..=99));
        let min_packets =
            fields.or("minPackets", DEFAULT_PACKETS, |node| whole(node, 1..=MAX_GATE_PACKETS));
        let known = fields.finish();
        let gate = DropGate { max_percent: max_percent?, min_packets: min_packets? };
        known.map(|()| gate)
    });
    let known = fields.finish();
    let gates = Gates { errors: errors?, latency: latency?, drops: drops? };
    known.map(|()| gates)
}

fn requests(node: &Node<'_>) -> Read<u32> {
    whole(node, 1..=MAX_GATE_REQUESTS)
}
