//! Rollouts before the judge, in made-up time.

use std::time::Duration;

use model::{
    AckState, EngineReport, Refusal,
    rollout::PacketCounts,
    rollout_policy::{DropGate, ErrorGate, Gates, LatencyGate, NodeGroup, RolloutStep},
};

use super::*;
use crate::ledger::Ledger;

/// A cluster of four nodes, two steps and a judge.
struct Stage {
    judge: Judge,
    ledger: Ledger,
    rollout: Rollout,
    policy: RolloutPolicy,
    nodes: BTreeMap<NodeId, String>,
    traffic: BTreeMap<NodeId, Heard>,
    start: Instant,
}

impl Stage {
    fn new() -> Self {
        let step = |group| RolloutStep { group, hold: Duration::from_secs(10) };
        let errors = ErrorGate { max_percent: 2, min_requests: 100 };
        let latency = Some(LatencyGate { p99: Duration::from_millis(50), min_requests: 100 });
        let named = NodeGroup::Nodes(["n2".to_owned()].into());
        let policy = RolloutPolicy {
            steps: vec![step(named), step(NodeGroup::Percent(75))],
            gates: Gates { errors, latency, drops: None },
        };
        let nodes = (1..=4).map(|node| (NodeId(node), format!("n{node}"))).collect();
        let mut rollout = crate::rollout::begun(Revision(6));
        rollout.target = Revision(7);
        let ledger = Ledger::default();
        for node in 1..=4 {
            ledger.connected(NodeId(node), true);
        }
        let (judge, traffic, start) = (Judge::default(), BTreeMap::new(), Instant::now());
        Self { judge, ledger, rollout, policy, nodes, traffic, start }
    }

    /// Looks at a time, and does what is said.
    fn at(&mut self, seconds: u64) -> Next {
        let table = self.ledger.subscribe().borrow().clone();
        let now = self.start + Duration::from_secs(seconds);
        let Self { judge, rollout, policy, nodes, traffic, .. } = self;
        let next = judge.look(rollout, policy, nodes, &table, traffic, now);
        if let Next::Step(step, nodes) = &next {
            rollout.step = Some(*step);
            rollout.nodes.clone_from(nodes);
        }
        next
    }

    fn answers(&self, node: u64, ack: &AckState) {
        let reports = Engine::ALL.map(|engine| EngineReport::new(engine, Revision(7), ack.clone()));
        self.ledger.engines(NodeId(node), reports.to_vec());
    }

    fn counts(
        &mut self,
        seconds: u64,
        node: u64,
        (requests, errors): (u64, u64),
        p99_ms: Option<u64>,
    ) {
        let traffic = NodeTraffic { requests, errors, p99_ms, ..NodeTraffic::default() };
        let at = self.start + Duration::from_secs(seconds);
        self.traffic.insert(NodeId(node), Heard { traffic, at, own: true });
    }
}

fn step(step: usize, nodes: &[u64]) -> Next {
    Next::Step(step, nodes.iter().copied().map(NodeId).collect())
}

#[test]
fn each_step_is_held_from_when_its_last_node_has_answered() {
    let mut stage = Stage::new();
    assert_eq!(stage.at(0), step(0, &[2]));
    assert_eq!(stage.at(30), Next::Wait, "nobody has answered");
    stage.answers(2, &AckState::Applied);
    assert_eq!(stage.at(31), Next::Wait);
    assert_eq!(stage.at(40), Next::Wait);
    assert_eq!(stage.at(41), step(1, &[1, 2, 3]));
    stage.answers(1, &AckState::Applied);
    assert_eq!(stage.at(60), Next::Wait, "one has not");
    stage.answers(3, &AckState::Applied);
    assert_eq!(stage.at(61), Next::Wait);
    stage.ledger.connected(NodeId(1), false);
    assert_eq!(stage.at(70), Next::Wait, "one is away, and its time begins anew");
    stage.ledger.connected(NodeId(1), true);
    assert_eq!(stage.at(72), Next::Wait);
    assert_eq!(stage.at(82), Next::Complete);
}

#[test]
fn a_refusal_takes_it_back_paused_or_not() {
    let refusal = Refusal {
        object: Some("HTTPRoute/default/shop".parse().unwrap()),
        field: "spec.rules[0]".into(),
        resource: String::new(),
        message: "no\n".into(),
    };
    for phase in [Phase::Running, Phase::Paused] {
        let mut stage = Stage::new();
        stage.at(0);
        stage.rollout.phase = phase;
        stage.answers(2, &AckState::Refused { refusals: vec![refusal.clone()] });
        let expected = "node 2 (n2): envoy refuses HTTPRoute/default/shop spec.rules[0]: no";
        assert_eq!(stage.at(1), Next::Abort(expected.to_owned()));
    }
}

