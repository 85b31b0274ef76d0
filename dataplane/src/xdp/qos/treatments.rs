//! What is done to the packets of services, as records of a configuration (pure).

use std::{collections::BTreeMap, ops::Range};

use ebpf_common::qos::{Limits, TREATMENTS_PER_RECORD, Treatment, Way, flag};
use model::{
    ObjectKey, QosPolicy,
    flow::Direction,
    listener::Forwarding,
    qos_policy::{Ecn, Excess, LimitScope, RateLimit},
    shares::{ShareKey, unheard},
};

use super::{Policy, limiters::Limiters, rate::Rate, shares::InForce};
use crate::afxdp::shape::Shape;
use crate::xdp::{
    arena::Arena,
    pace::Pace,
    plan::{Carried, Frontend},
    record::{of_limits, of_treatments},
};

/// The treatments.
#[derive(Debug, Default)]
pub struct Treatments {
    pace: Pace,
    limiters: Limiters,
    /// Records of limits.
    limits: BTreeMap<Frontend, u32>,
    /// Records of what is done to packets to clients.
    extent: Range<u32>,
    /// The same, by slot.
    egress: BTreeMap<u32, Treatment>,
    /// What this node has of the limits that nodes share.
    shares: InForce,
    /// How what is over a limit waits, with the lanes that it waits in.
    shapes: BTreeMap<Frontend, Vec<(u32, Shape)>>,
}

impl Treatments {
    /// Sets what limits are made with from here on.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Sets what this node has of the limits that nodes share, for what is put from here on.
    pub fn set_shares(&mut self, shares: InForce) {
        self.shares = shares;
    }

    /// Returns what this node has of the limits that nodes share.
    #[must_use]
    pub fn shares(&self) -> &InForce {
        &self.shares
    }

    /// Returns the limiters.
    pub fn limiters(&mut self) -> &mut Limiters {
        &mut self.limiters
    }

    /// Writes what a service's policy says, or that it has none; returns what is done to packets
    /// from its clients.
    pub fn put(
        &mut self,
        arena: &mut Arena,
        frontend: Frontend,
        slot: u32,
        carried: Option<&Carried>,
    ) -> Treatment {
        let Some((carried, policy)) =
            carried.and_then(|carried| Some((carried, carried.policy.as_ref()?)))
        else {
            self.clear(arena, &frontend, slot);
            return Treatment::default();
        };
        let owner = (policy.key.clone(), carried.listener.clone());
        let Some(limiter) = self.limiters.hold(frontend, &owner) else {
            // Validation allows fewer policies than there are numbers.
            tracing::warn!(policy = %policy.key, listener = %carried.listener, "no limiter is free");
            self.clear(arena, &frontend, slot);
            return Treatment::default();
        };
        let spec = &policy.spec;
        // The node does not see the answers of endpoints that answer directly.
        let egress = spec.egress.filter(|_| carried.forwarding == Forwarding::Nat);
        let waits = spec.excess == Excess::Queue;
        let rates =
            [(Direction::In, spec.ingress), (Direction::Out, egress)].map(|(direction, limit)| {
                Some(self.rate(policy, &carried.listener, direction, limit?))
            });
        let record = self.write_limits(arena, frontend, rates);
        self.shape(frontend, limiter, spec, rates);
        let treatment = |limit: Option<RateLimit>| {
            let mut treatment = Treatment { limiter, ..Treatment::default() };
            if limit.is_some() {
                treatment.limits = record;
                treatment.flags |= flag::LIMITED;
                if waits {
                    treatment.flags |= flag::WAIT;
                }
                if spec.ecn == Ecn::Mark {
                    treatment.flags |= flag::ECN;
                }
            }
            if let Some(dscp) = spec.dscp {
                treatment.flags |= flag::DSCP;
                treatment.dscp = dscp.value();
            }
            treatment
        };
        let to_clients = match carried.forwarding {
            Forwarding::Nat => treatment(egress),
            Forwarding::L2 | Forwarding::Ipip | Forwarding::Gue => Treatment::default(),
        };
        self.put_egress(arena, slot, to_clients);
        treatment(spec.ingress)
    }

