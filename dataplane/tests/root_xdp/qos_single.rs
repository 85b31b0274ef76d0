//! Limits and marks in the program, run on single packets by the kernel (`BPF_PROG_TEST_RUN`). Needs
//! root.

use std::time::{Duration, Instant};

use dataplane::xdp::statistics::LimiterCounters;
use ebpf_common::{
    qos::{CREDIT_COUNTERS, Way, counter},
    verdict::Reason,
};
use model::listener::{Forwarding, Protocol};

use crate::support::{
    bench::{Bench, DROP, TX},
    objects::{Balanced, addresses, desired_with},
    outer,
    packets::{ACK, Frame, TCP, UDP, checksum},
};

const MODES: [Forwarding; 4] = [Forwarding::Nat, Forwarding::L2, Forwarding::Ipip, Forwarding::Gue];
const FLOWS: [(u8, bool); 4] = [(TCP, false), (UDP, false), (TCP, true), (UDP, true)];

/// Listeners on a virtual address of each family, TCP and UDP port 80, with one endpoint each.
fn services(forwarding: Forwarding) -> Vec<Balanced> {
    let balanced = |name, protocol, address, endpoint| Balanced {
        name,
        protocol,
        address: Some(address),
        port: 80,
        forwarding,
        endpoints: addresses(&[endpoint]),
    };
    vec![
        balanced("tcp4", Protocol::Tcp, "192.0.2.10", "10.0.0.21:80"),
        balanced("udp4", Protocol::Udp, "192.0.2.10", "10.0.0.21:80"),
        balanced("tcp6", Protocol::Tcp, "2001:db8::10", "[fd00::21]:80"),
        balanced("udp6", Protocol::Udp, "2001:db8::10", "[fd00::21]:80"),
    ]
}

const ALL: [&str; 4] = ["tcp4", "udp4", "tcp6", "udp6"];

fn policy(listeners: &[&str], fields: &str) -> String {
    let listeners: Vec<String> =
        listeners.iter().map(|name| format!("{{ name: {name} }}")).collect();
    format!(
        "kind: QoSPolicy\nmetadata: {{ name: gold }}\nspec: {{ listeners: [{}], {fields} }}\n",
        listeners.join(", ")
    )
}

fn under(forwarding: Forwarding, policy: &str) -> Bench {
    let mut bench = Bench::new(&[]);
    bench.engine.reconcile(&desired_with(2, &services(forwarding), policy)).unwrap();
    bench
}

fn flow(protocol: u8, v6: bool) -> Frame {
    let (client, service) = if v6 {
        ("[fd00::100]:40000", "[2001:db8::10]:80")
    } else {
        ("10.0.0.100:40000", "192.0.2.10:80")
    };
    Frame::new(protocol, client, service)
}

