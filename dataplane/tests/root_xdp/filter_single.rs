//! The packet filter in the program, run on single packets by the kernel (`BPF_PROG_TEST_RUN`), its
//! verdicts checked against the meaning of the rules. Needs root.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dataplane::Desired;
use ebpf_common::verdict::Reason;
use model::{
    listener::{Forwarding, Protocol},
    packet_filter::{FilteredPacket, Transport, decide, ordered_rules},
};

use crate::support::bench::{Bench, DROP, PASS, TX};
use crate::support::objects::{self, Balanced, addresses};
use crate::support::packets::{ACK, Frame, TCP, UDP};

fn services() -> Vec<Balanced> {
    let balanced = |name, protocol, port| Balanced {
        name,
        protocol,
        address: None,
        port,
        forwarding: Forwarding::Nat,
        endpoints: addresses(&["10.0.0.21:8000", "[fd00::21]:8000"]),
    };
    vec![balanced("tcp", Protocol::Tcp, 80), balanced("udp", Protocol::Udp, 53)]
}

fn desired(revision: u64, filters: &str) -> Desired {
    objects::desired_with(revision, &services(), filters)
}

fn filtered(filters: &str) -> Bench {
    let mut bench = Bench::new(&[]);
    bench.engine.reconcile(&desired(2, filters)).unwrap();
    bench
}

fn filter(rules: &str) -> String {
    format!("kind: PacketFilter\nmetadata: {{ name: edge }}\nspec:\n  rules:\n{rules}\n---\n")
}

fn list(name: &str, prefixes: &str) -> String {
    format!(
        "kind: PrefixList\nmetadata: {{ name: {name} }}\nspec: {{ prefixes: [{prefixes}] }}\n---\n"
    )
}

/// Runs a packet from a source to a port of the node.
fn run(bench: &mut Bench, protocol: u8, source: &str, port: u16) -> u32 {
    let source: IpAddr = source.parse().unwrap();
    let node = if source.is_ipv4() { "10.0.0.1" } else { "fd00::1" };
    let source = SocketAddr::new(source, 40_000).to_string();
    let node = SocketAddr::new(node.parse().unwrap(), port).to_string();
    bench.run(&Frame::new(protocol, &source, &node).bytes()).0
}

fn dropped(bench: &mut Bench) -> u64 {
    bench.engine.statistics().unwrap().count(Reason::Filtered)
}

#[test]
fn root_denied_sources_are_dropped_and_counted_by_rule() {
    let mut bench = filtered(&format!(
        "{}{}",
        filter(
            "    - { action: Deny, sourceLists: [{ name: bad }] }\n    \
             - { action: Deny, sources: ['2001:db8:bad::/48', 192.0.2.128/25] }"
        ),
        list("bad", "203.0.113.0/24, 198.51.100.7, '2001:db8::7'")
    ));
    for (source, verdict) in [
        ("203.0.113.0", DROP),
        ("203.0.113.255", DROP),
        ("203.0.114.0", TX),
        ("203.0.112.255", TX),
        ("198.51.100.7", DROP),
        ("198.51.100.6", TX),
        ("192.0.2.128", DROP),
        ("192.0.2.127", TX),
        ("2001:db8::7", DROP),
        ("2001:db8::6", TX),
        ("2001:db8:bad:1::1", DROP),
        ("2001:db8:bae::1", TX),
    ] {
        assert_eq!(run(&mut bench, TCP, source, 80), verdict, "{source}");
    }
    // What is not for a service is filtered too.
    assert_eq!(run(&mut bench, UDP, "203.0.113.9", 9_999), DROP);
    assert_eq!(run(&mut bench, UDP, "203.0.114.9", 9_999), PASS);
    let statistics = bench.engine.statistics().unwrap();
    assert_eq!(statistics.count(Reason::Filtered), 7);
    let by_rule: Vec<_> = statistics.filtered.into_iter().map(|c| (c.rule, c.dropped)).collect();
    assert_eq!(
        by_rule,
        [
            ("PacketFilter/default/edge rules[0]".to_owned(), 5),
            ("PacketFilter/default/edge rules[1]".to_owned(), 2)
        ]
    );
}

