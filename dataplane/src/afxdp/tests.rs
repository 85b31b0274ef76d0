//! The scheduler in virtual time, against a naive bucket and against what must hold.

use std::{cell::RefCell, collections::BTreeMap};

use ebpf_common::qos::Limit;
use model::qos_policy::TrafficClass;
use proptest::prelude::*;

use super::{
    clock::Clock,
    scheduler::{Cause, Next, Scheduler, URGENT_AHEAD, Words},
    shape::Shape,
};

const TICKS_PER_S: u32 = 250;
const SECOND: u64 = 1_000_000_000;
/// More than any of these runs needs.
const CAPACITY: usize = 4_096;

/// A packet that comes.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    at: u64,
    lane: u32,
    bytes: u32,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Sent { mark: bool },
    Lost(Cause),
}

/// The end of a packet: when, which one, and how.
#[derive(Clone, Copy, Debug)]
struct End {
    at: u64,
    packet: usize,
    fate: Fate,
}

/// Words that other workers don't touch.
struct Alone {
    words: RefCell<BTreeMap<u32, u64>>,
    start: u64,
}

impl Words for Alone {
    fn read(&self, lane: u32) -> u64 {
        self.words.borrow().get(&lane).copied().unwrap_or(self.start)
    }

    fn exchange(&self, lane: u32, old: u64, new: u64) -> u64 {
        let found = self.read(lane);
        if found == old {
            self.words.borrow_mut().insert(lane, new);
        }
        found
    }
}

fn shape(class: TrafficClass, bytes_per_s: u64, limit_ms: u64, weight: u32) -> Shape {
    let burst = (bytes_per_s / 50).max(16_000);
    let latency_limit = limit_ms * 1_000_000;
    Shape {
        class,
        latency_limit,
        weight,
        marks: true,
        limit: Limit::new(bytes_per_s, burst, TICKS_PER_S, 2),
        room: bytes_per_s * limit_ms / 1_000,
    }
}

/// Runs arrivals, in the order of their times, through a scheduler whose outlet takes so long for a
/// byte. The buckets are empty at first.
fn run(shapes: &[(u32, Shape)], arrivals: &[Arrival], byte_ns: u64, capacity: usize) -> Vec<End> {
    let mut clock = Clock::new(TICKS_PER_S);
    clock.saw(1_000, 0);
    let words = Alone { words: RefCell::default(), start: clock.time(0) };
    let mut scheduler = Scheduler::new(capacity);
    scheduler.reshape(&shapes.iter().copied().collect());
    let (mut now, mut ends, mut coming) = (0, Vec::new(), 0);
    loop {
        while let Some(arrival) = arrivals.get(coming).filter(|arrival| arrival.at <= now) {
            let pushed = scheduler.push(arrival.lane, coming, arrival.bytes, now);
            if let Err((packet, cause)) = pushed {
                ends.push(End { at: now, packet, fate: Fate::Lost(cause) });
            }
            coming += 1;
        }
        match scheduler.pull(now, &clock, &words) {
            Next::Send { packet, mark, .. } => {
                ends.push(End { at: now, packet, fate: Fate::Sent { mark } });
                now += u64::from(arrivals[packet].bytes) * byte_ns;
            }
            Next::Drop { packet, cause, .. } => {
                ends.push(End { at: now, packet, fate: Fate::Lost(cause) });
            }
            Next::Wait { until } => {
                let next = arrivals.get(coming).map(|arrival| arrival.at);
                let Some(at) = next.into_iter().chain(until).min() else { break };
                assert!(at > now, "it would wait for what has come");
                now = at;
            }
        }
    }
    assert_eq!(scheduler.waiting(), 0);
    ends
}

/// Packets of a lane at a steady pace until `end`.
fn steady(lane: u32, bytes: u32, bytes_per_s: u64, end: u64) -> impl Iterator<Item = Arrival> {
    let step = SECOND * u64::from(bytes) / bytes_per_s;
    (0..end / step).map(move |n| Arrival { at: n * step, lane, bytes })
}

