//! Limits that the nodes of a cluster share (`scope: Cluster`): what is said of them, and how one is
//! shared out (pure).
//!
//! Each node tells each second what it let through and whether it had to hold something back; the
//! leader shares the limit out by that, and lends each node its share for a while.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{cluster::NodeId, flow::Direction, key::ObjectKey};

/// A limit: that of a policy for a listener, in a direction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShareKey {
    /// The policy.
    pub policy: ObjectKey,
    /// The listener.
    pub listener: ObjectKey,
    /// The direction.
    pub direction: Direction,
}

/// A loan of shares: what a leader lent at a time. A node tells by it what it has heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoanId {
    /// The leader's time in office, by a random number.
    pub office: u64,
    /// Counts its loans.
    pub number: u64,
}

/// What a node says of all limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uses {
    /// The loan that it has heard of last.
    pub loan: Option<LoanId>,
    /// One a limit.
    pub uses: Vec<ShareUse>,
}

/// What a node says of a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareUse {
    /// Which limit.
    #[serde(flatten)]
    pub key: ShareKey,
    /// What it let through, in bytes a second.
    pub used: u64,
    /// Whether it had to hold something back.
    pub wants_more: bool,
    /// The share in force there, in bytes a second.
    pub share: u64,
}

/// A node's share of a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Which limit.
    #[serde(flatten)]
    pub key: ShareKey,
    /// The share in bytes a second.
    pub bytes_per_s: u64,
    /// What is left of it when nothing is heard for the length of the loan.
    pub alone: u64,
}

/// What a node asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// What it lets through, in bytes a second.
    pub used: u64,
    /// Whether it has to hold something back.
    pub wants_more: bool,
}

/// One of so many parts of an even share is a node's whatever it asks for, so that traffic that comes
/// to it gets through while its share grows.
const FLOOR_PART: u64 = 10;
/// What a node is left to grow by before it is seen, in percent of what it uses.
const HEADROOM_PERCENT: u64 = 150;

/// Returns the share of a node that has heard of none: a tenth, so that a few that start at a time do
/// not exceed the limit.
#[must_use]
pub const fn unheard(limit: u64) -> u64 {
    least(limit / 10)
}

/// Returns the share of a node that hears of no other.
#[must_use]
pub const fn even(limit: u64, nodes: usize) -> u64 {
    least(limit / if nodes == 0 { 1 } else { nodes as u64 })
}

/// No share is nothing: a limit of zero is none.
const fn least(share: u64) -> u64 {
    if share == 0 { 1 } else { share }
}

/// Shares a limit out: who needs less than an even share gets that and some room; the others share the
/// rest evenly. Where nobody has to hold anything back, all share the rest.
#[must_use]
pub fn allocate(limit: u64, demands: &BTreeMap<NodeId, Demand>) -> BTreeMap<NodeId, u64> {
    let nodes = demands.len() as u64;
    if nodes == 0 {
        return BTreeMap::new();
    }
    let floor = limit / nodes / FLOOR_PART;
    let scarce = demands.values().any(|demand| demand.wants_more);
    // What a node gets at most; without a bound for those who want more.
    let wanted = |demand: &Demand| {
        let enough = (demand.used.saturating_mul(HEADROOM_PERCENT) / 100).max(floor);
        (scarce && !demand.wants_more).then_some(enough)
    };
    // The least wishes first: what they leave of an even share is for the others.
    let mut order: Vec<(u64, NodeId)> =
        demands.iter().map(|(node, demand)| (wanted(demand).unwrap_or(u64::MAX), *node)).collect();
    order.sort_unstable();
    let (mut left, mut others) = (limit, nodes);
    let mut shares = BTreeMap::new();
    for (wanted, node) in order {
        let share = wanted.min(left / others);
        left -= share;
        others -= 1;
        shares.insert(node, share);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1_000_000;

    fn shares(demands: &[(u64, bool)]) -> Vec<u64> {
        let demands = (1..)
            .zip(demands)
            .map(|(node, (used, wants_more))| {
                (NodeId(node), Demand { used: *used, wants_more: *wants_more })
            })
            .collect();
        allocate(LIMIT, &demands).into_values().collect()
    }

    #[test]
    fn who_wants_more_gets_what_others_do_not_need() {
        assert_eq!(shares(&[(0, false), (0, false)]), [500_000, 500_000]);
        // An idle node keeps a tenth of its even share.
        assert_eq!(shares(&[(300_000, true), (0, false)]), [950_000, 50_000]);
        // One that uses some has room to grow.
        assert_eq!(shares(&[(300_000, true), (100_000, false)]), [850_000, 150_000]);
        assert_eq!(shares(&[(300_000, true), (100_000, true)]), [500_000, 500_000]);
        // Nobody gets more than an even share of what is left by wishing.
        assert_eq!(shares(&[(300_000, true), (600_000, false)]), [500_000, 500_000]);
        assert_eq!(shares(&[]), Vec::<u64>::new());
    }

    proptest::proptest! {
        #[test]
        fn shares_are_the_limit_together_and_none_is_below_its_floor(
            limit in 1_u64..=12_500_000_000,
            demands in proptest::collection::btree_map(
                1_u64..100, (0_u64..=12_500_000_000, proptest::bool::ANY), 1..20),
        ) {
            let demands: BTreeMap<NodeId, Demand> = demands
                .into_iter()
                .map(|(node, (used, wants_more))| (NodeId(node), Demand { used, wants_more }))
                .collect();
            let shares = allocate(limit, &demands);
            let nodes = demands.len() as u64;
            let sum: u64 = shares.values().sum();
            proptest::prop_assert_eq!(shares.len(), demands.len());
            proptest::prop_assert!(sum <= limit);
            let scarce = demands.values().any(|demand| demand.wants_more);
            if !scarce || demands.values().all(|demand| demand.wants_more) {
                proptest::prop_assert!(sum + nodes > limit, "{sum} of {limit}");
            }
            for (node, share) in &shares {
                proptest::prop_assert!(*share >= limit / nodes / FLOOR_PART);
                if demands[node].wants_more {
                    proptest::prop_assert!(*share >= limit / nodes, "less than an even share");
                }
            }
        }
    }
}
