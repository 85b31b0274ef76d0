//! Nodes and an owner in a time of their own: answers are late or lost, the owner is another one at times.

use std::collections::VecDeque;

use model::{
    cluster::NodeId,
    quotas::{Answer, Ask, Owner},
};
use proptest::prelude::*;

use super::*;

const KEY: QuotaKey = QuotaKey([1; 16]);
const NODES: u32 = 3;

/// What happens in a step of some milliseconds.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many requests come to a node.
    Come(usize, u32),
    /// Nobody answers a node for a while.
    Lose(usize),
    /// The owner dies; another one takes over.
    Die,
    Nothing,
}

/// A message under way.
struct Sent<T> {
    node: usize,
    at: Duration,
    message: T,
}

struct World {
    limit: QuotaLimit,
    now: Duration,
    delay: Duration,
    owner: Owner,
    offices: u64,
    slices: Vec<Slice>,
    asks: VecDeque<Sent<Ask>>,
    answers: VecDeque<Sent<Answer>>,
    passed: u64,
    passed_alone: u64,
}

impl World {
    fn new(limit: QuotaLimit, delay: Duration) -> Self {
        let now = Duration::from_secs(1);
        Self {
            limit,
            now,
            delay,
            owner: Owner::new(1),
            offices: 1,
            slices: (0..NODES).map(|_| Slice::new(limit, now)).collect(),
            asks: VecDeque::new(),
            answers: VecDeque::new(),
            passed: 0,
            passed_alone: 0,
        }
    }

    fn step(&mut self, step: Step, pause: Duration) {
        self.now += pause;
        self.deliver();
        match step {
            Step::Come(node, requests) => {
                for _ in 0..requests {
                    self.come(node);
                }
            }
            Step::Lose(node) => {
                self.asks.retain(|sent| sent.node != node);
                self.answers.retain(|sent| sent.node != node);
                self.slices[node].lost();
            }
            Step::Die => {
                self.offices += 1;
                self.owner = Owner::new(self.offices);
                self.asks.clear();
                self.answers.clear();
                self.slices.iter_mut().for_each(Slice::lost);
            }
            Step::Nothing => {}
        }
        for node in 0..self.slices.len() {
            self.ask(node);
        }
    }

    fn come(&mut self, node: usize) {
        let (slice, now) = (&mut self.slices[node], self.now);
        slice.came(now);
        let reach = Reach { owner: true, nodes: NODES };
        let mut verdict = slice.verdict(reach, now);
        if verdict == Verdict::Ask {
            // As one that has waited for long enough.
            let _ = slice.wait();
            self.ask(node);
            self.slices[node].waited();
            verdict = self.slices[node].verdict(Reach { owner: false, ..reach }, now);
        }
        match verdict {
            Verdict::Pass => self.passed += 1,
            Verdict::PassAlone => self.passed_alone += 1,
            _ => return,
        }
        self.slices[node].pass(now);
    }

    fn ask(&mut self, node: usize) {
        if self.slices[node].begins_to_ask(self.now) {
            let message = self.slices[node].ask(KEY, self.now);
            self.asks.push_back(Sent { node, at: self.now + self.delay, message });
        }
    }

    fn deliver(&mut self) {
        while let Some(sent) = self.asks.pop_front_if(|sent| sent.at <= self.now) {
            let node = NodeId(sent.node as u64);
            let message = self.owner.answer(node, &sent.message, sent.at);
            self.answers.push_back(Sent { node: sent.node, at: sent.at + self.delay, message });
        }
        while let Some(sent) = self.answers.pop_front_if(|sent| sent.at <= self.now) {
            self.slices[sent.node].answered(sent.message.said, self.now);
        }
    }

    /// What may have passed by what was leased: a burst of each owner, and what came back, with what was
    /// leased and then another owner began anew for.
    fn bound(&self) -> u64 {
        let limit = self.limit;
        let time = (self.now - Duration::from_secs(1)).as_millis() as u64;
        let rate = u64::from(limit.requests) * time / limit.interval_ms;
        u64::from(limit.burst) * self.offices + rate + 1
    }
}

fn steps() -> impl Strategy<Value = Vec<(Step, u64)>> {
    let node = 0..NODES as usize;
    let step = prop_oneof![
        12 => (node.clone(), 0_u32..60).prop_map(|(node, requests)| Step::Come(node, requests)),
        1 => node.prop_map(Step::Lose),
        1 => Just(Step::Die),
        2 => Just(Step::Nothing),
    ];
    prop::collection::vec((step, 0_u64..120), 1..150)
}

proptest! {
    #[test]
    fn what_passes_is_within_the_bound_and_what_is_not_used_comes_back(
        requests in 1_u32..2_000,
        burst in 1_u32..300,
        delay in 0_u64..60,
        steps in steps(),
    ) {
        let limit = QuotaLimit { requests, interval_ms: 1_000, burst };
        let mut world = World::new(limit, Duration::from_millis(delay));
        for (step, pause) in steps {
            world.step(step, Duration::from_millis(pause));
            prop_assert!(world.passed <= world.bound(), "{} of {}", world.passed, world.bound());
        }
        // Each node has a share of its own besides, of the burst and of the rate.
        let most = u64::from(NODES) * (u64::from(burst / NODES).max(1) + 1) + world.bound();
        prop_assert!(world.passed_alone <= most, "{} of {most} alone", world.passed_alone);
        // In peace everything comes back: a burst, no less, passes on one node, whichever it is.
        for _ in 0..40 {
            world.step(Step::Nothing, Duration::from_millis(100));
        }
        let long = Duration::from_millis(1_000 * u64::from(burst) / u64::from(requests) * 3 + 100);
        world.step(Step::Nothing, long);
        let left = world.owner.answer(NodeId(9), &Ask {
            key: KEY, limit, want: 0, returned: 0, spent: 0, heard: None,
        }, world.now);
        let Said::Leased { left, .. } = left.said else { panic!("an owner") };
        prop_assert_eq!(left, i64::from(burst));
    }
}

#[test]
fn under_a_flood_exactly_the_limit_passes_however_it_is_spread() {
    for flood in [[30_u32, 30, 30], [90, 0, 0], [60, 29, 1]] {
        let limit = QuotaLimit { requests: 1_000, interval_ms: 1_000, burst: 100 };
        let mut world = World::new(limit, Duration::from_millis(1));
        let run = |world: &mut World, millis: u64| {
            let before = world.passed;
            for step in 0..millis / 10 {
                for (node, requests) in flood.iter().enumerate() {
                    // Ninety in 10 ms: nine times the limit.
                    world.step(Step::Come(node, *requests), Duration::from_millis(0));
                }
                world.step(Step::Nothing, Duration::from_millis(10));
                let _ = step;
            }
            world.passed - before
        };
        run(&mut world, 2_000);
        let passed = run(&mut world, 10_000);
        assert!((9_900..=10_100).contains(&passed), "{passed} in 10 s of {flood:?}");
    }
}