fn sorted(arrivals: impl IntoIterator<Item = Arrival>) -> Vec<Arrival> {
    let mut arrivals: Vec<Arrival> = arrivals.into_iter().collect();
    arrivals.sort_by_key(|arrival| arrival.at);
    arrivals
}

fn sent_bytes(ends: &[End], arrivals: &[Arrival], lane: u32, until: u64) -> u64 {
    let of_lane = ends.iter().filter(|end| {
        arrivals[end.packet].lane == lane && matches!(end.fate, Fate::Sent { .. }) && end.at < until
    });
    of_lane.map(|end| u64::from(arrivals[end.packet].bytes)).sum()
}

proptest! {
    /// The model has a level of bytes in floating point, refilled all the time.
    #[test]
    fn packets_leave_when_a_naive_bucket_lets_them(
        kb_per_s in prop::sample::select(vec![125u32, 1_000, 12_500, 1_250_000]),
        steps in prop::collection::vec((0..40_000_000u64, 64..1_500u32), 1..80),
    ) {
        let rate = u64::from(kb_per_s) * 1_000;
        // A minute: nothing is late.
        let shape = shape(TrafficClass::P2, rate, 60_000, 10);
        let burst = (rate / 50).max(16_000) as f64;
        let mut at = 0;
        let arrivals: Vec<Arrival> = steps
            .iter()
            .map(|(after, bytes)| {
                at += after;
                Arrival { at, lane: 3, bytes: *bytes }
            })
            .collect();
        let ends = run(&[(3, shape)], &arrivals, 0, CAPACITY);
        let (mut level, mut time) = (0f64, 0f64);
        for (number, end) in ends.iter().enumerate() {
            prop_assert_eq!(end.packet, number);
            let sent = matches!(end.fate, Fate::Sent { .. });
            prop_assert!(sent, "{end:?}");
            let arrival = arrivals[number];
            let from = time.max(arrival.at as f64);
            level = (level + (from - time) * rate as f64 / 1e9).min(burst);
            let lacking = (f64::from(arrival.bytes) - level).max(0.0) * 1e9 / rate as f64;
            level = (level + lacking * rate as f64 / 1e9).min(burst) - f64::from(arrival.bytes);
            time = from + lacking;
            // A millionth of the rate is rounded away, and less than a byte a packet.
            let slack = 1_000.0 + time / 1e6 + (number + 1) as f64 * 1e9 / rate as f64;
            prop_assert!((end.at as f64 - time).abs() <= slack, "{} not {}", end.at, time);
        }
    }

    #[test]
    fn every_packet_comes_out_once_and_a_lane_in_its_order(
        steps in prop::collection::vec((0..3_000_000u64, 0..5u32, 64..1_500u32), 1..300),
        byte_ns in 0..2_000u64,
        capacity in 1..64usize,
    ) {
        let classes = [TrafficClass::P0, TrafficClass::P0, TrafficClass::P1, TrafficClass::P3];
        let shapes: Vec<(u32, Shape)> = (0..)
            .zip(classes)
            .map(|(lane, class)| (lane, shape(class, 125_000 << (2 * lane), 20, lane + 1)))
            .collect();
        let mut at = 0;
        let arrivals: Vec<Arrival> = steps
            .iter()
            .map(|(after, lane, bytes)| {
                at += after;
                Arrival { at, lane: *lane, bytes: *bytes }
            })
            .collect();
        let ends = run(&shapes, &arrivals, byte_ns, capacity);
        let mut seen: Vec<usize> = ends.iter().map(|end| end.packet).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..arrivals.len()).collect::<Vec<_>>());
        for lane in 0..5 {
            // Those that were taken in; what is refused goes at once.
            let taken: Vec<usize> = ends
                .iter()
                .filter(|end| arrivals[end.packet].lane == lane)
                .filter(|end| {
                    matches!(end.fate, Fate::Sent { .. } | Fate::Lost(Cause::TooLate))
                })
                .map(|end| end.packet)
                .collect();
            prop_assert!(taken.is_sorted(), "{:?}", taken);
            prop_assert!(lane < 4 || taken.is_empty(), "there is no policy for it");
        }
        for end in &ends {
            let waited = end.at - arrivals[end.packet].at;
            let limit = 20_000_000 + 1_500 * byte_ns;
            if let Fate::Sent { mark } = end.fate {
                prop_assert!(waited <= limit, "waited {} ns", waited);
                // A packet that comes while another is on its way out is taken in after it.
                prop_assert!(!mark || waited > 10_000_000);
            }
        }
    }

    #[test]
    fn the_outlet_is_shared_by_weight(weights in prop::collection::vec(1..101u32, 2..6)) {
        // 8 ns a byte is 1 Gbit/s; each lane may have ten times that, and wants it.
        let shapes: Vec<(u32, Shape)> = (0..)
            .zip(&weights)
            .map(|(lane, weight)| (lane, shape(TrafficClass::P1, 1_250_000_000, 10_000, *weight)))
            .collect();
        let end = SECOND / 20;
        let lanes = 0..weights.len() as u32;
        let arrivals = sorted(lanes.clone().flat_map(|lane| steady(lane, 1_000, 130_000_000, end)));
        // Buckets fill before it begins.
        let arrivals: Vec<Arrival> =
            arrivals.iter().map(|arrival| Arrival { at: arrival.at + SECOND, ..*arrival }).collect();
        let ends = run(&shapes, &arrivals, 8, 100_000);
        let until = SECOND + end;
        let sent: Vec<u64> =
            lanes.map(|lane| sent_bytes(&ends, &arrivals, lane, until)).collect();
        let (total, weight): (u64, u32) = (sent.iter().sum(), weights.iter().sum());
        prop_assert!(total >= end / 8 - 2_000, "the outlet is busy: {}", total);
        for (sent, own) in sent.iter().zip(&weights) {
            let fair = total * u64::from(*own) / u64::from(weight);
            // One turn of every lane at the ends.
            let slack = 2 * (256 * u64::from(weight) + 1_000 * weights.len() as u64);
            prop_assert!(sent.abs_diff(fair) <= slack, "{} of {}", sent, fair);
        }
    }
}

