//! What a policy says of the packets of a limiter that wait (pure).

use std::time::Duration;

use ebpf_common::qos::Limit;
use model::{QosPolicy, qos_policy::Ecn, qos_policy::TrafficClass};

use crate::xdp::qos::rate::Rate;

/// The weight of a policy that says none.
const WEIGHT: u32 = 10;

/// How packets of a limiter's direction wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Whose turn it is.
    pub class: TrafficClass,
    /// Nanoseconds that a packet may wait.
    pub latency_limit: u64,
    /// The share among classes that go by weight.
    pub weight: u32,
    /// Whether packets that wait long are marked, where their sender understands it.
    pub marks: bool,
    /// The limit that they wait for.
    pub limit: Limit,
    /// Bytes that go within the latency limit: what would have to wait longer need not begin to.
    pub room: u64,
}

impl Shape {
    /// The shape of a policy's direction, with its limit in the units of the limiters.
    #[must_use]
    pub fn new(policy: &QosPolicy, rate: Rate, limit: Limit) -> Self {
        let room = policy.latency_limit.as_nanos() * u128::from(rate.bytes_per_s)
            / Duration::from_secs(1).as_nanos();
        Self {
            class: policy.class,
            latency_limit: policy.latency_limit.as_nanos() as u64,
            weight: policy.weight.unwrap_or(WEIGHT),
            marks: policy.ecn == Ecn::Mark,
            limit,
            room: room as u64,
        }
    }

    /// Returns the nanoseconds from which on packets are marked: early enough for their senders to
    /// slow down before any is dropped.
    #[must_use]
    pub fn marked_from(&self) -> u64 {
        self.latency_limit / 2
    }
}