#[test]
fn traffic_counts_from_when_a_node_has_the_revision_and_when_there_is_enough() {
    let mut stage = Stage::new();
    stage.at(0);
    // Of before, and another node's.
    stage.counts(1, 2, (900, 400), Some(90));
    stage.counts(1, 3, (1_000, 1_000), Some(9_000));
    stage.answers(2, &AckState::Applied);
    assert_eq!(stage.at(1), Next::Wait);
    // What was counted after the last word of before is the first that counts.
    stage.counts(2, 2, (1_000, 500), Some(90));
    assert_eq!(stage.at(2), Next::Wait);
    stage.counts(3, 2, (1_099, 510), Some(90));
    assert_eq!(stage.at(3), Next::Wait, "99 requests say nothing");
    stage.counts(4, 2, (1_100, 502), Some(50));
    assert_eq!(stage.at(4), Next::Wait, "2 % of 100");
    stage.counts(5, 2, (1_200, 505), Some(50));
    let expected = "node 2 (n2): 5 of 200 responses are 5xx, more than 2 %";
    assert_eq!(stage.at(5), Next::Abort(expected.to_owned()));
    stage.counts(6, 2, (1_200, 502), Some(51));
    let expected = "node 2 (n2): p99 is 51 ms, more than 50 ms";
    assert_eq!(stage.at(6), Next::Abort(expected.to_owned()));
    // Envoy has begun anew.
    stage.counts(7, 2, (100, 3), None);
    let expected = "node 2 (n2): 3 of 100 responses are 5xx, more than 2 %";
    assert_eq!(stage.at(7), Next::Abort(expected.to_owned()));
}

#[test]
fn packets_that_xdp_drops_count_where_the_policy_says_so() {
    let mut stage = Stage::new();
    stage.at(0);
    stage.answers(2, &AckState::Applied);
    assert_eq!(stage.at(1), Next::Wait);
    let mut counted = |seconds, packets: Option<(u64, u64)>, gate: Option<DropGate>| {
        let packets = packets.map(|(all, dropped)| PacketCounts { all, dropped });
        let traffic = NodeTraffic { packets, ..NodeTraffic::default() };
        let at = stage.start + Duration::from_secs(seconds);
        stage.traffic.insert(NodeId(2), Heard { traffic, at, own: true });
        stage.policy.gates.drops = gate;
        stage.at(seconds)
    };
    let gate = Some(DropGate { max_percent: 5, min_packets: 1_000 });
    // Envoy is read first.
    assert_eq!(counted(2, None, gate.clone()), Next::Wait);
    let mut drops = |seconds, packets, gate| counted(seconds, Some(packets), gate);
    // A flood before it is not its doing.
    assert_eq!(drops(2, (50_000, 40_000), gate.clone()), Next::Wait);
    assert_eq!(drops(3, (50_999, 40_999), gate.clone()), Next::Wait, "999 packets say nothing");
    assert_eq!(drops(4, (52_000, 40_100), gate.clone()), Next::Wait, "5 % of 2,000");
    assert_eq!(drops(5, (52_000, 42_000), None), Next::Wait, "nobody asked");
    let expected = "node 2 (n2): XDP dropped 101 of 2000 packets, more than 5 %";
    assert_eq!(drops(6, (52_000, 40_101), gate.clone()), Next::Abort(expected.to_owned()));
    // The program was loaded anew.
    let expected = "node 2 (n2): XDP dropped 60 of 1000 packets, more than 5 %";
    assert_eq!(drops(7, (1_000, 60), gate), Next::Abort(expected.to_owned()));
}

#[test]
fn a_paused_rollout_and_a_step_without_nodes_wait() {
    let mut stage = Stage::new();
    stage.nodes.remove(&NodeId(2));
    assert_eq!(stage.at(0), step(0, &[]));
    assert_eq!(stage.at(60), Next::Wait);
    stage.nodes.insert(NodeId(2), "n2".into());
    assert_eq!(stage.at(61), step(0, &[2]), "it has come");
    stage.answers(2, &AckState::Applied);
    assert_eq!(stage.at(61), Next::Wait);
    // It leaves for good, which proves nothing either.
    stage.nodes.remove(&NodeId(2));
    assert_eq!(stage.at(80), Next::Wait);
    stage.nodes.insert(NodeId(2), "n2".into());
    assert_eq!(stage.at(81), Next::Wait, "its time begins anew");
    stage.rollout.phase = Phase::Paused;
    assert_eq!(stage.at(82), Next::Wait);
    assert_eq!(stage.at(90), Next::Wait);
    stage.rollout.phase = Phase::Running;
    assert_eq!(stage.at(91), Next::Wait, "the time of the step begins when it goes on");
    assert_eq!(stage.at(101), step(1, &[1, 2, 3]));
}
