//! Limits of requests that all nodes count together: each is counted by one control node, its owner.
//!
//! ```text
//! data plane ─▶ its control node ─▶ the owner's control node      asks: so many, so much used
//!            ◀─                  ◀─                               leases: so many for half a second
//! ```
//! Soft state: nothing of it goes through Raft. The owner of a limit (of a value of it) follows from the
//! nodes that can be reached ([`ring`]). A node that reaches no majority owns nothing and knows of no
//! owner: its data planes use their own shares.

mod link;
mod ring;
mod serve;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use consensus::Consensus;
use model::{
    cluster::NodeId,
    quotas::{Answer, Ask, Owner, QuotaKey, Said},
};
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use link::keep;
pub(crate) use serve::{Peer, serve};

/// Batches on their way to an owner; beyond, asks count as unanswered.
const FORWARDED_MAX: usize = 256;

/// What this node knows of limits; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Quotas(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: NodeId,
    began: Instant,
    owner: Mutex<Owner>,
    /// The other nodes that can be asked.
    links: watch::Sender<BTreeMap<NodeId, mpsc::Sender<Forward>>>,
}

/// Asks for an owner, with where the answers go.
#[derive(Debug)]
struct Forward {
    /// Whose data plane asks.
    node: NodeId,
    asks: Vec<Ask>,
    answers: oneshot::Sender<Vec<Answer>>,
}

/// Who owns a key.
#[derive(Clone, Debug)]
enum Owned {
    Here,
    By(NodeId, mpsc::Sender<Forward>),
    Nobody,
}

impl Quotas {
    /// Begins with no other node in reach.
    pub(crate) fn new(node: NodeId) -> Self {
        let owner = Mutex::new(Owner::new(rand::random()));
        let links = watch::Sender::default();
        Self(Arc::new(Inner { node, began: Instant::now(), owner, links }))
    }

    fn now(&self) -> Duration {
        self.0.began.elapsed()
    }

    fn owner(&self) -> MutexGuard<'_, Owner> {
        // Nothing in there leaves anything half done.
        self.0.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells who owns a key, of a cluster of so many members.
    fn owned(&self, key: QuotaKey, members: usize) -> Owned {
        let links = self.0.links.borrow();
        if (links.len() + 1) * 2 <= members {
            return Owned::Nobody;
        }
        let here = self.0.node;
        let nodes = links.keys().copied().chain([here]);
        match ring::owner(key, nodes).and_then(|owner| Some((owner, links.get(&owner)?))) {
            Some((owner, link)) => Owned::By(owner, link.clone()),
            None => Owned::Here,
        }
    }

    /// Answers as the owner.
    fn answer(&self, node: NodeId, asks: &[Ask]) -> Vec<Answer> {
        let now = self.now();
        let mut owner = self.owner();
        let answers: Vec<Answer> = asks.iter().map(|ask| owner.answer(node, ask, now)).collect();
        let granted = answers.iter().map(|answer| match answer.said {
            Said::Leased { granted, .. } => u64::from(granted),
            Said::Alone => 0,
        });
        metrics::counter!("marchproxy_quota_leased_total").increment(granted.sum());
        metrics::gauge!("marchproxy_quota_owned_keys").set(owner.keys() as f64);
        answers
    }
}

/// Says that an owner is out of reach.
fn alone(keys: Vec<QuotaKey>) -> Vec<Answer> {
    metrics::counter!("marchproxy_quota_unanswered_total").increment(keys.len() as u64);
    keys.into_iter().map(|key| Answer { key, said: Said::Alone }).collect()
}

/// Returns how many members the cluster has.
fn members(consensus: &Consensus) -> usize {
    consensus.status().borrow().members.len()
}

/// The metrics that are written here, with their meaning.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!(
        "marchproxy_quota_leased_total",
        Unit::Count,
        "Requests that this node, as the owner of limits, leased to nodes"
    );
    describe_counter!(
        "marchproxy_quota_unanswered_total",
        Unit::Count,
        "Asks of data planes for which no owner was in reach"
    );
    describe_gauge!(
        "marchproxy_quota_owned_keys",
        Unit::Count,
        "Limits of all nodes together, and values of them, that this node counts"
    );
}
