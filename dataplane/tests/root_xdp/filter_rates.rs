//! The rates of the packet filter's rules in the program, run on single packets by the kernel
//! (`BPF_PROG_TEST_RUN`). Needs root.
//!
//! The bursts of rules are so small that a CPU borrows no more than it needs, since a test may be
//! moved to another one; the rules fit the test's packets only, since the kernel of the other end
//! of the link sends some of its own.

use std::time::{Duration, Instant};

use dataplane::Desired;
use ebpf_common::verdict::Reason;
use model::listener::{Forwarding, Protocol};

use crate::support::bench::{Bench, DROP};
use crate::support::objects::{self, Balanced, addresses};
use crate::support::packets::{Frame, TCP, UDP};

fn desired(revision: u64, rules: &str) -> Desired {
    let balanced = |name, protocol, port| Balanced {
        name,
        protocol,
        address: None,
        port,
        forwarding: Forwarding::Nat,
        endpoints: addresses(&["10.0.0.21:8000", "[fd00::21]:8000"]),
    };
    let services = [balanced("tcp", Protocol::Tcp, 80), balanced("udp", Protocol::Udp, 53)];
    let filter =
        format!("kind: PacketFilter\nmetadata: {{ name: edge }}\nspec: {{ rules: [{rules}] }}\n");
    objects::desired_with(revision, &services, &filter)
}

fn limited(rules: &str) -> Bench {
    let mut bench = Bench::new(&[]);
    bench.engine.reconcile(&desired(2, rules)).unwrap();
    assert_eq!(bench.engine.unfiltered(), None);
    bench
}

fn node(source: &str, port: u16) -> String {
    if source.starts_with('[') { format!("[fd00::1]:{port}") } else { format!("10.0.0.1:{port}") }
}

/// Sends packets until one is dropped, but no more than 200; returns how many were not.
fn passed(bench: &mut Bench, protocol: u8, source: &str, port: u16) -> usize {
    let frame = Frame::new(protocol, &format!("{source}:40000"), &node(source, port)).bytes();
    (0..200).take_while(|_| bench.run(&frame).0 != DROP).count()
}

/// Returns what each rule has dropped.
fn dropped(bench: &mut Bench) -> Vec<u64> {
    let statistics = bench.engine.statistics().unwrap();
    statistics.filtered.iter().map(|rule| rule.dropped).collect()
}

/// Sends packets through rules until that takes less than a second, in which a rate of one packet
/// a second lets no further one through; returns what was seen.
#[track_caller]
fn at_once<T>(rules: &str, observe: impl Fn(&mut Bench) -> T) -> T {
    const TRIES: usize = 10;
    for _ in 0..TRIES {
        let mut bench = limited(rules);
        let begin = Instant::now();
        let seen = observe(&mut bench);
        if begin.elapsed() < Duration::from_millis(950) {
            return seen;
        }
    }
    panic!("a second was not enough, {TRIES} times");
}

#[test]
fn root_each_source_has_a_limit_of_its_own() {
    let rule = "{ action: Rate, sources: [203.0.113.0/24, '2001:db8::/32'], \
                rate: { packetsPerSecond: 1, burst: 7, per: Source, prefixLengthV4: 31 } }";
    let (seen, limited, filtered, dropped) = at_once(rule, |bench| {
        let seen = [
            passed(bench, UDP, "203.0.113.2", 53),
            passed(bench, UDP, "203.0.113.3", 53),
            passed(bench, UDP, "203.0.113.4", 53),
            passed(bench, UDP, "[2001:db8::1]", 53),
            passed(bench, UDP, "[2001:db8::2]", 53),
            passed(bench, TCP, "[2001:db8:0:1::1]", 80),
        ];
        let counted = bench.engine.packets().unwrap();
        let sent = seen.iter().sum::<usize>() as u64 + 6;
        assert_eq!((counted.all, counted.dropped), (sent, 6));
        let statistics = bench.engine.statistics().unwrap();
        let count = |reason| statistics.count(reason);
        (seen, count(Reason::RateLimited), count(Reason::Filtered), dropped(bench))
    });
    // The second is the first by that length, the fifth is in the /64 of the fourth.
    assert_eq!(seen, [7, 0, 7, 7, 0, 7]);
    assert_eq!((limited, filtered, dropped), (6, 0, vec![6]));
}

#[test]
fn root_all_packets_of_a_rule_share_its_limit() {
    let rule = "{ action: Rate, rate: { packetsPerSecond: 1, burst: 9, per: Rule }, \
                protocol: UDP, ports: [53] }";
    let (seen, dropped) = at_once(rule, |bench| {
        let seen = [
            passed(bench, UDP, "203.0.113.2", 53),
            passed(bench, UDP, "[2001:db8::1]", 53),
            passed(bench, UDP, "203.0.113.2", 54),
            passed(bench, TCP, "203.0.113.2", 53),
        ];
        (seen, dropped(bench))
    });
    assert_eq!((seen, dropped), ([9, 0, 200, 200], vec![2]));
}