#[test]
fn a_packet_of_p0_waits_for_one_packet_at_most() {
    let shapes = [
        (0, shape(TrafficClass::P0, 12_500_000, 100, 1)),
        (1, shape(TrafficClass::P3, 1_250_000_000, 1_000, 100)),
    ];
    // A tenth of the outlet's 1 Gbit/s for P0, and all of it for P3.
    let mut arrivals = sorted(steady(0, 200, 12_000_000, SECOND / 10).chain(steady(
        1,
        1_500,
        140_000_000,
        SECOND / 10,
    )));
    arrivals.iter_mut().for_each(|arrival| arrival.at += SECOND);
    let ends = run(&shapes, &arrivals, 8, 100_000);
    let of_p0 = ends.iter().filter(|end| arrivals[end.packet].lane == 0);
    let waits: Vec<u64> = of_p0.map(|end| end.at - arrivals[end.packet].at).collect();
    assert!(waits.len() > 5_000);
    let longest = waits.iter().max().copied();
    assert!(longest.is_some_and(|longest| longest <= (1_500 + 200) * 8), "{longest:?}");
    assert!(ends.iter().all(|end| matches!(end.fate, Fate::Sent { .. })));
}

#[test]
fn a_p0_without_end_leaves_a_fifth_to_the_others() {
    let shapes = [
        (0, shape(TrafficClass::P0, 1_250_000_000, 1_000, 1)),
        (1, shape(TrafficClass::P3, 1_250_000_000, 1_000, 1)),
    ];
    let all = [0, 1].into_iter().flat_map(|lane| steady(lane, 1_000, 130_000_000, SECOND / 10));
    let mut arrivals = sorted(all);
    arrivals.iter_mut().for_each(|arrival| arrival.at += SECOND);
    let ends = run(&shapes, &arrivals, 8, 100_000);
    let until = SECOND + SECOND / 10;
    let [p0, p3] = [0, 1].map(|lane| sent_bytes(&ends, &arrivals, lane, until));
    let ahead = URGENT_AHEAD as u64;
    assert!(p0.abs_diff((p0 + p3) * 4 / 5) <= ahead, "{p0} and {p3}");
}