/// Gives a packet, from its IP header on, a traffic class, with a header checksum in full.
fn classed(mut ip: Vec<u8>, class: u8) -> Vec<u8> {
    if ip[0] >> 4 == 6 {
        ip[0] = 0x60 | class >> 4;
        ip[1] = class << 4 | ip[1] & 0x0f;
    } else {
        ip[1] = class;
        ip[10..12].fill(0);
        let sum = checksum(&[&ip[..20]]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    ip
}

fn frame_of(frame: &Frame, class: u8) -> Vec<u8> {
    let bytes = frame.bytes();
    [&bytes[..14], &classed(bytes[14..].to_vec(), class)].concat()
}

fn class_of(ip: &[u8]) -> u8 {
    if ip[0] >> 4 == 6 { ip[0] << 4 | ip[1] >> 4 } else { ip[1] }
}

fn counted(bench: &mut Bench, listener: &str, way: Way) -> LimiterCounters {
    let all = bench.engine.statistics().unwrap().limiters;
    let found = all.into_iter().find(|one| one.listener.ends_with(listener) && one.way == way);
    found.expect("the limiter")
}

#[test]
fn root_a_code_point_is_written_in_every_mode_and_nothing_else_is() {
    for forwarding in MODES {
        let mut plain = under(forwarding, "");
        let mut marking = under(forwarding, &policy(&ALL, "dscp: AF41"));
        for (protocol, v6) in FLOWS {
            let frame = flow(protocol, v6);
            // EF and ECT(1): the code point changes, notification does not.
            let (before, after) = (46 << 2 | 1, 34 << 2 | 1);
            let bytes = frame_of(&frame, before);
            let (verdict, marked) = marking.run(&bytes);
            assert_eq!(verdict, TX, "{forwarding:?} {frame:?}");
            // What comes out without a policy when the packet comes in with that class.
            let (_, expected) = plain.run(&frame_of(&frame, after));
            if forwarding == Forwarding::Nat {
                // The source port is chosen by the flow, so both nodes choose the same.
                Frame::read(&marked);
            }
            assert_eq!(marked, expected, "{forwarding:?} {frame:?}");
            if matches!(forwarding, Forwarding::Ipip | Forwarding::Gue) {
                let outer = outer::read(&marked, forwarding);
                assert_eq!((outer.traffic_class, class_of(&outer.inner)), (after, after));
            }
        }
        let counted = counted(&mut marking, "tcp6", Way::Ingress);
        assert_eq!(counted.words[counter::DSCP_PACKETS], 1);
        assert_eq!(counted.words[counter::CE_PACKETS], 0);
        assert_eq!(counted.policy, "QoSPolicy/default/gold");
    }
}

#[test]
fn root_answers_by_the_node_are_marked_too() {
    let mut plain = under(Forwarding::Nat, "");
    let mut marking = under(Forwarding::Nat, &policy(&ALL, "dscp: 11"));
    for (protocol, v6) in FLOWS {
        let answers = [&mut plain, &mut marking].map(|bench| {
            let sent = Frame::read(&bench.run(&flow(protocol, v6).bytes()).1);
            let class = if bench.engine.statistics().unwrap().limiters.is_empty() { 44 } else { 0 };
            let (verdict, back) = bench.run(&frame_of(&sent.answer(b"an answer"), class));
            assert_eq!(verdict, TX);
            Frame::read(&back);
            back
        });
        assert_eq!(class_of(&answers[1][14..]), 11 << 2);
        assert_eq!(answers[0], answers[1]);
    }
    assert_eq!(counted(&mut marking, "udp4", Way::Egress).words[counter::DSCP_PACKETS], 1);
}

/// Runs frames of a thousand bytes in a row, within one tick or so; returns how many passed.
fn rush(bench: &mut Bench, listener: &str, v6: bool) -> (u64, Duration) {
    let header = if v6 { 48 } else { 28 };
    let frame = Frame { payload: vec![7; 1_000 - header], ..flow(UDP, v6) }.bytes();
    let before = counted(bench, listener, Way::Ingress).words[counter::PASSED_PACKETS];
    let ifindex = bench.ifindex;
    let start = Instant::now();
    bench.run_on(&frame, ifindex, 300);
    let took = start.elapsed();
    (counted(bench, listener, Way::Ingress).words[counter::PASSED_PACKETS] - before, took)
}

#[test]
fn root_a_limit_lets_exactly_its_burst_through_at_once() {
    let limit = "ingress: { bandwidthMbps: 1, burstKB: 20 }, excess: Drop";
    for v6 in [false, true] {
        let listener = if v6 { "udp6" } else { "udp4" };
        // 1,000 bytes take 8 ms: a run within 4 ms sees no more than the burst.
        let mut tries = 0;
        let (passed, mut bench) = loop {
            let mut bench = under(Forwarding::L2, &policy(&ALL, limit));
            let (passed, took) = rush(&mut bench, listener, v6);
            if took < Duration::from_millis(4) {
                break (passed, bench);
            }
            tries += 1;
            assert!(tries < 50, "never within 4 ms: {took:?}");
        };
        assert_eq!(passed, 20);
        let words = counted(&mut bench, listener, Way::Ingress).words;
        assert_eq!(words[counter::PASSED_BYTES], 20_000);
        assert_eq!((words[counter::OVER_PACKETS], words[counter::OVER_BYTES]), (280, 280_000));
        assert_eq!(bench.engine.statistics().unwrap().count(Reason::OverLimit), 280);
        // Others are not touched by it.
        let other = if v6 { "udp4" } else { "udp6" };
        assert_eq!(counted(&mut bench, other, Way::Ingress).words, [0; CREDIT_COUNTERS]);
        assert_eq!(bench.run(&flow(UDP, !v6).bytes()).0, TX);
    }
}

#[test]
fn root_answers_are_limited_by_egress_alone() {
    let limit = "egress: { bandwidthMbps: 1, burstKB: 10 }, excess: Drop";
    let mut bench = under(Forwarding::Nat, &policy(&["tcp4", "udp6"], limit));
    for (protocol, v6, listener) in [(TCP, false, "tcp4"), (UDP, true, "udp6")] {
        let request = flow(protocol, v6);
        let sent = Frame::read(&bench.run(&request.bytes()).1);
        let answer = Frame { payload: vec![1; 900], tcp_flags: ACK, ..sent.answer(b"") }.bytes();
        let verdicts: Vec<u32> = (0..30).map(|_| bench.run(&answer).0).collect();
        assert_eq!(verdicts[..10], [TX; 10]);
        assert!(verdicts.contains(&DROP), "{verdicts:?}");
        let next = Frame { tcp_flags: ACK, payload: vec![1; 900], ..request }.bytes();
        assert!((0..30).all(|_| bench.run(&next).0 == TX), "requests are not limited");
        let words = counted(&mut bench, listener, Way::Egress).words;
        assert_eq!(words[counter::PASSED_PACKETS] + words[counter::OVER_PACKETS], 30);
        assert_eq!(counted(&mut bench, listener, Way::Ingress).words, [0; CREDIT_COUNTERS]);
    }
}

#[test]
fn root_what_comes_near_a_limit_is_marked_where_it_is_understood() {
    let limit = "ingress: { bandwidthMbps: 1, burstKB: 16 }, ecn: Mark, excess: Drop";
    for (v6, ect) in [(false, 1), (false, 2), (true, 2), (true, 0), (false, 3)] {
        let mut bench = under(Forwarding::L2, &policy(&ALL, limit));
        let header = if v6 { 48 } else { 28 };
        let frame = Frame { payload: vec![7; 1_000 - header], ..flow(UDP, v6) };
        let bytes = frame_of(&frame, 0x48 | ect);
        let mut classes = Vec::new();
        loop {
            let (verdict, out) = bench.run(&bytes);
            if verdict == DROP {
                break;
            }
            assert!(classes.len() < 1_000, "nothing is over the limit");
            Frame::read(&out);
            classes.push(class_of(&out[14..]));
        }
        let marks = if matches!(ect, 1 | 2) { 0x48 | 3 } else { 0x48 | ect };
        assert_eq!(classes[0], 0x48 | ect, "the first of a burst");
        assert_eq!(*classes.last().unwrap(), marks, "the last before a drop");
        let changed = classes.iter().filter(|class| **class != 0x48 | ect).count();
        let words = counted(&mut bench, if v6 { "udp6" } else { "udp4" }, Way::Ingress).words;
        assert_eq!(words[counter::CE_PACKETS], changed as u64);
        assert_eq!(words[counter::DSCP_PACKETS], 0);
    }
}

#[test]
fn root_a_limiter_lives_through_changes_and_restarts() {
    let limit = |mbps: u32| {
        policy(&ALL, &format!("ingress: {{ bandwidthMbps: {mbps}, burstKB: 10 }}, excess: Drop"))
    };
    let mut bench = under(Forwarding::L2, &limit(1));
    let drain = |bench: &mut Bench| rush(bench, "udp4", false).0;
    assert!(drain(&mut bench) >= 10);
    let words = |bench: &mut Bench| counted(bench, "udp4", Way::Ingress).words;
    let before = words(&mut bench);
    bench.engine.reconcile(&desired_with(3, &services(Forwarding::L2), &limit(2))).unwrap();
    assert_eq!(words(&mut bench), before, "counters live through a change");
    bench.restart();
    bench.engine.reconcile(&desired_with(4, &services(Forwarding::L2), &limit(2))).unwrap();
    assert_eq!(words(&mut bench), before, "and through a restart");

    // Another policy for the listener begins anew; none lets everything through.
    let other = limit(1).replace("gold", "red");
    bench.engine.reconcile(&desired_with(5, &services(Forwarding::L2), &other)).unwrap();
    assert_eq!(words(&mut bench), [0; CREDIT_COUNTERS]);
    assert!(drain(&mut bench) >= 10);
    bench.engine.reconcile(&desired_with(6, &services(Forwarding::L2), "")).unwrap();
    assert!(bench.engine.statistics().unwrap().limiters.is_empty());
    let frame = Frame { payload: vec![7; 900], ..flow(UDP, false) }.bytes();
    assert!((0..100).all(|_| bench.run(&frame).0 == TX));

    // A number that others had begins anew too.
    bench.engine.reconcile(&desired_with(7, &services(Forwarding::L2), &limit(1))).unwrap();
    assert_eq!(words(&mut bench), [0; CREDIT_COUNTERS]);
    assert!(drain(&mut bench) >= 10);
}
