//! Rates of packet filters, by whole packets: a bucket for each rule, or for each source of it.
//!
//! A bucket is full when it begins, gains its rate up to the burst, and loses a packet with each that
//! it lets by (docs/configuration.md).

use std::{collections::HashMap, net::IpAddr};

use model::{
    ObjectKey,
    packet_filter::rate::{PacketRate, RatePer},
};

/// A rule, and what stands for the sources that share its limit; none where all do.
type Key = (ObjectKey, usize, Option<IpAddr>);

pub(super) struct Rates {
    ticks_per_second: u64,
    buckets: HashMap<Key, Bucket>,
}

/// In parts of a packet, of which there are as many as ticks in a second, so that a tick brings as
/// many as the rate has packets.
struct Bucket {
    /// What there was at a tick.
    level: u64,
    since: u64,
}

impl Rates {
    pub(super) fn new(ticks_per_second: u32) -> Self {
        Self { ticks_per_second: ticks_per_second.into(), buckets: HashMap::new() }
    }

    pub(super) fn forget(&mut self) {
        self.buckets.clear();
    }

    /// Keeps the limits of rules that there still are; sources have theirs also when their rule comes
    /// again.
    pub(super) fn keep(&mut self, is_there: impl Fn(&ObjectKey, usize) -> bool) {
        self.buckets
            .retain(|(filter, rule, source), _| source.is_some() || is_there(filter, *rule));
    }

    /// Takes a packet from the limit of a rule at a tick; tells whether there is one.
    pub(super) fn take(
        &mut self,
        (filter, rule): (&ObjectKey, usize),
        rate: &PacketRate,
        source: IpAddr,
        at: u64,
    ) -> bool {
        let sharing = match rate.per {
            RatePer::Rule => None,
            RatePer::Source { prefix_length_v4, prefix_length_v6 } => {
                Some(first_bits(source, prefix_length_v4, prefix_length_v6))
            }
        };
        let packet = self.ticks_per_second;
        let burst = u64::from(rate.burst) * packet;
        let bucket = self
            .buckets
            .entry((filter.clone(), rule, sharing))
            .or_insert(Bucket { level: burst, since: at });
        let earned = (at - bucket.since) * u64::from(rate.packets_per_second);
        let level = burst.min(bucket.level + earned);
        let left = level.checked_sub(packet);
        *bucket = Bucket { level: left.unwrap_or(level), since: at };
        left.is_some()
    }
}

fn first_bits(source: IpAddr, v4: u8, v6: u8) -> IpAddr {
    match source {
        IpAddr::V4(ip) => IpAddr::from(
            (ip.to_bits() & !u32::MAX.checked_shr(v4.into()).unwrap_or(0)).to_be_bytes(),
        ),
        IpAddr::V6(ip) => IpAddr::from(
            (ip.to_bits() & !u128::MAX.checked_shr(v6.into()).unwrap_or(0)).to_be_bytes(),
        ),
    }
}