    /// Removes what is done to a service's packets.
    pub fn clear(&mut self, arena: &mut Arena, frontend: &Frontend, slot: u32) {
        self.limiters.release(frontend);
        self.shapes.remove(frontend);
        if let Some(record) = self.limits.remove(frontend) {
            arena.free(record..record + 1);
        }
        self.put_egress(arena, slot, Treatment::default());
    }

    /// Returns where the records of packets to clients begin, and how many slots have one.
    #[must_use]
    pub fn egress(&self) -> (u32, u32) {
        (self.extent.start, self.extent.len() as u32 * TREATMENTS_PER_RECORD)
    }

    /// Returns how what is over a limit waits, by lane: the entry of its limiter.
    #[must_use]
    pub fn shapes(&self) -> BTreeMap<u32, Shape> {
        self.shapes.values().flatten().copied().collect()
    }

    /// Returns what goes in a direction on this node.
    fn rate(
        &self,
        policy: &Policy,
        listener: &ObjectKey,
        direction: Direction,
        limit: RateLimit,
    ) -> Rate {
        if policy.spec.scope == LimitScope::Node {
            return limit.into();
        }
        let (policy, listener) = (policy.key.clone(), listener.clone());
        let share = self.shares.get(&ShareKey { policy, listener, direction });
        Rate::share(limit, share.copied().unwrap_or(unheard(limit.bytes_per_s())))
    }

    fn shape(
        &mut self,
        frontend: Frontend,
        limiter: u16,
        policy: &QosPolicy,
        limits: [Option<Rate>; 2],
    ) {
        let lane = |way: Way| {
            let rate = limits[way as usize]?;
            Some((way.entry(limiter), Shape::new(policy, rate, self.pace.limit(rate))))
        };
        let lanes: Vec<_> = match policy.excess {
            Excess::Queue => Way::ALL.into_iter().filter_map(lane).collect(),
            Excess::Drop => Vec::new(),
        };
        self.shapes.insert(frontend, lanes);
    }

    /// Writes limits by [`Way`]; returns their record.
    fn write_limits(
        &mut self,
        arena: &mut Arena,
        frontend: Frontend,
        limits: [Option<Rate>; 2],
    ) -> u32 {
        if limits == [None, None] {
            if let Some(record) = self.limits.remove(&frontend) {
                arena.free(record..record + 1);
            }
            return 0;
        }
        let record = *self.limits.entry(frontend).or_insert_with(|| arena.allocate(1).start);
        let limit = |rate: Rate| self.pace.limit(rate);
        let ways = Way::ALL.map(|way| limits[way as usize].map(limit).unwrap_or_default());
        arena.sheet.set(record, of_limits(Limits { ways, padding: [0; 2] }));
        record
    }

    fn put_egress(&mut self, arena: &mut Arena, slot: u32, treatment: Treatment) {
        let old = if treatment.flags == 0 {
            self.egress.remove(&slot)
        } else {
            self.egress.insert(slot, treatment)
        };
        if old.unwrap_or_default() == treatment || (old.is_none() && treatment.flags == 0) {
            return;
        }
        let part = slot / TREATMENTS_PER_RECORD;
        if self.egress.is_empty() {
            arena.free(std::mem::take(&mut self.extent));
        } else if part as usize >= self.extent.len() {
            let larger = arena.allocate((part + 1).next_power_of_two());
            arena.free(std::mem::replace(&mut self.extent, larger));
            (0..self.extent.len() as u32).for_each(|part| self.write_egress(arena, part));
        } else {
            self.write_egress(arena, part);
        }
    }

    fn write_egress(&self, arena: &mut Arena, part: u32) {
        let mut record = ebpf_common::qos::Treatments::default();
        let first = part * TREATMENTS_PER_RECORD;
        for (slot, treatment) in self.egress.range(first..first + TREATMENTS_PER_RECORD) {
            record.slots[(slot - first) as usize] = *treatment;
        }
        arena.sheet.set(self.extent.start + part, of_treatments(record));
    }
}
