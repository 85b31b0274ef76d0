//! Who owns a limit (pure): rendezvous hashing, so that a node that comes or goes moves only what is its
//! own.

use model::{cluster::NodeId, quotas::QuotaKey};

/// Picks the owner of a key among nodes; `None` where there are none.
pub(super) fn owner(key: QuotaKey, nodes: impl IntoIterator<Item = NodeId>) -> Option<NodeId> {
    nodes.into_iter().max_by_key(|node| (weight(key, *node), *node))
}

/// Keys are digests, of which every bit is as good as random; those of nodes are small numbers.
fn weight(key: QuotaKey, node: NodeId) -> u64 {
    let key = u128::from_be_bytes(key.0);
    // Both halves of the digest, the second behind the mixing of the node.
    let (high, low) = ((key >> 64) as u64, key as u64);
    mix(mix(high ^ mix(node.0)) ^ low)
}

/// SplitMix64's.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn key(number: u64) -> QuotaKey {
        // As digests are.
        QuotaKey((u128::from(mix(number)) << 64 | u128::from(mix(!number))).to_be_bytes())
    }

    fn nodes(numbers: &[u64]) -> Vec<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn keys_are_spread_evenly_and_only_those_of_a_node_that_goes_move() {
        let all = nodes(&[1, 2, 3, 4, 5]);
        let left = nodes(&[1, 2, 4, 5]);
        let mut owned: BTreeMap<NodeId, u32> = BTreeMap::new();
        for number in 0..50_000 {
            let before = owner(key(number), all.clone()).unwrap();
            let after = owner(key(number), left.clone()).unwrap();
            *owned.entry(before).or_default() += 1;
            assert!(before == after || before == NodeId(3));
            let turned = all.iter().rev().copied();
            assert_eq!(owner(key(number), turned), Some(before), "whatever their order");
        }
        assert!(owned.values().all(|count| (9_500..10_500).contains(count)), "{owned:?}");
        assert_eq!(owner(key(1), []), None);
    }
}
