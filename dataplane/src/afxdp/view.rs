//! What is told of what waits: by limiter, by class, by worker (pure), and as metrics.

use std::{collections::BTreeMap, sync::Once, time::Duration};

use ebpf_common::qos::Way;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use model::qos_policy::TrafficClass;

use super::{
    placement::Post,
    priority::Priority,
    scheduler::Cause,
    shape::Shape,
    sojourn::Sojourns,
    tally::{LaneTally, Tally},
};

/// The quantiles that are told, in thousandths, and their names.
pub const QUANTILES: [(u64, &str); 3] = [(500, "0.5"), (990, "0.99"), (999, "0.999")];

/// A limiter's direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneView {
    /// The policy, `kind/namespace/name`.
    pub policy: String,
    /// The listener, `kind/namespace/name`.
    pub listener: String,
    /// The direction.
    pub way: Way,
    /// What all workers have done.
    pub tally: LaneTally,
}

/// A class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassView {
    /// Which one.
    pub class: TrafficClass,
    /// How long packets waited, by [`QUANTILES`].
    pub waited: [Duration; QUANTILES.len()],
    /// The shortest latency limit of the class's policies.
    pub limit: Duration,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// The interface.
    pub interface: String,
    /// The queue.
    pub queue: u32,
    /// Whether it runs.
    pub runs: bool,
    /// Its priority.
    pub priority: Priority,
    /// Packets that found no room on their way in, and those that the way out did not take.
    pub lost: [u64; 2],
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitingView {
    /// The limiters.
    pub lanes: Vec<LaneView>,
    /// The classes of which packets have waited in the last half minute.
    pub classes: Vec<ClassView>,
    /// The workers.
    pub workers: Vec<WorkerView>,
}

impl WaitingView {
    /// Puts together what the workers have done. `owners` are policy and listener, by number.
    pub fn new<'a>(
        owners: impl Iterator<Item = ((String, String), u16)>,
        shapes: &BTreeMap<u32, Shape>,
        tallies: impl Iterator<Item = (&'a Post, bool, Tally)>,
    ) -> Self {
        let mut lanes: BTreeMap<u32, LaneTally> = BTreeMap::new();
        let mut sojourns: [Sojourns; 4] = Default::default();
        let mut workers = Vec::new();
        for (post, runs, tally) in tallies {
            for (lane, done) in &tally.lanes {
                lanes.entry(*lane).or_default().add(done);
            }
            for (all, more) in sojourns.iter_mut().zip(&tally.recent()) {
                all.merge(more);
            }
            workers.push(WorkerView {
                interface: post.interface.clone(),
                queue: post.queue,
                runs,
                priority: tally.priority,
                lost: [tally.lost, tally.unsent],
            });
        }
        let class = |class: TrafficClass| {
            let of_class = shapes.values().filter(|shape| shape.class == class);
            let limit = of_class.map(|shape| shape.latency_limit).min()?;
            let sojourns = &sojourns[class as usize];
            sojourns.quantile(QUANTILES[0].0)?;
            let waited = QUANTILES.map(|(thousandths, _)| {
                Duration::from_nanos(sojourns.quantile(thousandths).unwrap_or_default())
            });
            Some(ClassView { class, waited, limit: Duration::from_nanos(limit) })
        };
        let lanes = owners.flat_map(|((policy, listener), number)| {
            let lane = |way: Way| {
                let tally = lanes.get(&way.entry(number))?;
                let (policy, listener) = (policy.clone(), listener.clone());
                Some(LaneView { policy, listener, way, tally: *tally })
            };
            Way::ALL.map(lane).into_iter().flatten().collect::<Vec<_>>()
        });
        Self {
            lanes: lanes.collect(),
            classes: TrafficClass::ALL.into_iter().filter_map(class).collect(),
            workers,
        }
    }
}

/// Publishes it.
pub fn publish(view: &WaitingView) {
    describe();
    view.lanes.iter().for_each(publish_lane);
    for class in &view.classes {
        let name = format!("{:?}", class.class);
        for ((_, quantile), waited) in QUANTILES.iter().zip(class.waited) {
            gauge!("marchproxy_afxdp_sojourn_seconds",
                "class" => name.clone(), "quantile" => *quantile)
            .set(waited.as_secs_f64());
        }
        gauge!("marchproxy_afxdp_latency_limit_seconds", "class" => name)
            .set(class.limit.as_secs_f64());
    }
    for worker in &view.workers {
        let labels = [("interface", worker.interface.clone()), ("queue", worker.queue.to_string())];
        gauge!("marchproxy_afxdp_worker_up", &labels).set(if worker.runs { 1.0 } else { 0.0 });
        for (direction, lost) in ["in", "out"].into_iter().zip(worker.lost) {
            let [interface, queue] = labels.clone();
            counter!(
                "marchproxy_afxdp_lost_packets_total",
                &[interface, queue, ("direction", direction.to_owned())]
            )
            .absolute(lost);
        }
    }
}

