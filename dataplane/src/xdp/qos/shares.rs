//! What this node has of the limits that nodes share, and what it says of them (pure).

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use ebpf_common::qos::{Way, counter};
use model::{
    flow::Direction,
    qos_policy::LimitScope,
    shares::{LoanId, ShareKey, ShareUse, Uses, unheard},
};

use crate::{
    shares::Loan,
    xdp::{
        plan::{Carried, L4Plan},
        statistics::LimiterCounters,
    },
};

/// Shares in force, in bytes a second.
pub type InForce = BTreeMap<ShareKey, u64>;

/// Returns what a loan comes to for the limits of a plan.
#[must_use]
pub fn in_force(plan: &L4Plan, loan: Option<&Loan>, now: Instant) -> InForce {
    let shared = plan.carried.values().flat_map(|carried| shared(carried));
    shared
        .map(|(key, limit)| {
            let lent = loan.and_then(|loan| loan.share(&key, now));
            let share = lent.unwrap_or(unheard(limit)).min(limit);
            (key, share)
        })
        .collect()
}

/// Returns the limits of a listener that nodes share, in bytes a second.
fn shared(carried: &Carried) -> impl Iterator<Item = (ShareKey, u64)> {
    let policy = carried.policy.as_ref().filter(|policy| policy.spec.scope == LimitScope::Cluster);
    policy.into_iter().flat_map(|policy| {
        [(Direction::In, policy.spec.ingress), (Direction::Out, policy.spec.egress)]
            .into_iter()
            .filter_map(|(direction, limit)| {
                let (policy, listener) = (policy.key.clone(), carried.listener.clone());
                Some((ShareKey { policy, listener, direction }, limit?.bytes_per_s()))
            })
    })
}

/// What was counted of limits at the last look.
#[derive(Debug, Default)]
pub struct ShareMeter {
    last: HashMap<(String, String, u8), (Instant, [u64; 3])>,
}

impl ShareMeter {
    /// Returns what is to be said of the shares in force, those of a loan, by counters read at a time.
    pub fn uses(
        &mut self,
        shares: &InForce,
        counters: &[LimiterCounters],
        loan: Option<LoanId>,
        now: Instant,
    ) -> Uses {
        let mut last = HashMap::new();
        let mut uses = Vec::with_capacity(shares.len());
        for (key, share) in shares {
            let way = match key.direction {
                Direction::In => Way::Ingress,
                Direction::Out => Way::Egress,
            };
            let place = (key.policy.to_string(), key.listener.to_string(), way as u8);
            let counted = counters
                .iter()
                .find(|it| it.way == way && it.policy == place.0 && it.listener == place.1);
            let words = counted.map(|it| {
                [
                    it.words[counter::PASSED_BYTES],
                    it.words[counter::OVER_PACKETS],
                    it.words[counter::WAITING_PACKETS],
                ]
            });
            let words = words.unwrap_or_default();
            let (used, wants_more) = self.last.get(&place).map_or((0, false), |(at, before)| {
                // A counter that begins anew counts from zero.
                let more =
                    |word: usize| words[word].checked_sub(before[word]).unwrap_or(words[word]);
                let ms = now.duration_since(*at).as_millis().max(1) as u64;
                (more(0).saturating_mul(1_000) / ms, more(1) > 0 || more(2) > 0)
            });
            last.insert(place, (now, words));
            uses.push(ShareUse { key: key.clone(), used, wants_more, share: *share });
        }
        self.last = last;
        Uses { loan, uses }
    }
}

#[cfg(test)]
#[path = "shares/tests.rs"]
mod tests;
