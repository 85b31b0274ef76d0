//! Members in one process, each with its own directory, port and certificate.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus::disk::Disk;
use consensus::{
    Committed, Consensus, Consistency, NodeAddresses, NodeId, Op, Options, RaftStatus, RequestId,
    Revision, Transaction, Tuning, View,
};
use tempfile::TempDir;

use crate::certificates::Authority;

/// Longer than any step takes on a busy machine; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Cluster {
    pub(crate) authority: Authority,
    pub(crate) folder: TempDir,
    pub(crate) tuning: Tuning,
    pub(crate) disks: BTreeMap<u64, Arc<dyn Disk>>,
    addresses: BTreeMap<u64, NodeAddresses>,
    running: BTreeMap<u64, Consensus>,
}

impl Cluster {
    /// Prepares `count` nodes; none runs.
    pub(crate) fn new(count: u64) -> Self {
        let addresses = (1..=count).map(|id| (id, free_addresses(id))).collect();
        let tuning = Tuning { segment_bytes: 1024 * 1024, ..Tuning::default() };
        Self {
            authority: Authority::new(),
            folder: tempfile::tempdir().unwrap(),
            tuning,
            disks: BTreeMap::new(),
            addresses,
            running: BTreeMap::new(),
        }
    }

    /// Gives a further node its addresses; it does not run yet.
    pub(crate) fn prepare(&mut self, id: u64) {
        self.addresses.insert(id, free_addresses(id));
    }

    /// Starts `count` nodes that are voters of one cluster.
    pub(crate) async fn formed(count: u64) -> Self {
        Self::new(count).form().await
    }

    /// Starts all nodes and makes them the voters of one cluster.
    pub(crate) async fn form(mut self) -> Self {
        for id in self.addresses.keys().copied().collect::<Vec<_>>() {
            self.start(id).await;
        }
        let members = self.addresses.iter().map(|(id, a)| (NodeId(*id), a.clone())).collect();
        self.node(1).initialize(members).await.unwrap();
        self.leader().await;
        self
    }

    pub(crate) fn dir(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("node-{id}"))
    }

    pub(crate) fn addresses(&self, id: u64) -> NodeAddresses {
        self.addresses[&id].clone()
    }

    pub(crate) fn options(&self, id: u64) -> Options {
        let tls = self.authority.tls(NodeId(id));
        let raft = self.addresses[&id].raft;
        let mut options = Options::new(NodeId(id), "c0ffee", self.dir(id), raft, tls);
        options.tuning = self.tuning;
        if let Some(disk) = self.disks.get(&id) {
            options.disk = disk.clone();
        }
        options
    }

    pub(crate) async fn start(&mut self, id: u64) -> &Consensus {
        let node = Consensus::start(self.options(id)).await.unwrap();
        self.running.insert(id, node);
        self.node(id)
    }

    pub(crate) async fn stop(&mut self, id: u64) {
        self.running.remove(&id).unwrap().shutdown().await;
    }

    pub(crate) async fn stop_all(&mut self) {
        for id in self.running.keys().copied().collect::<Vec<_>>() {
            self.stop(id).await;
        }
    }

    pub(crate) fn node(&self, id: u64) -> &Consensus {
        &self.running[&id]
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Consensus> {
        self.running.values()
    }

    /// Waits until all running nodes know the same running leader.
    pub(crate) async fn leader(&self) -> u64 {
        let first = self.nodes().next().unwrap();
        let mut leader = 0;
        for node in std::iter::once(first).chain(self.nodes()) {
            let running =
                |s: &RaftStatus| s.leader.is_some_and(|l| self.running.contains_key(&l.0));
            leader = wait_status(node, running).await.leader.unwrap().0;
        }
        leader
    }

    /// A running node that does not lead.
    pub(crate) async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        *self.running.keys().find(|id| **id != leader).unwrap()
    }
}

/// Waits until a node's status is as wanted.
pub(crate) async fn wait_status(
    node: &Consensus,
    want: impl Fn(&RaftStatus) -> bool,
) -> RaftStatus {
    let mut status = node.status();
    let last = status.clone();
    let wanted = status.wait_for(want);
    let reached = tokio::time::timeout(PATIENCE, wanted).await;
    let reached = reached.unwrap_or_else(|_| panic!("status stays {:?}", *last.borrow()));
    reached.unwrap().clone()
}

/// Waits until a condition holds.
pub(crate) async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Op {
    Op::Put { key: key.into(), value: value.into() }
}

pub(crate) fn transaction(ops: Vec<Op>) -> Transaction {
    Transaction {
        request: RequestId::random(),
        actor: "tester".to_owned(),
        message: "because".to_owned(),
        compare: vec![],
        ops,
    }
}

/// Writes one key, retrying under the same id while the outcome is not known.
pub(crate) async fn write(node: &Consensus, key: &str, value: &str) -> Committed {
    let transaction = transaction(vec![put(key, value.to_owned())]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match node.propose(transaction.clone()).await {
            Ok(committed) => return committed,
            Err(error) => assert!(Instant::now() < deadline, "cannot write: {error}"),
        }
    }
}

/// Reads what is there when every write so far is applied.
pub(crate) async fn read(node: &Consensus) -> View {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match node.read(Consistency::Linearizable).await {
            Ok(view) => return view,
            Err(error) => assert!(Instant::now() < deadline, "cannot read: {error}"),
        }
    }
}

/// All keys and values, to compare nodes by.
pub(crate) fn contents(view: &View) -> BTreeMap<String, (Bytes, Revision, Revision, u64)> {
    let item = |(key, v): (&str, &consensus::Versioned)| {
        (key.to_owned(), (v.value.clone(), v.mod_revision, v.create_revision, v.time_ms))
    };
    view.scan("").map(item).collect()
}

pub(crate) fn value(view: &View, key: &str) -> Option<String> {
    view.get(key).map(|v| String::from_utf8(v.value.to_vec()).unwrap())
}

fn free_addresses(id: u64) -> NodeAddresses {
    let free = || -> SocketAddr { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let name = format!("node-{id}");
    NodeAddresses { name, api: free(), raft: free(), push: free(), zone: String::new() }
}
