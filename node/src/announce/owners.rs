//! The leader's judgement: which node each address falls to (pure but for memory of when).
//!
//! An address falls to a fit node by rendezvous hashing. A node that has just become fit takes
//! nothing from an owner that is fit until it has been so for [`PROVE`]; an owner that is out of
//! reach keeps its addresses for [`GONE_AFTER`], while its data plane may only be starting again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use model::{
    ack::NodeReport,
    announce::{Owners, falls_to},
    cluster::NodeId,
};
use tokio::time::Instant;

/// How long a node must have been fit before it takes an address from another fit one: a node that
/// comes and goes moves nothing.
const PROVE: Duration = Duration::from_secs(10);
/// How long an owner may be out of reach: the restart of a process takes a second or two.
const GONE_AFTER: Duration = Duration::from_secs(3);

/// What the leader remembers.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// Since when a node has been fit for an address.
    fit: BTreeMap<(IpAddr, NodeId), Instant>,
    /// Since when an owner has been out of reach.
    gone: BTreeMap<NodeId, Instant>,
}

impl Judge {
    /// Returns who should have each address; one that no node is fit for is nobody's.
    pub(super) fn assign(
        &mut self,
        wanted: &BTreeSet<IpAddr>,
        present: &Owners,
        reports: &[NodeReport],
        now: Instant,
    ) -> Owners {
        let reached: BTreeMap<NodeId, &NodeReport> = reports
            .iter()
            .filter(|report| report.connected)
            .map(|report| (report.node, report))
            .collect();
        let fit: BTreeSet<(IpAddr, NodeId)> = reached
            .values()
            .flat_map(|report| report.addresses.iter().map(|address| (report.node, address)))
            .filter(|(_, address)| address.is_fit())
            .map(|(node, address)| (address.address, node))
            .collect();
        self.fit.retain(|pair, _| fit.contains(pair));
        for pair in &fit {
            self.fit.entry(*pair).or_insert(now);
        }
        self.gone.retain(|node, _| !reached.contains_key(node));
        for node in present.values().filter(|node| !reached.contains_key(node)) {
            self.gone.entry(*node).or_insert(now);
        }
        let owner = |address: &IpAddr| Some((*address, self.owner(*address, present, now)?));
        wanted.iter().filter_map(owner).collect()
    }

    fn owner(&self, address: IpAddr, present: &Owners, now: Instant) -> Option<NodeId> {
        let before = present.get(&address).copied();
        if let Some(since) = before.and_then(|node| self.gone.get(&node))
            && now.duration_since(*since) < GONE_AFTER
        {
            return before;
        }
        let nodes = || self.fit.range((address, NodeId(0))..=(address, NodeId(u64::MAX)));
        let proven = nodes()
            .filter(|((_, node), since)| {
                before == Some(*node) || now.duration_since(**since) >= PROVE
            })
            .map(|((_, node), _)| *node);
        falls_to(address, proven).or_else(|| falls_to(address, nodes().map(|((_, node), _)| *node)))
    }
}

#[cfg(test)]
mod tests {
    use model::announce::{AddressReport, AddressState};

    use super::*;

    fn at(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    /// Says of some nodes that they are fit for ten addresses, and of others that they are not.
    fn reports(fit: &[u64], unfit: &[u64]) -> Vec<NodeReport> {
        let report = |node: &u64, state: AddressState| NodeReport {
            node: NodeId(*node),
            connected: true,
            engines: Vec::new(),
            addresses: (0..10)
                .map(|n| AddressReport { address: at(n), state: state.clone() })
                .collect(),
        };
        let yes = AddressState::Fit { interface: "eth0".into() };
        let no = AddressState::Unfit { reason: "eth0 has no carrier".into() };
        fit.iter()
            .map(|node| report(node, yes.clone()))
            .chain(unfit.iter().map(|node| report(node, no.clone())))
            .collect()
    }

    struct Cluster {
        judge: Judge,
        owners: Owners,
        start: Instant,
    }

    impl Cluster {
        fn new() -> Self {
            Self { judge: Judge::default(), owners: Owners::new(), start: Instant::now() }
        }

        fn at(&mut self, ms: u64, reports: &[NodeReport]) -> &Owners {
            let wanted = (0..10).map(at).collect();
            let now = self.start + Duration::from_millis(ms);
            self.owners = self.judge.assign(&wanted, &self.owners, reports, now);
            &self.owners
        }

        fn of(&self, node: u64) -> usize {
            self.owners.values().filter(|owner| **owner == NodeId(node)).count()
        }
    }

    #[test]
    fn every_address_has_one_fit_owner_and_none_when_no_node_is_fit() {
        let mut cluster = Cluster::new();
        assert!(cluster.at(0, &[]).is_empty());
        assert!(cluster.at(1, &reports(&[], &[1, 2])).is_empty());
        assert_eq!(cluster.at(2, &reports(&[1, 2, 3], &[])).len(), 10);
        assert!([1, 2, 3].into_iter().all(|node| cluster.of(node) > 0), "{:?}", cluster.owners);
        cluster.at(3, &reports(&[1, 3], &[2]));
        assert_eq!((cluster.owners.len(), cluster.of(2)), (10, 0), "unfit counts at once");
        // An address that no listener wants announced is nobody's.
        let now = cluster.start;
        assert!(cluster.judge.assign(&[].into(), &cluster.owners, &[], now).is_empty());
    }

    #[test]
    fn an_owner_out_of_reach_keeps_its_addresses_for_a_moment() {
        let mut cluster = Cluster::new();
        let before = cluster.at(0, &reports(&[1, 2, 3], &[])).clone();
        assert_eq!(*cluster.at(1_000, &reports(&[1, 3], &[])), before);
        assert_eq!(*cluster.at(3_999, &reports(&[1, 3], &[])), before);
        // Back in time: the next absence counts from its own beginning.
        assert_eq!(*cluster.at(4_000, &reports(&[1, 2, 3], &[])), before);
        assert_eq!(*cluster.at(4_500, &reports(&[1, 3], &[])), before);
        assert_eq!(*cluster.at(7_499, &reports(&[1, 3], &[])), before);
        let after = cluster.at(7_500, &reports(&[1, 3], &[])).clone();
        assert!(after.iter().all(|(address, node)| {
            if before[address] == NodeId(2) { *node != NodeId(2) } else { *node == before[address] }
        }));
    }

    #[test]
    fn a_node_that_comes_back_takes_its_addresses_when_it_has_proved_itself() {
        let mut cluster = Cluster::new();
        let before = cluster.at(0, &reports(&[1, 2, 3], &[])).clone();
        let without = cluster.at(1_000, &reports(&[1, 3], &[2])).clone();
        assert_eq!(*cluster.at(2_000, &reports(&[1, 2, 3], &[])), without);
        assert_eq!(*cluster.at(11_999, &reports(&[1, 2, 3], &[])), without);
        assert_eq!(*cluster.at(12_000, &reports(&[1, 2, 3], &[])), before);
    }

    #[test]
    fn a_new_leader_leaves_fit_owners_alone() {
        let mut cluster = Cluster::new();
        cluster.owners = (0..10).map(|n| (at(n), NodeId(2))).collect();
        let before = cluster.owners.clone();
        assert_eq!(*cluster.at(0, &reports(&[1, 2, 3], &[])), before);
        assert_ne!(
            *cluster.at(10_000, &reports(&[1, 2, 3], &[])),
            before,
            "and spreads them later"
        );
    }
}
