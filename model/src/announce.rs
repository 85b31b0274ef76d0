//! Addresses of listeners that the nodes announce on their link, and which node has which. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use crate::{cluster::NodeId, listener::ListenAddress, snapshot::Snapshot};

/// What a data plane says of an address that listeners want announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressReport {
    /// The address.
    pub address: IpAddr,
    /// How the node stands to it.
    #[serde(flatten)]
    pub state: AddressState,
}

/// How a node stands to an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum AddressState {
    /// It has the address, and answers whoever asks for it on the link.
    Announced {
        /// On which interface.
        interface: String,
        /// Since when, in milliseconds since 1970.
        since_ms: u64,
    },
    /// It could have it.
    Fit {
        /// On which interface.
        interface: String,
    },
    /// It can't have it.
    Unfit {
        /// Why.
        reason: String,
    },
}

impl AddressReport {
    /// Tells whether the node has the address or could have it.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        !matches!(self.state, AddressState::Unfit { .. })
    }
}

/// Returns the addresses that listeners want announced.
#[must_use]
pub fn wanted(config: &Snapshot) -> BTreeSet<IpAddr> {
    config
        .listeners()
        .filter(|(_, listener)| listener.announce.is_some())
        .filter_map(|(_, listener)| match listener.address {
            ListenAddress::Ip(address) => Some(address),
            ListenAddress::Any => None,
        })
        .collect()
}

/// Which node has each address.
pub type Owners = BTreeMap<IpAddr, NodeId>;

/// Returns the node that an address falls to, by rendezvous hashing (Thaler and Ravishankar, "Using
/// Name-Based Mappings to Increase Hit Rates", 1998): a node that comes or goes moves its own
/// addresses only.
#[must_use]
pub fn falls_to(address: IpAddr, nodes: impl IntoIterator<Item = NodeId>) -> Option<NodeId> {
    nodes.into_iter().max_by_key(|node| (weight(address, *node), *node))
}

/// FNV-1a over the address and the node, then the finalizer of SplitMix64: the same on every node
/// and in every version, which `std`'s hasher is not.
fn weight(address: IpAddr, node: NodeId) -> u64 {
    let octets = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in octets.into_iter().chain(node.0.to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> impl Iterator<Item = IpAddr> {
        (0..1_000u32).map(|n| IpAddr::from((0xc000_0200 + n).to_be_bytes()))
    }

    #[test]
    fn addresses_spread_over_the_nodes_and_only_those_of_a_lost_one_move() {
        let nodes = [1, 2, 3, 4].map(NodeId);
        let mut counts = BTreeMap::<NodeId, u32>::new();
        for address in addresses() {
            let owner = falls_to(address, nodes).unwrap();
            *counts.entry(owner).or_default() += 1;
            let without = falls_to(address, nodes.into_iter().filter(|node| *node != NodeId(2)));
            assert!(owner == NodeId(2) || without == Some(owner), "{address} moved");
            let mut turned = nodes;
            turned.reverse();
            assert_eq!(falls_to(address, turned), Some(owner));
        }
        assert!(counts.values().all(|count| (200..300).contains(count)), "{counts:?}");
        assert_eq!(falls_to("192.0.2.1".parse().unwrap(), []), None);
    }

    #[test]
    fn a_report_reads_back() {
        let state = AddressState::Announced { interface: "eth0".into(), since_ms: 7 };
        let report = AddressReport { address: "2001:db8::1".parse().unwrap(), state };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(
            text,
            r#"{"address":"2001:db8::1","state":"announced","interface":"eth0","since_ms":7}"#
        );
        assert_eq!(serde_json::from_str::<AddressReport>(&text).unwrap(), report);
    }
}