#[test]
fn root_the_first_rule_that_fits_decides() {
    let mut bench = filtered(&filter(
        "    - { action: Allow, sources: [203.0.113.7], protocol: TCP, ports: [80] }\n    \
         - { action: Deny, sources: [203.0.113.0/24] }\n    \
         - { action: Deny, destinations: [10.0.0.1, 'fd00::/64'], ports: [81, 5000-5999] }\n    \
         - { action: Deny, protocol: UDP, ports: [53] }",
    ));
    for (protocol, source, port, verdict) in [
        (TCP, "203.0.113.7", 80, TX),
        (TCP, "203.0.113.7", 81, DROP),
        (UDP, "203.0.113.7", 80, DROP),
        (TCP, "203.0.113.8", 80, DROP),
        (TCP, "192.0.2.1", 80, TX),
        (TCP, "192.0.2.1", 81, DROP),
        (UDP, "192.0.2.1", 5_999, DROP),
        (UDP, "192.0.2.1", 6_000, PASS),
        (UDP, "192.0.2.1", 53, DROP),
        (TCP, "192.0.2.1", 53, PASS),
        (TCP, "2001:db8::1", 5_000, DROP),
        (TCP, "2001:db8::1", 4_999, PASS),
    ] {
        assert_eq!(run(&mut bench, protocol, source, port), verdict, "{protocol} {source} {port}");
    }
}

#[test]
fn root_other_packets_are_filtered_by_rules_without_protocol_and_ports() {
    let change = |base: &[u8], edits: &[(usize, u8)]| {
        let mut bytes = base.to_vec();
        for (at, value) in edits {
            bytes[*at] = *value;
        }
        bytes
    };
    let tcp = Frame::new(TCP, "203.0.113.7:40000", "10.0.0.1:80").bytes();
    let v6 = Frame::new(TCP, "[2001:db8::7]:40000", "[fd00::1]:80").bytes();
    let frames = [
        ("ICMP", change(&tcp, &[(23, 1)])),
        ("ICMPv6", change(&v6, &[(20, 58)])),
        ("a fragment", change(&tcp, &[(20, 0), (21, 7)])),
        ("an IPv6 fragment", change(&v6, &[(20, 44)])),
        ("IPv4 options", change(&tcp, &[(14, 0x46)])),
    ];
    let mut bench =
        filtered(&filter("    - { action: Deny, sources: [203.0.113.0/24, '2001:db8::/32'] }"));
    for (name, frame) in &frames {
        assert_eq!(bench.run(frame).0, DROP, "{name}");
    }
    assert_eq!(dropped(&mut bench), 5);
    let named = filter(
        "    - { action: Deny, protocol: TCP }\n    - { action: Deny, ports: [80] }\n    \
         - { action: Deny, sources: [192.0.2.0/24] }",
    );
    bench.engine.reconcile(&desired(3, &named)).unwrap();
    for (name, frame) in &frames {
        assert_eq!(bench.run(frame).0, PASS, "{name}");
    }
    // ARP has no addresses that rules know.
    assert_eq!(bench.run(&change(&tcp, &[(13, 0x06)])).0, PASS);
}

#[test]
fn root_a_change_of_a_list_is_in_force_when_it_is_applied() {
    let rules = filter("    - { action: Deny, sourceLists: [{ name: bad }] }");
    let with = |prefixes: &str| format!("{rules}{}", list("bad", prefixes));
    let mut bench = filtered(&with("203.0.113.0/24, 198.51.100.7, '2001:db8::7'"));
    let mut check = |revision, prefixes: &str, expected: [u32; 4]| {
        bench.engine.reconcile(&desired(revision, &with(prefixes))).unwrap();
        let sources = ["203.0.113.1", "198.51.100.7", "198.51.100.8", "2001:db8::7"];
        let found = sources.map(|source| run(&mut bench, TCP, source, 80));
        assert_eq!(found, expected, "{prefixes}");
    };
    check(3, "198.51.100.7, '2001:db8::7'", [TX, DROP, TX, DROP]);
    check(4, "198.51.100.8, 198.51.100.7", [TX, DROP, DROP, TX]);
    check(5, "0.0.0.0/0", [DROP, DROP, DROP, TX]);
    check(6, "'::/0'", [TX, TX, TX, DROP]);
    check(7, "", [TX, TX, TX, TX]);
}

#[test]
fn root_without_a_filter_nothing_is_dropped() {
    let mut bench = filtered("");
    assert_eq!(run(&mut bench, TCP, "203.0.113.1", 80), TX);
    let all = filter("    - { action: Deny }");
    bench.engine.reconcile(&desired(3, &all)).unwrap();
    assert_eq!(run(&mut bench, TCP, "203.0.113.1", 80), DROP);
    // A list that no rule refers to is none.
    bench.engine.reconcile(&desired(4, &list("bad", "0.0.0.0/0"))).unwrap();
    assert_eq!(run(&mut bench, TCP, "203.0.113.1", 80), TX);
    let statistics = bench.engine.statistics().unwrap();
    assert_eq!((statistics.count(Reason::Filtered), statistics.filtered), (1, Vec::new()));
}

