//! Shares follow demand, and together never exceed the limit, whatever is lost on the way.

use model::flow::Direction;
use proptest::prelude::*;

use super::*;

const LIMIT: u64 = 900_000;

fn key() -> ShareKey {
    ShareKey {
        policy: "QoSPolicy/default/gold".parse().unwrap(),
        listener: "Listener/default/web".parse().unwrap(),
        direction: Direction::In,
    }
}

/// A node as its data plane is.
#[derive(Clone, Debug)]
struct Plane {
    offered: u64,
    share: u64,
    alone: u64,
    until: Instant,
    loan: Option<LoanId>,
}

impl Plane {
    fn in_force(&self, now: Instant) -> u64 {
        if now < self.until { self.share } else { self.share.min(self.alone) }
    }

    fn says(&self, now: Instant) -> Uses {
        let share = self.in_force(now);
        let (used, wants_more) = (self.offered.min(share), self.offered > share);
        let uses = vec![ShareUse { key: key(), used, wants_more, share }];
        Uses { loan: self.loan, uses }
    }

    fn hears(&mut self, grant: &ShareGrant, now: Instant) {
        self.loan = Some(grant.loan);
        self.until = now + Duration::from_millis(grant.lease_ms);
        (self.share, self.alone) = (grant.shares[0].bytes_per_s, grant.shares[0].alone);
    }
}

struct Cluster {
    lending: Lending,
    planes: BTreeMap<NodeId, Plane>,
    /// What was said and lent a second before, for those who hear late.
    said: BTreeMap<NodeId, Uses>,
    lent: BTreeMap<NodeId, ShareGrant>,
    now: Instant,
}

impl Cluster {
    fn new(nodes: u64) -> Self {
        let now = Instant::now();
        let share = model::shares::unheard(LIMIT);
        let plane = Plane { offered: 0, share, alone: share, until: now, loan: None };
        Self {
            lending: Lending::new(7, now),
            planes: (1..=nodes).map(|node| (NodeId(node), plane.clone())).collect(),
            said: BTreeMap::new(),
            lent: BTreeMap::new(),
            now,
        }
    }

    fn offer(&mut self, offered: &[u64]) {
        for (plane, offered) in self.planes.values_mut().zip(offered) {
            plane.offered = *offered;
        }
    }

    /// Lets a second pass; `links` says of each node whether it is cut off, or hears and is heard late.
    fn pass(&mut self, links: &[Link]) {
        self.now += Duration::from_secs(1);
        let link = |node: &NodeId| links.get(node.0 as usize - 1).copied().unwrap_or(Link::Good);
        let says: BTreeMap<NodeId, Uses> =
            self.planes.iter().map(|(node, plane)| (*node, plane.says(self.now))).collect();
        let heard: BTreeMap<NodeId, &Uses> = says
            .iter()
            .filter_map(|(node, uses)| match link(node) {
                Link::Good => Some((*node, uses)),
                Link::Late => Some((*node, self.said.get(node)?)),
                Link::Cut => None,
            })
            .collect();
        let members = self.planes.keys().copied().collect();
        let lent = self.lending.lend(&[(key(), LIMIT)].into(), &members, &heard, self.now);
        for (node, plane) in &mut self.planes {
            let grant = match link(node) {
                Link::Good => lent.get(node),
                Link::Late => self.lent.get(node),
                Link::Cut => None,
            };
            if let Some(grant) = grant {
                plane.hears(grant, self.now);
            }
        }
        (self.said, self.lent) = (says, lent);
    }

    fn in_force(&self) -> Vec<u64> {
        self.planes.values().map(|plane| plane.in_force(self.now)).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Good,
    Late,
    Cut,
}

#[test]
fn shares_follow_the_traffic_within_seconds() {
    let mut cluster = Cluster::new(3);
    cluster.offer(&[2_000_000, 0, 0]);
    (0..12).for_each(|_| cluster.pass(&[]));
    assert_eq!(cluster.in_force(), [840_000, 30_000, 30_000]);
    cluster.offer(&[0, 2_000_000, 0]);
    (0..5).for_each(|_| cluster.pass(&[]));
    assert_eq!(cluster.in_force(), [30_000, 840_000, 30_000]);
    cluster.offer(&[2_000_000, 2_000_000, 2_000_000]);
    (0..5).for_each(|_| cluster.pass(&[]));
    assert_eq!(cluster.in_force(), [300_000; 3]);
}

#[test]
fn a_node_out_of_reach_keeps_an_even_share_and_then_none_is_kept_for_it() {
    let mut cluster = Cluster::new(3);
    cluster.offer(&[2_000_000, 0, 0]);
    (0..12).for_each(|_| cluster.pass(&[]));
    let cut = [Link::Cut, Link::Good, Link::Good];
    cluster.offer(&[2_000_000, 2_000_000, 0]);
    (0..4).for_each(|_| cluster.pass(&cut));
    assert_eq!(cluster.in_force()[0], 840_000, "its loan goes on");
    let others: u64 = cluster.in_force()[1..].iter().sum();
    assert_eq!(others, 60_000, "what it has is nobody else's");
    (0..6).for_each(|_| cluster.pass(&cut));
    assert_eq!(cluster.in_force(), [300_000, 570_000, 30_000]);
    (0..60).for_each(|_| cluster.pass(&cut));
    // The bound: it may go on with its even share beyond the limit.
    assert_eq!(cluster.in_force(), [300_000, 855_000, 45_000]);
}

#[test]
fn a_new_leader_lends_nobody_more_before_old_loans_have_ended() {
    let mut cluster = Cluster::new(3);
    cluster.offer(&[2_000_000, 0, 0]);
    (0..12).for_each(|_| cluster.pass(&[]));
    cluster.lending = Lending::new(8, cluster.now);
    cluster.offer(&[0, 2_000_000, 0]);
    (0..4).for_each(|_| cluster.pass(&[Link::Cut, Link::Good, Link::Good]));
    assert_eq!(cluster.in_force()[1..], [30_000; 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn shares_in_force_are_together_no_more_than_the_limit(
        nodes in 2_u64..6,
        seconds in proptest::collection::vec(
            (
                proptest::collection::vec(0_u64..2_000_000, 5),
                proptest::collection::vec(0_u8..10, 5),
                proptest::bool::weighted(0.3),
            ),
            1..50,
        ),
    ) {
        let mut cluster = Cluster::new(nodes);
        for (offered, links, changes) in seconds {
            if changes {
                cluster.offer(&offered);
            }
            let links: Vec<Link> = links
                .into_iter()
                .map(|it| match it {
                    0..2 => Link::Cut,
                    2..4 => Link::Late,
                    _ => Link::Good,
                })
                .collect();
            cluster.pass(&links);
            let in_force: u64 = cluster.in_force().iter().sum();
            prop_assert!(in_force <= LIMIT + nodes, "{:?}", cluster.in_force());
        }
    }
}
