//! The rates of rules, as records of a front (pure).

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use ebpf_common::{filter::rates::Rate, qos::Limit};
use model::packet_filter::rate::{PacketRate, RatePer};

use super::counters::RuleKey;
use crate::xdp::qos::ticks::Pace;

/// Makes the record of a rule's rate.
#[must_use]
pub fn record(rule: &RuleKey, rate: &PacketRate, pace: Pace) -> Rate {
    let limit =
        Limit::new(rate.packets_per_second.into(), rate.burst.into(), pace.ticks_per_s, pace.cpus);
    match rate.per {
        RatePer::Rule => Rate { limit, ..Rate::default() },
        RatePer::Source { prefix_length_v4, prefix_length_v6 } => {
            let v4 = u32::MAX.checked_shl(32 - u32::from(prefix_length_v4)).unwrap_or(0);
            let v6 = u128::MAX.checked_shl(128 - u32::from(prefix_length_v6)).unwrap_or(0);
            let word = |place: u32| ((v6 >> (96 - 32 * place)) as u32).to_be();
            Rate {
                // Each packet is taken from the source's own word.
                limit: Limit { credit: 0, ..limit },
                salt: salt(rule),
                mask_v6: [word(0), word(1), word(2), word(3)],
                mask_v4: v4.to_be(),
                ..Rate::default()
            }
        }
    }
}

/// Returns a number of a rule's own, the same in each process, so that what sources have spent is
/// known after a restart; never 0.
fn salt(rule: &RuleKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    rule.hash(&mut hasher);
    hasher.finish() | 1
}
