//! How large the tables of flows and connections are (pure).

use ebpf_common::{
    claims::PLACES,
    layout::{Flow, FlowBucket},
};

/// Flows in a bucket of the table of flows.
const FLOWS_PER_BUCKET: u32 = (size_of::<FlowBucket>() / size_of::<Flow>()) as u32;
/// Places that a connection takes: one a direction.
const PLACES_PER_CONNECTION: u32 = 2;
/// Of so many places, [`TAKEN`] can be taken before one connection in ten thousand finds no room
/// (a test of `ebpf_common::path::take`).
const OF: u32 = 4;
const TAKEN: u32 = 3;

/// Numbers of buckets, powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Of the table of flows.
    pub flow_buckets: u32,
    /// Of the table of connections, two at least.
    pub claim_buckets: u32,
}

impl Sizes {
    /// Returns tables for that many flows and connections, or for more.
    #[must_use]
    pub fn new(flows: u32, connections: u32) -> Self {
        let taken = u64::from(connections) * u64::from(PLACES_PER_CONNECTION);
        let places = (taken * u64::from(OF)).div_ceil(u64::from(TAKEN));
        let claim_buckets = places.div_ceil(u64::from(PLACES)).max(2).next_power_of_two();
        Self {
            flow_buckets: flows.div_ceil(FLOWS_PER_BUCKET).max(1).next_power_of_two(),
            claim_buckets: u32::try_from(claim_buckets).unwrap_or(1 << 29),
        }
    }

    /// Returns the places of the table of connections.
    #[must_use]
    pub fn places(self) -> u32 {
        self.claim_buckets * PLACES
    }
}

#[cfg(test)]
mod tests {
    use ebpf_common::layout::{CLAIM_BUCKETS, CONNECTIONS, FLOW_BUCKETS, FLOWS};

    use super::*;

    #[test]
    fn the_object_has_the_default_tables() {
        let sizes = Sizes::new(FLOWS, CONNECTIONS);
        assert_eq!((sizes.flow_buckets, sizes.claim_buckets), (FLOW_BUCKETS, CLAIM_BUCKETS));
    }

    #[test]
    fn tables_have_room_for_what_is_asked_and_at_most_twice_that() {
        for wanted in [1, 2, 7, 8, 9, 1000, 1 << 17, (1 << 20) + 1] {
            let sizes = Sizes::new(wanted, wanted);
            let flows = sizes.flow_buckets * FLOWS_PER_BUCKET;
            assert!(flows >= wanted && flows <= (2 * wanted).max(FLOWS_PER_BUCKET), "{wanted}");
            let connections = sizes.places() / PLACES_PER_CONNECTION / OF * TAKEN;
            assert!(connections >= wanted && connections <= (2 * wanted).max(PLACES), "{wanted}");
        }
    }
}
