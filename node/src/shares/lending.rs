//! What the leader lends to whom (pure but for memory of what it has lent).
//!
//! **Invariant.** What nodes may use of a limit is together no more than the limit, while they hear of
//! one leader: a share grows only by what others say that they no longer use. A node that has not been
//! heard of may use what it was lent until the loan has ended, an even share at most until it counts as
//! gone, and nothing from then on; if it forwards still, what it lets through is beyond the limit.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use model::{
    cluster::NodeId,
    shares::{Demand, LoanId, Share, ShareKey, ShareUse, Uses, allocate, even},
};
use runtime::push::ShareGrant;
use tokio::time::Instant;

use super::LEASE;

/// How long a node that is not heard of is left its even share.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// How long after its beginning a leader lends nobody more: a node that it has not heard of may have
/// been lent anything by the leader before.
const SETTLE: Duration = LEASE;
/// What a loan may be under way, with the second at most in which a node sees that it has ended.
const UNDER_WAY: Duration = Duration::from_secs(2);
/// Changes of less than this part of a share wait: each is a new configuration of its node.
const NOTICED: u64 = 16;

/// What is lent.
#[derive(Debug)]
pub(super) struct Lending {
    began: Instant,
    loan: LoanId,
    lent: BTreeMap<ShareKey, BTreeMap<NodeId, Lent>>,
    /// When a node was heard of last.
    heard: BTreeMap<NodeId, Instant>,
}

/// What a node was lent of a limit.
#[derive(Clone, Copy, Debug)]
struct Lent {
    share: u64,
    /// The most that it may be using: until it has heard of a lower share, the one before.
    most: u64,
    /// The number of the loan that it changed with.
    changed: u64,
}

impl Lending {
    /// Begins to lead.
    pub(super) fn new(office: u64, now: Instant) -> Self {
        let loan = LoanId { office, number: 0 };
        Self { began: now, loan, lent: BTreeMap::new(), heard: BTreeMap::new() }
    }

    /// Returns what each node that was heard of is lent.
    pub(super) fn lend(
        &mut self,
        limits: &BTreeMap<ShareKey, u64>,
        members: &BTreeSet<NodeId>,
        heard: &BTreeMap<NodeId, &Uses>,
        now: Instant,
    ) -> BTreeMap<NodeId, ShareGrant> {
        self.heard.retain(|node, _| members.contains(node));
        self.heard.extend(heard.keys().map(|node| (*node, now)));
        self.lent.retain(|key, _| limits.contains_key(key));
        self.loan.number += 1;
        let lease_ms = LEASE.as_millis() as u64;
        let none = ShareGrant { loan: self.loan, shares: Vec::new(), lease_ms };
        let mut all: BTreeMap<NodeId, ShareGrant> =
            heard.keys().map(|node| (*node, none.clone())).collect();
        for (key, limit) in limits {
            let away = members.iter().filter(|node| !heard.contains_key(node));
            let reserved = away.map(|node| self.reserved(key, *node, *limit, members.len(), now));
            let reserved = reserved.fold(0, u64::saturating_add);
            let alone = even(*limit, members.len());
            for (node, share) in self.share_out(key, limit.saturating_sub(reserved), heard, now) {
                let share = Share { key: key.clone(), bytes_per_s: share, alone: share.min(alone) };
                all.entry(node).and_modify(|grant| grant.shares.push(share));
            }
        }
        all
    }

    /// Returns what a node may be using that is not heard of.
    fn reserved(
        &self,
        key: &ShareKey,
        node: NodeId,
        limit: u64,
        members: usize,
        now: Instant,
    ) -> u64 {
        let lent = self.lent.get(key).and_then(|lent| lent.get(&node)).map(|lent| lent.most);
        let silent = now.duration_since(self.heard.get(&node).copied().unwrap_or(self.began));
        let even = even(limit, members);
        match lent {
            Some(lent) if silent < LEASE + UNDER_WAY => lent,
            _ if silent < GONE_AFTER => lent.map_or(even, |lent| lent.min(even)),
            _ => 0,
        }
    }

    /// Shares out what is there between the nodes that were heard of, and have the limit.
    fn share_out(
        &mut self,
        key: &ShareKey,
        limit: u64,
        heard: &BTreeMap<NodeId, &Uses>,
        now: Instant,
    ) -> BTreeMap<NodeId, u64> {
        let uses: BTreeMap<NodeId, &ShareUse> = heard
            .iter()
            .filter_map(|(node, uses)| Some((*node, uses.uses.iter().find(|it| it.key == *key)?)))
            .collect();
        let demands = uses
            .iter()
            .map(|(node, it)| (*node, Demand { used: it.used, wants_more: it.wants_more }))
            .collect();
        let wanted = allocate(limit, &demands);
        let lent = self.lent.entry(key.clone()).or_default();
        for (node, it) in &uses {
            // One that was lent nothing by this leader has what it says.
            let lent =
                lent.entry(*node).or_insert(Lent { share: it.share, most: it.share, changed: 0 });
            let knows =
                |loan: LoanId| loan.office == self.loan.office && loan.number >= lent.changed;
            if heard[node].loan.is_some_and(knows) {
                lent.most = lent.share;
            }
        }
        let in_use: u64 = uses.keys().map(|node| lent[node].most).fold(0, u64::saturating_add);
        let exceeded = in_use > limit;
        let mut free = limit.saturating_sub(in_use);
        if now.duration_since(self.began) < SETTLE {
            free = 0;
        }
        let mut shares = BTreeMap::new();
        for node in uses.keys() {
            let lent = lent.get_mut(node).expect("entered above");
            let mut wanted = wanted[node];
            if !exceeded && wanted.abs_diff(lent.share) < lent.share / NOTICED {
                wanted = lent.share;
            }
            let share = if wanted > lent.share {
                // Up to what it had before nothing new is needed.
                let more = wanted.saturating_sub(lent.most).min(free);
                free -= more;
                wanted.min(lent.most + more)
            } else {
                wanted
            };
            // No share is nothing: a limit of zero is none.
            let share = share.max(1);
            if share != lent.share {
                lent.changed = self.loan.number;
            }
            lent.share = share;
            lent.most = lent.most.max(share);
            shares.insert(*node, share);
        }
        shares
    }
}

#[cfg(test)]
#[path = "lending/tests.rs"]
mod tests;
