//! The acknowledgement ledger: what each engine of each node's data plane reports.
//!
//! Soft state: kept by the node whose data plane reported it, streamed to the others, rebuilt after
//! a restart. Never written through Raft. Who is expected to answer is the members' matter
//! ([`Ledger::expect`]).

pub(crate) mod delay;
mod table;
pub mod warning;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use model::{
    EngineReport, Revision, ack::NodeReport, announce::AddressReport, api::Event, cluster::NodeId,
};
use tokio::sync::{broadcast, watch};

pub use table::{Table, WaitOutcome};

/// The ledger; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    table: Arc<watch::Sender<Table>>,
    delays: Arc<Mutex<delay::Delays>>,
}

impl Ledger {
    /// The reports of all nodes, ordered by node.
    #[must_use]
    pub fn reports(&self) -> Vec<NodeReport> {
        self.table.borrow().reports()
    }

    /// The report of one node.
    #[must_use]
    pub fn report(&self, node: NodeId) -> Option<NodeReport> {
        self.table.borrow().report(node)
    }

    /// The control nodes that this one has a connection to.
    #[must_use]
    pub fn peers(&self) -> BTreeSet<NodeId> {
        self.table.borrow().peers().clone()
    }

    /// Follows the whole table; latest wins.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Table> {
        self.table.subscribe()
    }

    /// Waits until the engines of every expected node answered for `revision` or a later one.
    ///
    /// The outcome holds each engine's *first* answer for it, so that a refusal is told even when a
    /// later revision has been accepted in the meantime.
    pub async fn wait_for(&self, revision: Revision, timeout: Duration) -> WaitOutcome {
        let mut table = self.table.subscribe();
        let complete = table.wait_for(|table| table.outcome(revision).complete);
        // Complete, out of time, or (never while `self` lives) closed: the table tells.
        let _ = tokio::time::timeout(timeout, complete).await;
        self.outcome(revision)
    }

    /// How far `revision` has come by now.
    #[must_use]
    pub fn outcome(&self, revision: Revision) -> WaitOutcome {
        self.table.borrow().outcome(revision)
    }

    /// Names the nodes that have a data plane, so must answer; forgets nodes that left.
    pub fn expect(&self, nodes: BTreeSet<NodeId>, members: &BTreeSet<NodeId>) {
        self.modify(|table| table.expect(nodes, members));
    }

    /// Notes that a node's data plane connected to this node, or lost that connection.
    pub fn connected(&self, node: NodeId, connected: bool) {
        if !connected {
            self.delays.lock().unwrap_or_else(PoisonError::into_inner).gone(node);
        }
        self.modify(|table| table.connected(node, connected));
    }

    /// Notes that a revision is committed, as far as this node knows.
    pub fn committed(&self, revision: Revision) {
        let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        delays.committed(Instant::now(), revision);
    }

    /// Takes in what engines of a data plane report.
    pub fn engines(&self, node: NodeId, mut reports: Vec<EngineReport>) {
        let now = Instant::now();
        for report in &mut reports {
            let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
            delay::record(report.engine, &delays.answered(now, node, report));
            let took = delays.took(node, report);
            report.ack_latency_us = took.and_then(|took| took.as_micros().try_into().ok());
        }
        self.modify(|table| table.engines(node, reports));
    }

    /// Takes in what a data plane says of the addresses that are announced.
    pub fn addresses(&self, node: NodeId, addresses: Vec<AddressReport>) {
        self.modify(|table| table.addresses(node, addresses));
    }

    /// Takes in the whole reports of the data planes that are connected to a peer.
    pub fn peer(&self, peer: NodeId, reports: Vec<NodeReport>) {
        self.modify(|table| {
            let take = |changed, report| table.take_from_peer(peer, report) || changed;
            reports.into_iter().fold(false, take)
        });
    }

    /// Notes that a peer is connected.
    pub fn peer_reached(&self, peer: NodeId) {
        self.modify(|table| table.peer_reached(peer));
    }

    /// Notes that a peer is out of reach, and with it the data planes connected to it.
    pub fn peer_lost(&self, peer: NodeId) {
        self.modify(|table| table.peer_lost(peer));
    }

    /// Tells listeners of every row that changes, until it is dropped.
    pub async fn announce(self, events: broadcast::Sender<Event>) -> anyhow::Result<()> {
        let mut table = self.subscribe();
        let mut told: Vec<NodeReport> = Vec::new();
        loop {
            let present = table.borrow_and_update().reports();
            for report in present.iter().filter(|report| !told.contains(report)) {
                // Nobody listening is no error.
                let _ = events.send(Event::Ack(report.clone()));
            }
            told = present;
            table.changed().await?;
        }
    }

    fn modify(&self, change: impl FnOnce(&mut Table) -> bool) {
        self.table.send_if_modified(change);
    }
}

#[cfg(test)]
mod tests {
    use model::{AckState, Engine};

    use super::*;

    fn applied(revision: u64) -> Vec<EngineReport> {
        let report = |engine| EngineReport::new(engine, Revision(revision), AckState::Applied);
        Engine::ALL.map(report).to_vec()
    }

    #[tokio::test]
    async fn waiting_ends_with_the_last_answer_and_names_who_is_missing_otherwise() {
        let ledger = Ledger::default();
        let nodes: BTreeSet<NodeId> = [NodeId(1), NodeId(2)].into();
        ledger.expect(nodes.clone(), &nodes);
        ledger.connected(NodeId(1), true);
        ledger.connected(NodeId(2), true);
        ledger.engines(NodeId(1), applied(5));

        let late = ledger.wait_for(Revision(5), Duration::from_millis(20)).await;
        assert!(!late.complete);
        assert_eq!(late.missing, [NodeId(2)]);

        let waiting = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.wait_for(Revision(5), Duration::from_secs(30)).await }
        });
        tokio::task::yield_now().await;
        ledger.engines(NodeId(2), applied(7));
        assert!(waiting.await.unwrap().complete);
    }
}