#[test]
fn root_answers_of_endpoints_to_open_connections_are_not_filtered() {
    let mut bench = filtered("");
    let request = Frame::new(TCP, "203.0.113.1:40000", "10.0.0.1:80");
    let (verdict, bytes) = bench.run(&request.bytes());
    assert_eq!(verdict, TX);
    let sent = Frame::read(&bytes);
    let rules = filter("    - { action: Deny, sources: [10.0.0.0/24] }");
    bench.engine.reconcile(&desired(3, &rules)).unwrap();
    assert_eq!(bench.run(&sent.answer(b"an answer").bytes()).0, TX);
    let segment = Frame { tcp_flags: ACK, ..request.clone() };
    assert_eq!(bench.run(&segment.bytes()).0, TX);
    // The client's side of the same connection is.
    let rules = filter("    - { action: Deny, sources: [203.0.113.0/24] }");
    bench.engine.reconcile(&desired(4, &rules)).unwrap();
    assert_eq!(bench.run(&segment.bytes()).0, DROP);
}

#[test]
fn root_a_filter_stays_in_force_while_the_process_restarts() {
    let with = |prefixes: &str| {
        let rules = filter("    - { action: Deny, sourceLists: [{ name: bad }] }");
        format!("{rules}{}", list("bad", prefixes))
    };
    let mut bench = filtered(&with("203.0.113.1, '2001:db8::/64'"));
    let verdicts = |bench: &mut Bench| {
        ["203.0.113.1", "203.0.113.2", "2001:db8::1"]
            .map(|source| run(bench, TCP, source, 80) == DROP)
    };
    for restart in 0..3 {
        bench.restart();
        assert_eq!(verdicts(&mut bench), [true, false, true], "restart {restart}");
        bench.engine.reconcile(&desired(3, &with("203.0.113.1, '2001:db8::/64'"))).unwrap();
        assert_eq!(verdicts(&mut bench), [true, false, true], "after restart {restart}");
    }
    bench.engine.reconcile(&desired(4, &with("203.0.113.2"))).unwrap();
    assert_eq!(verdicts(&mut bench), [false, true, false]);
}

#[test]
fn root_the_kernel_answers_as_the_rules_do() {
    // Prefixes of all lengths that nest in each other, in three lists that rules mix.
    let mut state = 7u64;
    let mut next = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let v4 = |random: u32| {
        0x0a00_0000 | (random & 3) << 16 | (random >> 2 & 3) << 8 | (random >> 4 & 0xff)
    };
    let v6 = |random: u32| {
        0x2001_0db8u128 << 96 | u128::from(random & 7) << 64 | u128::from(random >> 3 & 0xff)
    };
    let mut filters = String::new();
    for name in ["a", "b", "c"] {
        let mut prefixes = Vec::new();
        for _ in 0..40 {
            let length = 8 + next() % 25;
            let network = Ipv4Addr::from_bits(v4(next()) & u32::MAX << (32 - length));
            prefixes.push(format!("{network}/{length}"));
            let length = 32 + next() % 97;
            let network = Ipv6Addr::from_bits(v6(next()) & u128::MAX << (128 - length));
            prefixes.push(format!("'{network}/{length}'"));
        }
        filters += &list(name, &prefixes.join(", "));
    }
    filters += &filter(
        "    - { action: Allow, sourceLists: [{ name: a }], ports: [80] }\n    \
         - { action: Deny, sourceLists: [{ name: a }, { name: b }], destinations: [10.0.0.0/9] }\n    \
         - { action: Allow, sourceLists: [{ name: b }], protocol: UDP }\n    \
         - { action: Deny, sourceLists: [{ name: c }] }",
    );
    let desired = desired(2, &filters);
    let mut bench = Bench::new(&[]);
    bench.engine.reconcile(&desired).unwrap();
    let rules = ordered_rules(&desired.config);
    let mut denied = 0;
    for _ in 0..600 {
        let (source, destination): (IpAddr, &str) = match next() % 2 {
            0 => (Ipv4Addr::from_bits(v4(next())).into(), "10.0.0.1"),
            _ => (Ipv6Addr::from_bits(v6(next())).into(), "fd00::1"),
        };
        let port = [80, 81][(next() % 2) as usize];
        let (protocol, transport) =
            [(TCP, Transport::Tcp), (UDP, Transport::Udp)][(next() % 2) as usize];
        let destination: IpAddr = destination.parse().unwrap();
        let packet = FilteredPacket { source, destination, transport: Some((transport, port)) };
        let deny = decide(&rules, &desired.config, &packet).is_denied;
        denied += u64::from(deny);
        let verdict = run(&mut bench, protocol, &source.to_string(), port);
        assert_eq!(verdict == DROP, deny, "{packet:?}");
    }
    assert!((100..500).contains(&denied), "{denied} of 600 say little");
    assert_eq!(dropped(&mut bench), denied);
}