#[test]
fn root_what_is_within_a_limit_goes_on_to_the_rules_after_it() {
    let rules = "{ action: Rate, rate: { packetsPerSecond: 1, burst: 15, per: Rule }, protocol: TCP }, \
         { action: Rate, rate: { packetsPerSecond: 1, burst: 5, per: Source } }, \
         { action: Allow, sources: [203.0.113.0/24] }, \
         { action: Rate, rate: { packetsPerSecond: 1, burst: 2, per: Rule }, sources: [192.0.2.0/24] }, \
         { action: Deny, sources: [198.51.100.0/24] }";
    let (seen, then, end) = at_once(rules, |bench| {
        let seen = ["203.0.113.1", "192.0.2.1", "198.51.100.1"]
            .map(|source| passed(bench, TCP, source, 80));
        let then = dropped(bench);
        let rest = ["203.0.113.2", "203.0.113.3"].map(|source| passed(bench, TCP, source, 80));
        ((seen, rest), then, dropped(bench))
    });
    // Stopped by the second rule, the fourth and the fifth; ten are taken from the first by then.
    assert_eq!((seen.0, then), ([5, 2, 0], vec![0, 1, 0, 1, 1]));
    assert_eq!((seen.1, end), ([5, 0], vec![2, 1, 0, 1, 1]));
}

#[test]
fn root_other_packets_are_limited_by_rules_without_protocol_and_ports() {
    let rate = "rate: { packetsPerSecond: 1, burst: 3, per: Source }, sources: [203.0.113.0/24]";
    let rules = format!("{{ action: Rate, {rate} }}, {{ action: Rate, {rate}, protocol: UDP }}");
    let mut frame = Frame::new(TCP, "203.0.113.7:40000", "10.0.0.1:80").bytes();
    // ICMP.
    frame[23] = 1;
    let (seen, dropped) = at_once(&rules, |bench| {
        let seen = (0..9).take_while(|_| bench.run(&frame).0 != DROP).count();
        (seen, dropped(bench))
    });
    assert_eq!((seen, dropped), (3, vec![1, 0]));
}

#[test]
fn root_a_limit_fills_again_with_time() {
    let mut bench =
        limited("{ action: Rate, rate: { packetsPerSecond: 50, burst: 150, per: Source } }");
    let begin = Instant::now();
    let first = passed(&mut bench, UDP, "203.0.113.2", 53);
    let (mut all, mut last) = (first, begin);
    while last - begin < Duration::from_secs(1) {
        all += passed(&mut bench, UDP, "203.0.113.2", 53);
        last = Instant::now();
    }
    let most = 150.0 + (last - begin).as_secs_f64() * 50.0 + 1.0;
    assert!(first >= 150, "a whole burst: {first}");
    // A packet takes two ticks of 10 ms; the last may have come while the loop ended.
    assert!((most - 4.0..=most).contains(&(all as f64)), "{all} of {most}");
}

#[test]
fn root_a_rule_that_comes_anew_has_a_whole_burst_and_one_that_stays_goes_on() {
    let rule =
        "{ action: Rate, rate: { packetsPerSecond: 1, burst: 6, per: Rule }, protocol: UDP }";
    let (seen, dropped) = at_once(rule, |bench| {
        let first = passed(bench, UDP, "203.0.113.2", 53);
        let more = format!("{rule}, {{ action: Deny, ports: [9] }}");
        bench.engine.reconcile(&desired(3, &more)).unwrap();
        let second = passed(bench, UDP, "203.0.113.2", 53);
        // The rule at the second place is not the one that was at the first.
        let moved = format!("{{ action: Deny, ports: [9] }}, {rule}");
        bench.engine.reconcile(&desired(4, "{ action: Deny, ports: [9] }")).unwrap();
        bench.engine.reconcile(&desired(5, &moved)).unwrap();
        ([first, second, passed(bench, UDP, "203.0.113.2", 53)], dropped(bench))
    });
    assert_eq!((seen, dropped), ([6, 0, 6], vec![2, 1]));
}

#[test]
fn root_what_a_source_has_spent_is_known_after_a_restart() {
    let rule = "{ action: Rate, rate: { packetsPerSecond: 1, burst: 150, per: Source } }";
    let mut bench = limited(rule);
    let begin = Instant::now();
    assert!(passed(&mut bench, UDP, "203.0.113.2", 53) >= 150);
    bench.restart();
    let mut all = passed(&mut bench, UDP, "203.0.113.2", 53);
    bench.engine.reconcile(&desired(3, rule)).unwrap();
    all += passed(&mut bench, UDP, "203.0.113.2", 53);
    let earned = begin.elapsed().as_secs_f64();
    assert!((all as f64) <= earned, "{all} in {earned} s");
    assert!(passed(&mut bench, UDP, "203.0.113.4", 53) >= 150);
}