#[test]
fn what_is_too_much_is_marked_before_it_is_dropped() {
    let limit = 20_000_000;
    let shapes = [(7, shape(TrafficClass::P3, 1_250_000, 20, 1))];
    let arrivals: Vec<Arrival> = steady(7, 1_000, 1_500_000, 2 * SECOND).collect();
    let ends = run(&shapes, &arrivals, 0, CAPACITY);
    let first = |wanted: fn(&Fate) -> bool| {
        ends.iter().position(|end| wanted(&end.fate)).expect("there is one")
    };
    let marked = first(|fate| matches!(fate, Fate::Sent { mark: true }));
    let lost = first(|fate| matches!(fate, Fate::Lost(_)));
    assert!(marked < lost, "{marked} {lost}");
    for end in &ends {
        let waited = end.at - arrivals[end.packet].at;
        assert!(waited <= limit, "{waited}");
        if let Fate::Sent { mark } = end.fate {
            assert_eq!(mark, waited > limit / 2, "{waited}");
        }
    }
    let bytes = sent_bytes(&ends, &arrivals, 7, 2 * SECOND);
    assert!(bytes.abs_diff(2_500_000) <= 2_500, "{bytes} of 2,500,000 bytes in 2 s");
}

#[test]
fn one_lane_leaves_room_for_another() {
    let lazy = shape(TrafficClass::P3, 125_000, 60_000, 1);
    let shapes =
        BTreeMap::from([(1, lazy), (2, lazy), (3, Shape { class: TrafficClass::P0, ..lazy })]);
    let mut scheduler = Scheduler::new(64);
    scheduler.reshape(&shapes);
    let mut fill = |lane| {
        let mut taken = 0;
        while scheduler.push(lane, (), 100, 0).is_ok() {
            taken += 1;
        }
        taken
    };
    assert_eq!([fill(1), fill(2), fill(3)], [32, 16, 13]);
    assert_eq!(scheduler.push(1, (), 100, 0), Err(((), Cause::NoRoom)));
}

#[test]
fn what_can_never_go_and_what_has_no_policy_is_refused() {
    let mut scheduler = Scheduler::new(64);
    scheduler.reshape(&BTreeMap::from([(1, shape(TrafficClass::P2, 125_000, 100, 1))]));
    assert_eq!(scheduler.push(1, (), 16_001, 0), Err(((), Cause::TooLarge)));
    assert_eq!(scheduler.push(2, (), 100, 0), Err(((), Cause::NoPolicy)));
    assert_eq!(scheduler.push(1, (), 12_000, 0), Ok(()));
    assert_eq!(scheduler.push(1, (), 1_000, 0), Err(((), Cause::LaneFull)));
}

#[test]
fn a_change_of_policy_keeps_what_waits_and_one_that_is_gone_drops_it() {
    let mut clock = Clock::new(TICKS_PER_S);
    clock.saw(1_000, 0);
    let words = Alone { words: RefCell::default(), start: clock.time(0) };
    let slow = shape(TrafficClass::P2, 125_000, 1_000, 1);
    let mut scheduler = Scheduler::new(64);
    scheduler.reshape(&BTreeMap::from([(1, slow), (2, slow)]));
    scheduler.push(1, 'a', 1_000, 0).expect("room");
    scheduler.push(1, 'b', 1_000, 0).expect("room");
    scheduler.push(2, 'c', 1_000, 0).expect("room");
    assert_eq!(scheduler.pull(0, &clock, &words), Next::Wait { until: Some(8_000_000) });
    let fast = shape(TrafficClass::P0, 125_000_000, 1_000, 1);
    scheduler.reshape(&BTreeMap::from([(1, fast)]));
    let gone = Next::Drop { lane: 2, packet: 'c', cause: Cause::NoPolicy };
    assert_eq!(scheduler.pull(1_000_000, &clock, &words), gone);
    for packet in ['a', 'b'] {
        let sent = Next::Send { lane: 1, packet, mark: false };
        assert_eq!(scheduler.pull(1_000_000, &clock, &words), sent);
    }
    assert_eq!(scheduler.pull(1_000_000, &clock, &words), Next::Wait { until: None });
    assert_eq!(scheduler.waiting(), 0);
}
