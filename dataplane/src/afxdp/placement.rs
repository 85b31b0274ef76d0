//! Which NUMA node and which CPUs a queue's worker has (pure).
//!
//! The node is the interface's, else that of the queue's interrupt, else the one with the fewest
//! workers. Of its CPUs, a worker leaves those out that the interrupt falls on, where others are
//! left: XDP runs there.

use std::collections::{BTreeMap, BTreeSet};

/// The NUMA nodes that have CPUs, with these.
pub type Topology = BTreeMap<u32, BTreeSet<usize>>;

/// An interface whose queues want workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nic {
    /// Its name.
    pub interface: String,
    /// The node that it is on, where the kernel tells.
    pub node: Option<u32>,
    /// The CPUs that the interrupt of each queue falls on; empty where the kernel does not tell.
    pub queues: Vec<BTreeSet<usize>>,
}

/// A worker's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post {
    /// The interface.
    pub interface: String,
    /// The queue.
    pub queue: u32,
    /// The node for its memory; `None` where there is one only.
    pub node: Option<u32>,
    /// The CPUs that it may run on.
    pub cpus: BTreeSet<usize>,
    /// The CPUs of another node that the queue's interrupt falls on: each packet crosses over.
    pub astray: BTreeSet<usize>,
}

/// Places a worker for each queue.
#[must_use]
pub fn place(topology: &Topology, nics: &[Nic]) -> Vec<Post> {
    let mut workers: BTreeMap<u32, usize> = topology.keys().map(|node| (*node, 0)).collect();
    let mut posts = Vec::new();
    for nic in nics {
        for (queue, interrupt) in (0..).zip(&nic.queues) {
            let of_interrupt = || {
                topology
                    .iter()
                    .find(|(_, cpus)| !cpus.is_disjoint(interrupt))
                    .map(|(node, _)| *node)
            };
            let fewest = || workers.iter().min_by_key(|(_, count)| **count).map(|(node, _)| *node);
            let own = nic.node.filter(|node| topology.contains_key(node));
            let Some(node) = own.or_else(of_interrupt).or_else(fewest) else {
                // A kernel that tells of no CPU.
                posts.push(post(nic, queue, None, BTreeSet::new(), BTreeSet::new()));
                continue;
            };
            *workers.entry(node).or_default() += 1;
            let cpus = &topology[&node];
            let apart: BTreeSet<usize> = cpus.difference(interrupt).copied().collect();
            let astray = interrupt.difference(cpus).copied().collect();
            let cpus = if apart.is_empty() { cpus.clone() } else { apart };
            posts.push(post(nic, queue, (topology.len() > 1).then_some(node), cpus, astray));
        }
    }
    posts
}

fn post(
    nic: &Nic,
    queue: u32,
    node: Option<u32>,
    cpus: BTreeSet<usize>,
    astray: BTreeSet<usize>,
) -> Post {
    Post { interface: nic.interface.clone(), queue, node, cpus, astray }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Nodes of `cpus` CPUs each, in a row.
    fn topology(nodes: u32, cpus: usize) -> Topology {
        (0..nodes)
            .map(|node| (node, (0..cpus).map(|n| node as usize * cpus + n).collect()))
            .collect()
    }

    fn nic(interface: &str, node: Option<u32>, interrupts: &[&[usize]]) -> Nic {
        let queues = interrupts.iter().map(|cpus| cpus.iter().copied().collect()).collect();
        Nic { interface: interface.to_owned(), node, queues }
    }

    #[test]
    fn a_worker_is_on_its_interfaces_node_and_not_on_its_interrupts_cpu() {
        let posts = place(&topology(2, 4), &[nic("eth0", Some(1), &[&[4], &[5, 6], &[0], &[]])]);
        let found: Vec<_> = posts
            .iter()
            .map(|post| (post.node, Vec::from_iter(&post.cpus), Vec::from_iter(&post.astray)))
            .collect();
        assert_eq!(
            found,
            [
                (Some(1), vec![&5, &6, &7], vec![]),
                (Some(1), vec![&4, &7], vec![]),
                (Some(1), vec![&4, &5, &6, &7], vec![&0]),
                (Some(1), vec![&4, &5, &6, &7], vec![]),
            ]
        );
    }

    #[test]
    fn one_node_binds_nothing_and_one_cpu_is_shared() {
        let posts = place(&topology(1, 1), &[nic("eth0", None, &[&[0]])]);
        assert_eq!((posts[0].node, posts[0].cpus.len()), (None, 1));
        assert!(posts[0].astray.is_empty());
        let posts = place(&Topology::new(), &[nic("eth0", Some(0), &[&[]])]);
        assert!(posts[0].node.is_none() && posts[0].cpus.is_empty());
    }

    #[test]
    fn an_interface_of_no_node_follows_its_interrupts_or_spreads() {
        let posts = place(&topology(4, 2), &[nic("eth0", None, &[&[7], &[], &[], &[]])]);
        let nodes: Vec<_> = posts.iter().map(|post| post.node).collect();
        assert_eq!(nodes, [Some(3), Some(0), Some(1), Some(2)]);
        // A node without CPUs, such as one of memory alone.
        let posts = place(&topology(2, 2), &[nic("eth0", Some(9), &[&[]])]);
        assert_eq!(posts[0].node, Some(0));
    }

    proptest! {
        #[test]
        fn every_queue_has_a_worker_on_cpus_of_one_node(
            nodes in 1..9u32, cpus in 1..17usize,
            nics in prop::collection::vec(
                (prop::option::of(0..10u32),
                 prop::collection::vec(prop::collection::btree_set(0..128usize, 0..4), 0..9)), 0..6),
        ) {
            let topology = topology(nodes, cpus);
            let nics: Vec<Nic> = nics
                .into_iter()
                .enumerate()
                .map(|(n, (node, queues))| Nic { interface: format!("eth{n}"), node, queues })
                .collect();
            let posts = place(&topology, &nics);
            let mut posted = posts.iter();
            for nic in &nics {
                for (queue, interrupt) in (0..).zip(&nic.queues) {
                    let post = posted.next().expect("a post for each queue");
                    prop_assert_eq!((&post.interface, post.queue), (&nic.interface, queue));
                    let (node, all) = topology
                        .iter()
                        .find(|(_, cpus)| !cpus.is_disjoint(&post.cpus))
                        .expect("it has a CPU");
                    prop_assert!(post.cpus.is_subset(all));
                    prop_assert!(nodes == 1 || post.node == Some(*node));
                    if let Some(own) = nic.node.filter(|own| *own < nodes) {
                        prop_assert_eq!(own, *node);
                    }
                    let apart = all.difference(interrupt).count() > 0;
                    prop_assert!(!apart || post.cpus.is_disjoint(interrupt));
                }
            }
            prop_assert!(posted.next().is_none());
        }
    }
}
