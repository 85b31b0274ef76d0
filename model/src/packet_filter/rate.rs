//! How many packets a rule of a filter lets through.

use std::net::IpAddr;

use serde::Serialize;

use crate::prefix::cut;

/// A limit of packets: what fits within it goes on to the rules after it, the rest is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PacketRate {
    /// Packets a second, 1 to 10,000,000.
    pub packets_per_second: u32,
    /// Packets that may go at once after a pause: at least one, and 10 ms of the rate.
    pub burst: u32,
    /// Which packets share the limit.
    #[serde(flatten)]
    pub per: RatePer,
}

/// Which of the packets that a rule fits share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "per", rename_all_fields = "camelCase")]
pub enum RatePer {
    /// Those of a source: of the addresses that have a prefix in common.
    Source {
        /// Bits of an IPv4 address that tell sources apart.
        prefix_length_v4: u8,
        /// Bits of an IPv6 address that tell sources apart.
        prefix_length_v6: u8,
    },
    /// All of them.
    Rule,
}

impl RatePer {
    /// Returns what stands for all sources that share the limit with one: the first address of
    /// their prefix. None when all sources do.
    #[must_use]
    pub fn source(&self, address: IpAddr) -> Option<IpAddr> {
        let Self::Source { prefix_length_v4, prefix_length_v6 } = *self else { return None };
        Some(match address {
            IpAddr::V4(_) => cut(address, prefix_length_v4),
            IpAddr::V6(_) => cut(address, prefix_length_v6),
        })
    }
}
