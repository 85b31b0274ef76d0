//! What is told of QoS policies: each listener's rates, what waits and what was dropped.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use ebpf_common::qos::{Way, counter};
use model::{
    ObjectKey, QosPolicy,
    cluster::NodeId,
    flow::Direction,
    qos_report::{Amount, ClassQos, DroppedPackets, ListenerQos, QosReport, WorkerQos},
    shares::ShareKey,
};

use super::{Engine, EngineError};
use crate::{
    afxdp::{
        scheduler::Cause,
        tally::LaneTally,
        view::{ClassView, WaitingView, WorkerView},
    },
    xdp::{qos::limiters::Owner, statistics::LimiterCounters},
};

/// A direction of a listener under a policy.
pub(super) type MeterKey = (Owner, u8);

impl Engine {
    /// Tells of the policies in force; none before a configuration is.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn qos(&mut self, node: NodeId) -> Result<Option<QosReport>, EngineError> {
        let Some(revision) = self.running() else { return Ok(None) };
        let counted = self.limited()?;
        let (now, view) = (Instant::now(), self.waiting_view());
        let specs = self.specs();
        let mut listeners = Vec::new();
        for (owner, counters) in counted {
            // One whose listener XDP has just let go of.
            let Some(spec) = specs.get(&owner) else { continue };
            let tally = tally(&view, &owner, counters.way);
            let bytes = gone_on(&counters, &tally);
            let rate = self.meter.bits_per_s(&(owner.clone(), counters.way as u8), now, bytes);
            let key = ShareKey {
                policy: owner.0.clone(),
                listener: owner.1.clone(),
                direction: direction(counters.way),
            };
            let share = self.image.treatments().shares().get(&key).map(|share| share / 125);
            let rate = rate.map(|bits| (bits / 1e3) as u64);
            listeners.extend(listener(owner, spec, &counters, &tally, (share, rate)));
        }
        listeners.sort_by(|one, other| {
            let key = |it: &ListenerQos| (it.listener.clone(), it.direction as u8);
            key(one).cmp(&key(other))
        });
        Ok(Some(QosReport {
            node,
            revision,
            listeners,
            classes: view.classes.iter().map(class).collect(),
            workers: view.workers.iter().map(worker).collect(),
        }))
    }

    /// Notes what limiters have let go on, from which rates are computed.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn note_rates(&mut self) -> Result<(), EngineError> {
        let counted = self.limited()?;
        let view = self.waiting_view();
        let bytes = counted.into_iter().map(|(owner, counters)| {
            let bytes = gone_on(&counters, &tally(&view, &owner, counters.way));
            ((owner, counters.way as u8), bytes)
        });
        self.meter.note(Instant::now(), bytes.collect());
        Ok(())
    }

    fn limited(&mut self) -> Result<Vec<(Owner, LimiterCounters)>, EngineError> {
        let limiters = self.image.treatments().limiters();
        let owners: Vec<Owner> =
            limiters.iter().flat_map(|(owner, _)| Way::ALL.map(|_| owner.clone())).collect();
        let counted = self.limiters.counters(&mut self.program, limiters)?;
        Ok(owners.into_iter().zip(counted).collect())
    }

    fn specs(&self) -> BTreeMap<Owner, QosPolicy> {
        let carried = self.planner.plan().carried.values();
        carried
            .filter_map(|carried| {
                let policy = carried.policy.as_ref()?;
                let owner = (policy.key.clone(), carried.listener.clone());
                Some((owner, QosPolicy::clone(&policy.spec)))
            })
            .collect()
    }
}

fn tally(view: &WaitingView, (policy, listener): &Owner, way: Way) -> LaneTally {
    let (policy, listener) = (policy.to_string(), listener.to_string());
    let own = view
        .lanes
        .iter()
        .find(|lane| lane.way == way && lane.policy == policy && lane.listener == listener);
    own.map_or_else(LaneTally::default, |lane| lane.tally)
}

/// Returns the bytes that a limiter has let go on, at once and after a while.
fn gone_on(counters: &LimiterCounters, tally: &LaneTally) -> u64 {
    counters.words[counter::PASSED_BYTES] + tally.sent_bytes
}

fn direction(way: Way) -> Direction {
    match way {
        Way::Ingress => Direction::In,
        Way::Egress => Direction::Out,
    }
}

/// Tells of a direction, where the policy says anything about it.
fn listener(
    (policy, listener): (ObjectKey, ObjectKey),
    spec: &QosPolicy,
    counters: &LimiterCounters,
    tally: &LaneTally,
    (share_kbps, measured_kbps): (Option<u64>, Option<u64>),
) -> Option<ListenerQos> {
    let words = &counters.words;
    let limit = match counters.way {
        Way::Ingress => spec.ingress,
        Way::Egress => spec.egress,
    };
    let amount = |packets, bytes| Amount { packets, bytes };
    let passed = amount(words[counter::PASSED_PACKETS], words[counter::PASSED_BYTES]);
    let marks = spec.dscp.is_some();
    if limit.is_none() && !marks {
        return None;
    }
    let cause = |cause: Cause| tally.dropped[cause as usize];
    Some(ListenerQos {
        policy,
        listener,
        direction: direction(counters.way),
        class: spec.class,
        excess: spec.excess,
        allowed_mbps: limit.map(|limit| limit.bandwidth_mbps),
        share_kbps,
        measured_kbps,
        passed,
        waited: amount(tally.sent, tally.sent_bytes),
        waiting: amount(tally.waiting, tally.waiting_bytes),
        dropped: DroppedPackets {
            over_limit: words[counter::OVER_PACKETS],
            too_late: cause(Cause::TooLate),
            lane_full: cause(Cause::LaneFull),
            no_room: cause(Cause::NoRoom),
            too_large: cause(Cause::TooLarge),
            no_policy: cause(Cause::NoPolicy),
        },
        recoded_packets: words[counter::DSCP_PACKETS],
        marked_packets: words[counter::CE_PACKETS] + tally.marked,
    })
}

fn class(view: &ClassView) -> ClassQos {
    let us = |time: Duration| time.as_micros() as u64;
    let [p50_us, p99_us, p999_us] = view.waited.map(us);
    ClassQos { class: view.class, p50_us, p99_us, p999_us, limit_us: us(view.limit) }
}

fn worker(view: &WorkerView) -> WorkerQos {
    let [lost_in, lost_out] = view.lost;
    WorkerQos {
        interface: view.interface.clone(),
        queue: view.queue,
        running: view.runs,
        priority: view.priority.to_string(),
        lost_in,
        lost_out,
    }
}