fn publish_lane(lane: &LaneView) {
    let direction = match lane.way {
        Way::Ingress => "in",
        Way::Egress => "out",
    };
    let labels = [
        ("policy", lane.policy.clone()),
        ("listener", lane.listener.clone()),
        ("direction", direction.to_owned()),
    ];
    let tally = &lane.tally;
    gauge!("marchproxy_afxdp_waiting_packets", &labels).set(tally.waiting as f64);
    counter!("marchproxy_afxdp_sent_packets_total", &labels).absolute(tally.sent);
    counter!("marchproxy_afxdp_sent_bytes_total", &labels).absolute(tally.sent_bytes);
    counter!("marchproxy_afxdp_marked_packets_total", &labels).absolute(tally.marked);
    for (cause, dropped) in Cause::ALL.into_iter().zip(tally.dropped) {
        let [policy, listener, direction] = labels.clone();
        counter!(
            "marchproxy_afxdp_dropped_packets_total",
            &[policy, listener, direction, ("reason", cause.name().to_owned())]
        )
        .absolute(dropped);
    }
}

fn describe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let packets = Unit::Count;
        describe_counter!(
            "marchproxy_afxdp_sent_packets_total",
            packets,
            "Packets of a listener that waited for their limit and were sent, by direction"
        );
        describe_counter!(
            "marchproxy_afxdp_sent_bytes_total",
            Unit::Bytes,
            "IP bytes of a listener that waited for their limit and were sent, by direction"
        );
        describe_counter!(
            "marchproxy_afxdp_marked_packets_total",
            packets,
            "Packets that were marked as having met congestion since they waited long, by direction"
        );
        describe_counter!(
            "marchproxy_afxdp_dropped_packets_total",
            packets,
            "Packets that were to wait and were dropped, by direction and reason"
        );
        describe_counter!(
            "marchproxy_afxdp_lost_packets_total",
            packets,
            "Packets that found no room on their way to a worker (in) or from it (out)"
        );
        describe_gauge!(
            "marchproxy_afxdp_waiting_packets",
            packets,
            "Packets of a listener that wait for their limit, by direction"
        );
        describe_gauge!(
            "marchproxy_afxdp_sojourn_seconds",
            Unit::Seconds,
            "How long packets of a class waited that were sent in the last 15 to 30 s, by quantile"
        );
        describe_gauge!(
            "marchproxy_afxdp_latency_limit_seconds",
            Unit::Seconds,
            "The shortest latency limit of the policies of a class"
        );
        describe_gauge!(
            "marchproxy_afxdp_worker_up",
            Unit::Count,
            "1 while the worker of an interface's queue runs"
        );
    });
}

#[cfg(test)]
mod tests {
    use ebpf_common::qos::Limit;

    use super::*;

    #[test]
    fn what_workers_have_done_is_put_together() {
        let post = |queue| Post { interface: "eth0".to_owned(), queue, ..Post::default() };
        let shape = |class, latency_limit| Shape {
            class,
            latency_limit,
            weight: 1,
            marks: false,
            limit: Limit::default(),
            room: 0,
        };
        let lane = Way::Egress.entry(3);
        let shapes = BTreeMap::from([
            (lane, shape(TrafficClass::P0, 2_000)),
            (9, shape(TrafficClass::P0, 1_000)),
            (11, shape(TrafficClass::P3, 1_000)),
        ]);
        let tally = |sent, waited| {
            let mut tally = Tally { lost: sent, unsent: 1, ..Tally::default() };
            tally.lanes.insert(lane, LaneTally { sent, ..LaneTally::default() });
            tally.sojourns[1][0].add(waited);
            tally.turn();
            tally.sojourns[1][0].add(waited);
            tally
        };
        let posts = [post(0), post(1)];
        let tallies = [(&posts[0], true, tally(5, 3)), (&posts[1], false, tally(7, 9))];
        let owner = ("p".to_owned(), "l".to_owned());
        let owners = [(owner.clone(), 3), (owner, 4)];
        let view = WaitingView::new(owners.into_iter(), &shapes, tallies.into_iter());
        assert_eq!(view.lanes.len(), 1);
        assert_eq!((view.lanes[0].way, view.lanes[0].tally.sent), (Way::Egress, 12));
        let [p0] = &view.classes[..] else { panic!("{view:?}") };
        assert_eq!(p0.class, TrafficClass::P0);
        assert_eq!(p0.waited, [3, 9, 9].map(Duration::from_nanos));
        assert_eq!(p0.limit, Duration::from_nanos(1_000));
        let workers: Vec<_> = view.workers.iter().map(|w| (w.queue, w.runs, w.lost)).collect();
        assert_eq!(workers, [(0, true, [5, 1]), (1, false, [7, 1])]);
    }
}
