//! The ledger's contents as a value: rows of nodes, and what they come to for one revision.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{
    AckState, Engine, EngineReport, Revision,
    ack::{Bearing, NodeReport},
    announce::AddressReport,
    cluster::NodeId,
};

/// Answers kept per engine: at one apply every 100 ms more than six seconds, longer than a waiter
/// takes to look.
const ANSWERS_MAX: usize = 64;

/// All reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    expected: BTreeSet<NodeId>,
    /// The control nodes that this one has a connection to.
    peers: BTreeSet<NodeId>,
    rows: BTreeMap<NodeId, Row>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    connected: bool,
    /// The peer that the data plane is connected to; `None` for this node itself.
    through: Option<NodeId>,
    engines: BTreeMap<Engine, EngineReport>,
    addresses: Vec<AddressReport>,
    /// Past answers, oldest first.
    answers: BTreeMap<Engine, VecDeque<EngineReport>>,
}

/// What came of waiting for a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitOutcome {
    /// Whether every expected node's engines answered for the revision.
    pub complete: bool,
    /// The nodes that did not, whole or in part.
    pub missing: Vec<NodeId>,
    /// Each node's answers for the revision, or its present state where it gave none.
    pub reports: Vec<NodeReport>,
}

impl WaitOutcome {
    /// Whether an engine refused a part.
    #[must_use]
    pub fn refused(&self) -> bool {
        let refused = |engine: &EngineReport| matches!(engine.ack, AckState::Refused { .. });
        self.reports.iter().any(|report| report.engines.iter().any(refused))
    }
}

impl Table {
    /// The reports, ordered by node.
    #[must_use]
    pub fn reports(&self) -> Vec<NodeReport> {
        self.rows.iter().map(|(node, row)| row.report(*node)).collect()
    }

    /// One node's report.
    #[must_use]
    pub fn report(&self, node: NodeId) -> Option<NodeReport> {
        self.rows.get(&node).map(|row| row.report(node))
    }

    /// What the answers for `revision` come to.
    #[must_use]
    pub fn outcome(&self, revision: Revision) -> WaitOutcome {
        let nodes: BTreeSet<NodeId> =
            self.expected.iter().chain(self.rows.keys()).copied().collect();
        let mut missing = Vec::new();
        let mut reports = Vec::new();
        for node in nodes {
            let row = self.rows.get(&node).cloned().unwrap_or_default();
            if self.expected.contains(&node) && !row.answered(revision) {
                missing.push(node);
            }
            reports.push(row.report_for(node, revision));
        }
        WaitOutcome { complete: missing.is_empty(), missing, reports }
    }

    /// The nodes that have a data plane, so must answer.
    #[must_use]
    pub(crate) fn expected(&self) -> &BTreeSet<NodeId> {
        &self.expected
    }

    /// The control nodes that this one has a connection to.
    #[must_use]
    pub fn peers(&self) -> &BTreeSet<NodeId> {
        &self.peers
    }

    pub(super) fn expect(&mut self, nodes: BTreeSet<NodeId>, members: &BTreeSet<NodeId>) -> bool {
        let before = self.rows.len();
        self.rows.retain(|node, _| members.contains(node));
        let changed = before != self.rows.len() || self.expected != nodes;
        self.expected = nodes;
        changed
    }

    pub(super) fn connected(&mut self, node: NodeId, connected: bool) -> bool {
        let row = self.rows.entry(node).or_default();
        if !connected && row.through.is_some() {
            return false;
        }
        row.through = None;
        std::mem::replace(&mut row.connected, connected) != connected
    }

    pub(super) fn engines(&mut self, node: NodeId, reports: Vec<EngineReport>) -> bool {
        let row = self.rows.entry(node).or_default();
        let mut changed = false;
        for report in reports {
            changed |= row.take(report);
        }
        changed
    }

    pub(super) fn addresses(&mut self, node: NodeId, addresses: Vec<AddressReport>) -> bool {
        let row = self.rows.entry(node).or_default();
        let changed = row.addresses != addresses;
        row.addresses = addresses;
        changed
    }

    /// What a peer says of a data plane counts unless that one is connected elsewhere.
    pub(super) fn take_from_peer(&mut self, peer: NodeId, report: NodeReport) -> bool {
        let row = self.rows.entry(report.node).or_default();
        if row.connected && row.through != Some(peer) && !report.connected {
            return false;
        }
        row.through = Some(peer);
        let connected = std::mem::replace(&mut row.connected, report.connected) != report.connected;
        let addresses = self.addresses(report.node, report.addresses);
        self.engines(report.node, report.engines) || connected || addresses
    }

    pub(super) fn peer_reached(&mut self, peer: NodeId) -> bool {
        self.peers.insert(peer)
    }

    pub(super) fn peer_lost(&mut self, peer: NodeId) -> bool {
        let mut changed = self.peers.remove(&peer);
        for row in self.rows.values_mut().filter(|row| row.through == Some(peer)) {
            changed |= std::mem::replace(&mut row.connected, false);
        }
        changed
    }

