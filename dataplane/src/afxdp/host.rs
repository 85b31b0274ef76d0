//! Reads what workers are placed by: NUMA nodes, and the queues of interfaces.

use std::{collections::BTreeSet, fs, path::Path};

use super::placement::{Nic, Topology};
use crate::doctor::gather::{receive_queues, text};

/// Where the kernel tells of NUMA nodes.
const NODES: &str = "/sys/devices/system/node";

/// Reads the nodes that have CPUs.
#[must_use]
pub fn topology() -> Topology {
    read_topology(Path::new(NODES))
}

fn read_topology(folder: &Path) -> Topology {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let node = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            let list = fs::read_to_string(entry.path().join("cpulist")).ok()?;
            let cpus: BTreeSet<usize> =
                text::ranges(list.trim()).into_iter().flat_map(|(from, to)| from..=to).collect();
            (!cpus.is_empty()).then_some((node, cpus))
        })
        .collect()
}

/// Reads an interface's node, and the interrupts of its queues.
#[must_use]
pub fn nic(interface: &str) -> Nic {
    let told = receive_queues(interface);
    let mut queues: Vec<BTreeSet<usize>> =
        told.interrupts.into_iter().map(|cpus| cpus.into_iter().collect()).collect();
    // A device without channels has one queue. Not all interrupts are told, and some are others'.
    queues.resize(told.count.unwrap_or(1).max(1) as usize, BTreeSet::new());
    Nic { interface: interface.to_owned(), node: told.node, queues }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_with_cpus_are_read() {
        let folder = tempfile::tempdir().unwrap();
        for (node, list) in [("node0", "0-1,4\n"), ("node3", "2-3\n"), ("node7", "\n")] {
            fs::create_dir(folder.path().join(node)).unwrap();
            fs::write(folder.path().join(node).join("cpulist"), list).unwrap();
        }
        fs::write(folder.path().join("online"), "0,3,7\n").unwrap();
        let wanted = Topology::from([(0, [0, 1, 4].into()), (3, [2, 3].into())]);
        assert_eq!(read_topology(folder.path()), wanted);
        assert_eq!(read_topology(&folder.path().join("none")), Topology::new());
    }

    #[test]
    fn the_loopback_interface_has_a_queue_and_no_node() {
        let lo = nic("lo");
        assert_eq!((lo.node, lo.queues), (None, vec![BTreeSet::new()]));
    }
}
