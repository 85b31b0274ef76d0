//! Gathering: reads everything that the judgement is made from. Blocks; asks, and changes nothing.
//!
//! All of the network is read through sockets and `/proc/sys`, which show the network namespace of
//! the calling thread; `/sys/class/net` would show that of whoever mounted it.

mod device;
mod ethtool;
mod host;
mod interrupts;
mod links;
mod native;
mod plane;
pub(crate) mod text;
mod ways;

use std::{collections::BTreeMap, net::IpAddr};

use super::facts::{Fact, Facts, Gap, Plane, Route};
use crate::Config;

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// Interfaces; where none is named, those of the node, or those of the default routes.
    pub interfaces: Vec<String>,
    /// Addresses to look for the way to, beside the endpoints of the accepted configuration.
    pub to: Vec<IpAddr>,
    /// Whether this host is a node.
    pub node: Fact<bool>,
    /// The settings of its data plane, or what they would be.
    pub config: Config,
}

/// The receive queues of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReceiveQueues {
    /// How many there are, where the driver tells.
    pub(crate) count: Option<u32>,
    /// The CPUs that their interrupts fall on, where the kernel tells.
    pub(crate) interrupts: Vec<Vec<usize>>,
    /// The NUMA node of the PCI device, where there is one.
    pub(crate) node: Option<u32>,
}

/// Reads the receive queues of an interface.
pub(crate) fn receive_queues(interface: &str) -> ReceiveQueues {
    let hardware = ethtool::read(interface);
    let bus = hardware.driver.map(|driver| driver.bus).unwrap_or_default();
    let interrupts = interrupts::read(&bus).into_iter().map(|interrupt| interrupt.cpus).collect();
    let count = hardware.channels.map(|channels| channels.receive);
    ReceiveQueues { count, interrupts, node: interrupts::node(&bus) }
}

/// Gathers the facts of this host.
#[must_use]
pub fn gather(wishes: &Wishes) -> Facts {
    let mut plane = plane::read(wishes);
    let host = host::read(&plane);
    let (interfaces, ways) = match links::Links::read() {
        Ok(links) => {
            // A pin outlives its interface, and may be of another network namespace's.
            let runs = |name: &String| links.by_name(name).is_some_and(|told| told.xdp.is_some());
            plane.pinned = plane.pinned.map(|names| names.into_iter().filter(runs).collect());
            let names = names(wishes, &plane, &links);
            let devices = names.iter().map(|name| (name.clone(), Ok(device::read(name, &links))));
            (devices.collect(), ways::read(wishes, &plane, &links))
        }
        Err(error) => {
            let gap = Gap::of(&error);
            let names = wishes.interfaces.iter().chain(&wishes.config.interfaces);
            let unknown: BTreeMap<_, _> =
                names.map(|name| (name.clone(), Err(gap.clone()))).collect();
            (unknown, Vec::new())
        }
    };
    Facts { host, plane, interfaces, ways }
}

fn names(wishes: &Wishes, plane: &Plane, links: &links::Links) -> Vec<String> {
    let none = Vec::new();
    let pinned = plane.pinned.as_ref().unwrap_or(&none);
    for named in [&wishes.interfaces, &plane.interfaces, pinned] {
        if !named.is_empty() {
            return named.to_vec();
        }
    }
    // TEST-NET-1 (RFC 5737) and the documentation prefix (RFC 3849): no host has them, so the
    // default routes answer.
    ["192.0.2.1", "2001:db8::1"]
        .map(|address| address.parse().expect("an address"))
        .into_iter()
        .filter_map(|address| match ways::route(address, links) {
            Ok(Route::Leaves { interface, .. }) => Some(interface),
            _ => None,
        })
        .collect()
}