    /// What a peer that was told `told` is to be told of the data planes connected to this node:
    /// each answer since, oldest first, so that none is lost to a newer one, then how they stand.
    #[must_use]
    pub(crate) fn own_news(&self, told: Option<&Self>) -> Vec<NodeReport> {
        let mut news = Vec::new();
        for (node, row) in self.rows.iter().filter(|(_, row)| row.through.is_none()) {
            let before = told.and_then(|told| told.rows.get(node));
            if before == Some(row) {
                continue;
            }
            for (engine, answers) in &row.answers {
                let last = before.and_then(|row| row.answers.get(engine)?.back());
                let known = last.and_then(|last| answers.iter().rposition(|a| a == last));
                for answer in answers.iter().skip(known.map_or(0, |at| at + 1)) {
                    news.push(NodeReport { engines: vec![answer.clone()], ..row.report(*node) });
                }
            }
            news.push(row.report(*node));
        }
        news
    }
}

impl Row {
    fn take(&mut self, report: EngineReport) -> bool {
        if self.engines.get(&report.engine) == Some(&report) {
            return false;
        }
        let answers = self.answers.entry(report.engine).or_default();
        match report.bearing() {
            Bearing::Answer => {
                // An engine that starts anew counts from its own revision: older answers are void.
                while answers.back().is_some_and(|last| last.revision > report.revision) {
                    answers.pop_back();
                }
                answers.push_back(report.clone());
                if answers.len() > ANSWERS_MAX {
                    answers.pop_front();
                }
            }
            Bearing::VoidsAnswers => answers.clear(),
            Bearing::Nothing => {}
        }
        self.engines.insert(report.engine, report);
        true
    }

    fn answer(&self, engine: Engine, revision: Revision) -> Option<&EngineReport> {
        let answers = self.answers.get(&engine)?;
        let first = answers.iter().find(|answer| answer.revision >= revision)?;
        // Of several answers for one revision the last is the settled one.
        answers.iter().rfind(|answer| answer.revision == first.revision)
    }

    fn answered(&self, revision: Revision) -> bool {
        // Of every engine: XDP may have answered long before Envoy has started at all.
        self.connected && Engine::ALL.iter().all(|engine| self.answer(*engine, revision).is_some())
    }

    fn report(&self, node: NodeId) -> NodeReport {
        NodeReport {
            node,
            connected: self.connected,
            engines: self.engines.values().cloned().collect(),
            addresses: self.addresses.clone(),
        }
    }

    fn report_for(&self, node: NodeId, revision: Revision) -> NodeReport {
        let answers = self
            .engines
            .iter()
            .map(|(engine, present)| self.answer(*engine, revision).unwrap_or(present).clone());
        NodeReport { engines: answers.collect(), ..self.report(node) }
    }
}

#[cfg(test)]
mod tests {
    use model::Refusal;
    use proptest::prelude::*;

    use super::*;

    const ONE: NodeId = NodeId(1);

    fn report(engine: Engine, revision: u64, ack: AckState) -> EngineReport {
        EngineReport::new(engine, Revision(revision), ack)
    }

    fn refused() -> AckState {
        let refusal = Refusal {
            object: None,
            field: String::new(),
            resource: "RouteConfiguration web".to_owned(),
            message: "no".to_owned(),
        };
        AckState::Refused { refusals: vec![refusal] }
    }

    fn unavailable() -> AckState {
        AckState::Unavailable { reason: "XDP is not asked for".to_owned() }
    }

    fn table(reports: Vec<EngineReport>) -> Table {
        let mut table = Table::default();
        table.expect([ONE].into(), &[ONE].into());
        table.connected(ONE, true);
        table.engines(ONE, reports);
        table
    }

    #[test]
    fn a_node_has_answered_when_each_of_its_engines_has() {
        use AckState::{Applied, Pending};
        use Engine::{Envoy, Xdp};
        let check = |reports: Vec<EngineReport>, complete: bool| {
            assert_eq!(
                table(reports.clone()).outcome(Revision(5)).complete,
                complete,
                "{reports:?}"
            );
        };
        check(vec![], false);
        check(vec![report(Envoy, 4, Applied)], false);
        check(vec![report(Envoy, 5, Pending)], false);
        check(vec![report(Envoy, 5, Applied)], false);
        check(vec![report(Xdp, 5, unavailable())], false);
        let xdp = || report(Xdp, 9, unavailable());
        check(vec![report(Envoy, 6, refused()), xdp()], true);
        check(vec![report(Envoy, 5, Applied), report(Xdp, 4, Applied)], false);
        check(vec![report(Envoy, 5, Applied), xdp()], true);
        check(vec![report(Envoy, 5, Applied), xdp(), report(Envoy, 6, Pending)], true);
    }

