//! Limits that nodes share (`scope: Cluster`): what each node says of them, and what the leader lends
//! to whom.
//!
//! ```text
//! data plane ─▶ uses ─▶ peers' streams ─▶ leader: lending (pure) ─▶ streams ─▶ each node: loan ─▶ its data plane
//! ```
//! Soft state: nothing of it goes through Raft. The leader lends only what a majority of control
//! nodes has just confirmed it to lead for, and no more in all than the limit, counting what nodes
//! have had before until they say that they use less ([`lending`]). A loan ends after [`LEASE`];
//! without one a node is left with an even share, or what it had if that is less.

mod lending;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use consensus::{Consensus, Consistency, RaftState};
use model::{
    Snapshot,
    cluster::NodeId,
    flow::Direction,
    qos_policy::LimitScope,
    shares::{ShareKey, Uses},
};
use runtime::push::ShareGrant;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use self::lending::Lending;
use crate::control::configuration::Configuration;

/// How long a node has its shares without another word. Less than that of addresses, since until it
/// ends a node that nobody hears of is in the way of the others' shares.
const LEASE: Duration = Duration::from_secs(5);
/// Between two loans: a share follows the traffic two or three of these later.
const LEND_EVERY: Duration = Duration::from_secs(1);
/// How long what a node said counts: three times what lies between two words of it.
const HEARD_WITHIN: Duration = Duration::from_secs(3);
/// How long the confirmation that this node leads may take.
const CONFIRM_WITHIN: Duration = Duration::from_millis(800);

/// What is known of shares; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares {
    /// What nodes said last.
    uses: Arc<watch::Sender<BTreeMap<NodeId, Heard>>>,
    /// What this node lends, as the leader.
    lent: Arc<watch::Sender<BTreeMap<NodeId, ShareGrant>>>,
    /// What this node was lent.
    loan: Arc<watch::Sender<Option<Loan>>>,
}

/// What a node said of limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) uses: Uses,
    pub(crate) at: Instant,
}

/// Shares that are lent to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loan {
    grant: ShareGrant,
    until: Instant,
}

impl Loan {
    /// Returns what the data plane is told, as of now.
    pub(crate) fn grant(&self) -> ShareGrant {
        let left = self.until.saturating_duration_since(Instant::now());
        // At most LEASE.
        ShareGrant { lease_ms: left.as_millis() as u64, ..self.grant.clone() }
    }
}

impl Shares {
    /// Takes in what a node says.
    pub(crate) fn used(&self, node: NodeId, uses: Uses) {
        let heard = Heard { uses, at: Instant::now() };
        self.uses.send_modify(|all| {
            all.insert(node, heard);
        });
    }

    /// Follows what nodes say.
    pub(crate) fn uses(&self) -> watch::Receiver<BTreeMap<NodeId, Heard>> {
        self.uses.subscribe()
    }

    /// Follows what this node lends, as the leader.
    pub(crate) fn lent(&self) -> watch::Receiver<BTreeMap<NodeId, ShareGrant>> {
        self.lent.subscribe()
    }

    /// Follows what this node was lent.
    pub(crate) fn loan(&self) -> watch::Receiver<Option<Loan>> {
        self.loan.subscribe()
    }

    /// Takes over what the leader lends to this node.
    pub(crate) fn lend(&self, grant: ShareGrant) {
        let until = Instant::now() + Duration::from_millis(grant.lease_ms).min(LEASE);
        self.loan.send_replace(Some(Loan { grant, until }));
    }
}

/// Lends shares while this node leads, until it is dropped.
pub(crate) async fn run(
    consensus: Consensus,
    configuration: Configuration,
    node: NodeId,
    shares: Shares,
) -> anyhow::Result<()> {
    let mut lending: Option<Lending> = None;
    let mut ticks = tokio::time::interval(LEND_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Ok(config) = configuration.read(Consistency::Stale).await else { continue };
        let limits = limits(&config);
        let lends = !limits.is_empty() && leads(&consensus).await;
        metrics::gauge!("marchproxy_qos_shared_limits").set(if lends {
            limits.len() as f64
        } else {
            0.0
        });
        if !lends {
            // Who leads next begins with what nodes say that they have.
            lending = None;
            shares.lent.send_if_modified(|lent| !std::mem::take(lent).is_empty());
            continue;
        }
        let members: BTreeSet<NodeId> =
            consensus.status().borrow().members.keys().copied().collect();
        let now = Instant::now();
        shares.uses.send_if_modified(|uses| {
            uses.retain(|node, _| members.contains(node));
            false
        });
        let uses = shares.uses.borrow().clone();
        let heard = uses.iter().filter(|(_, heard)| now.duration_since(heard.at) < HEARD_WITHIN);
        let heard = heard.map(|(node, heard)| (*node, &heard.uses)).collect();
        let lending = lending.get_or_insert_with(|| Lending::new(rand::random(), now));
        let lent = lending.lend(&limits, &members, &heard, now);
        if let Some(own) = lent.get(&node) {
            shares.lend(own.clone());
        }
        shares.lent.send_replace(lent);
    }
}

/// Tells whether this node leads, as a majority confirms.
async fn leads(consensus: &Consensus) -> bool {
    if consensus.status().borrow().state != RaftState::Leader {
        return false;
    }
    let read = consensus.read(Consistency::Linearizable);
    let confirmed = tokio::time::timeout(CONFIRM_WITHIN, read).await;
    matches!(confirmed, Ok(Ok(_))) && consensus.status().borrow().state == RaftState::Leader
}

/// Returns the limits that nodes share, in bytes a second.
fn limits(config: &Snapshot) -> BTreeMap<ShareKey, u64> {
    let mut limits = BTreeMap::new();
    let policies = config.qos_policies();
    for (key, policy) in policies.filter(|(_, it)| it.scope == LimitScope::Cluster) {
        for listener in &policy.listeners {
            let listener =
                model::ObjectKey::new(model::Kind::Listener, &listener.namespace, &listener.name);
            for (direction, limit) in
                [(Direction::In, policy.ingress), (Direction::Out, policy.egress)]
            {
                let Some(limit) = limit else { continue };
                let (policy, listener) = (key.clone(), listener.clone());
                limits.insert(ShareKey { policy, listener, direction }, limit.bytes_per_s());
            }
        }
    }
    limits
}

/// The metrics that are written here, with their meaning.
pub(crate) fn describe() {
    metrics::describe_gauge!(
        "marchproxy_qos_shared_limits",
        metrics::Unit::Count,
        "Limits that this node, as the leader, shares out between nodes"
    );
}
