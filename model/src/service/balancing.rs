//! How an endpoint is chosen.

use serde::Serialize;

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum LoadBalancing {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The one of two random ones that has fewer requests open.
    LeastRequest,
    /// At random, by weight.
    Random,
    /// By Maglev's consistent hash of the flow; what XDP always uses.
    Maglev,
    /// By a hash ring (Ketama): of what a route hashes, which is the client's address unless it says
    /// otherwise. A change of the endpoints moves little more than has to move.
    RingHash,
}

/// The particulars of the ways to choose; each goes with its way only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BalancingOptions {
    /// Of `RingHash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_hash: Option<RingHash>,
    /// Of `Maglev`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maglev: Option<MaglevTable>,
    /// Of `LeastRequest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_request: Option<LeastRequest>,
    /// Of `RingHash` and `Maglev`: how busy an endpoint may be, in percent of the average, before
    /// others get what hashes to it; 100 to 1000, unbounded when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_balance_factor_percent: Option<u32>,
}

/// How a hash ring is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RingHash {
    /// The least number of places on the ring: the more, the more even; 1024 by default.
    pub minimum_ring_size: u32,
    /// The most; 8,388,608 by default.
    pub maximum_ring_size: u32,
    /// What hashes endpoints onto the ring.
    pub hash_function: HashFunction,
}

/// A hash function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum HashFunction {
    /// xxHash.
    #[default]
    #[serde(rename = "XXHash")]
    XxHash,
    /// MurmurHash2.
    MurmurHash2,
}

/// How a Maglev table is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MaglevTable {
    /// Its slots, a prime; 65,537 by default.
    pub table_size: u32,
}

/// How the least busy endpoint is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeastRequest {
    /// How many endpoints are compared, 2 to 100; 2 by default.
    pub choice_count: u32,
}