    #[test]
    fn a_disconnected_or_silent_node_is_missing_and_an_unexpected_one_is_not() {
        let mut table = table(vec![report(Engine::Envoy, 5, AckState::Applied)]);
        table.engines(ONE, vec![report(Engine::Xdp, 5, unavailable())]);
        assert!(table.outcome(Revision(5)).complete);
        table.connected(ONE, false);
        assert_eq!(table.outcome(Revision(5)).missing, [ONE]);
        table.expect(BTreeSet::new(), &[ONE].into());
        assert!(table.outcome(Revision(5)).complete);
        table.expect([NodeId(2)].into(), &[NodeId(2)].into());
        assert_eq!(table.outcome(Revision(5)).missing, [NodeId(2)]);
        assert!(table.reports().is_empty());
    }

    #[test]
    fn a_refusal_is_told_after_a_later_revision_was_accepted() {
        let table = table(vec![
            report(Engine::Envoy, 5, refused()),
            report(Engine::Envoy, 6, AckState::Applied),
        ]);
        assert!(table.outcome(Revision(5)).refused());
        assert!(!table.outcome(Revision(6)).refused());
    }

    #[test]
    fn an_envoy_that_is_gone_has_answered_for_nothing_and_answers_anew() {
        let applied = || report(Engine::Envoy, 5, AckState::Applied);
        let mut table = table(vec![applied(), report(Engine::Xdp, 5, unavailable())]);
        assert!(table.outcome(Revision(5)).complete);
        table.engines(ONE, vec![report(Engine::Envoy, 5, unavailable())]);
        assert_eq!(table.outcome(Revision(5)).missing, [ONE]);
        table.engines(ONE, vec![applied()]);
        assert!(table.outcome(Revision(5)).complete);
    }

    #[test]
    fn a_restarted_engine_must_answer_anew() {
        let table = table(vec![
            report(Engine::Envoy, 9, AckState::Applied),
            report(Engine::Envoy, 3, AckState::Applied),
        ]);
        assert!(!table.outcome(Revision(9)).complete);
    }

    #[test]
    fn a_data_plane_that_moves_between_control_nodes_counts_where_it_is_connected() {
        let report = |connected| NodeReport {
            node: ONE,
            connected,
            engines: Vec::new(),
            addresses: Vec::new(),
        };
        let connected = |table: &Table| table.report(ONE).unwrap().connected;
        let (here, peer) = (table(Vec::new()), NodeId(2));

        let mut table = here.clone();
        table.take_from_peer(peer, report(false));
        assert!(connected(&table), "a peer's old row says nothing about this node's session");
        table.take_from_peer(peer, report(true));
        table.connected(ONE, false);
        assert!(connected(&table), "the end of the old session says nothing about the new one");
        assert!(table.own_news(None).is_empty());
        table.peer_lost(NodeId(3));
        assert!(connected(&table));
        table.peer_lost(peer);
        assert!(!connected(&table));
        assert_eq!(here.own_news(None).len(), 1);
    }

    #[test]
    fn a_peer_is_told_every_answer_once_and_in_order() {
        let applied = |revision| report(Engine::Envoy, revision, AckState::Applied);
        let here = table(vec![report(Engine::Envoy, 5, refused()), applied(6)]);
        let mut there = Table::default();
        there.expect([ONE].into(), &[ONE].into());
        for news in here.own_news(None) {
            there.take_from_peer(NodeId(2), news);
        }
        assert!(there.outcome(Revision(5)).refused() && !there.outcome(Revision(6)).refused());

        let mut later = here.clone();
        assert!(later.own_news(Some(&here)).is_empty());
        later.engines(ONE, vec![applied(7), report(Engine::Envoy, 8, refused()), applied(9)]);
        let news = later.own_news(Some(&here));
        let revisions: Vec<u64> = news.iter().map(|n| n.engines[0].revision.0).collect();
        assert_eq!(revisions, [7, 8, 9, 9]);
        news.into_iter().for_each(|news| {
            there.take_from_peer(NodeId(2), news);
        });
        assert!(there.outcome(Revision(5)).refused() && there.outcome(Revision(8)).refused());
        let answer = there.rows[&ONE].answer(Engine::Envoy, Revision(9));
        assert!(!there.outcome(Revision(7)).refused() && answer.is_some());
    }

    proptest! {
        #[test]
        fn answers_stay_bounded_and_the_newest_is_kept(revisions in prop::collection::vec(0_u64..500, 1..300)) {
            let mut table = table(Vec::new());
            for revision in &revisions {
                let applied = |engine| report(engine, *revision, AckState::Applied);
                table.engines(ONE, Engine::ALL.map(applied).to_vec());
                prop_assert!(table.outcome(Revision(*revision)).complete);
                prop_assert!(!table.outcome(Revision(*revision + 1)).complete);
            }
            prop_assert!(table.rows[&ONE].answers[&Engine::Xdp].len() <= ANSWERS_MAX);
        }
    }
}
