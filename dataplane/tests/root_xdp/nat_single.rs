//! The XDP program run on single packets by the kernel (`BPF_PROG_TEST_RUN`), its answers checked
//! against an independent model. Needs root.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::bench::{Bench, DROP, PASS, REDIRECT, TX};
use crate::support::objects::{self, Balanced, addresses};
use crate::support::packets::{ACK, FIN, Frame, RST, SYN, TCP, UDP};
use ebpf_common::{layout::stat, verdict::Reason};
use model::listener::{Forwarding, Protocol};

const NODE_V4: &str = "10.0.0.1";
const NODE_V6: &str = "fd00::1";

fn services(v4: &[&str], v6: &[&str]) -> Vec<Balanced> {
    let endpoints: Vec<_> = [addresses(v4), addresses(v6)].concat();
    let balanced = |name, protocol, address, port| Balanced {
        name,
        protocol,
        address,
        port,
        forwarding: Forwarding::Nat,
        endpoints: endpoints.clone(),
    };
    vec![
        balanced("tcp-any", Protocol::Tcp, None, 80),
        balanced("udp-any", Protocol::Udp, None, 53),
        balanced("tcp-vip", Protocol::Tcp, Some("192.0.2.10"), 443),
    ]
}

fn two_backends() -> Vec<Balanced> {
    services(&["10.0.0.21:8000", "10.0.0.22:8000"], &["[fd00::21]:8000", "[fd00::22]:8000"])
}

fn flows() -> Vec<Frame> {
    vec![
        Frame::new(TCP, "10.0.0.100:40000", "10.0.0.1:80"),
        Frame::new(UDP, "10.0.0.100:40000", "10.0.0.1:53"),
        Frame::new(TCP, "[fd00::100]:40000", "[fd00::1]:80"),
        Frame::new(UDP, "[fd00::100]:40000", "[fd00::1]:53"),
        Frame::new(TCP, "10.0.0.100:40001", "192.0.2.10:443"),
    ]
}

#[test]
fn root_each_protocol_and_family_is_translated_there_and_back() {
    let mut bench = Bench::new(&two_backends());
    for request in flows() {
        let (verdict, bytes) = bench.run(&request.bytes());
        assert_eq!(verdict, TX, "{request:?}");
        let sent = Frame::read(&bytes);
        let node = if request.source.is_ipv4() { NODE_V4 } else { NODE_V6 };
        assert_eq!(sent.source.ip(), node.parse::<std::net::IpAddr>().unwrap());
        assert!(sent.source.port() >= 61_000, "{sent:?}");
        assert_eq!(sent.destination.port(), 8000);
        assert_eq!(sent.hop_limit, 63);
        assert_eq!(sent.payload, request.payload);
        assert_eq!(sent.ethernet_source, [2, 0, 0, 0, 0, 1]);
        let last = match sent.destination.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(ip) => ip.octets()[15],
        };
        let number = if request.source.is_ipv4() { last } else { last - 0x21 + 21 };
        assert_eq!(sent.ethernet_destination, [2, 0, 0, 0, 0, number]);

        let (verdict, bytes) = bench.run(&sent.answer(b"an answer!").bytes());
        assert_eq!(verdict, TX);
        let back = Frame::read(&bytes);
        assert_eq!(back.source, request.destination);
        assert_eq!(back.destination, request.source);
        assert_eq!(back.payload, b"an answer!");
        assert_eq!(back.hop_limit, 63);

        // The same flow again: the same backend and the same port.
        let next = Frame { tcp_flags: if request.protocol == TCP { ACK } else { 0 }, ..request };
        let again = Frame::read(&bench.run(&next.bytes()).1);
        assert_eq!((again.source, again.destination), (sent.source, sent.destination));
    }
    let statistics = bench.engine.statistics().unwrap();
    assert_eq!(statistics.forwarded(), 3 * 5);
    assert!(statistics.generations_seen.contains(&1));
    let words: Vec<_> =
        statistics.listeners.iter().map(|l| (l.listener.as_str(), l.words)).collect();
    // 12 bytes of payload and 10 of answer, behind 40 (TCP) or 28 (UDP) bytes; IPv6 has 20 more.
    assert_eq!(
        words,
        [
            ("Listener/default/udp-any", [4, 2 * 40 + 2 * 60, 2, 38 + 58, 2]),
            ("Listener/default/tcp-any", [4, 2 * 52 + 2 * 72, 2, 50 + 70, 2]),
            ("Listener/default/tcp-vip", [2, 2 * 52, 1, 50, 1]),
        ]
        .into_iter()
        .collect::<Vec<_>>()
        .tap_sorted(&words)
    );
}

/// Orders expectations like what was found: the order of listeners is of no account.
trait TapSorted {
    fn tap_sorted(self, like: &Self) -> Self;
}

impl TapSorted for Vec<(&str, [u64; 5])> {
    fn tap_sorted(mut self, like: &Self) -> Self {
        self.sort_by_key(|(name, _)| like.iter().position(|(other, _)| other == name));
        self
    }
}

#[test]
fn root_a_frame_cut_anywhere_is_passed_untouched() {
    let mut bench = Bench::new(&two_backends());
    for request in flows() {
        let whole = request.bytes();
        // 14 is the least that the kernel takes.
        for length in 14..whole.len() {
            let (verdict, bytes) = bench.run(&whole[..length]);
            assert_eq!(verdict, PASS, "{length} of {request:?}");
            assert_eq!(bytes, &whole[..length]);
        }
        // Longer than the packet: Ethernet's padding is of no account.
        let padded = [whole.as_slice(), &[0; 9]].concat();
        assert_eq!(bench.run(&padded).0, TX);
    }
}

#[test]
fn root_what_is_not_for_xdp_is_passed_with_its_reason() {
    let mut bench = Bench::new(&two_backends());
    let tcp = Frame::new(TCP, "10.0.0.100:40000", "10.0.0.1:80").bytes();
    let v6 = Frame::new(TCP, "[fd00::100]:40000", "[fd00::1]:80").bytes();
    let change = |base: &[u8], edits: &[(usize, u8)]| {
        let mut bytes = base.to_vec();
        for (at, value) in edits {
            bytes[*at] = *value;
        }
        bytes
    };
    let cases = [
        ("ARP", change(&tcp, &[(13, 0x06)]), Reason::NotIp),
        ("a VLAN tag", change(&tcp, &[(12, 0x81), (13, 0)]), Reason::NotIp),
        ("ICMP", change(&tcp, &[(23, 1)]), Reason::NotTransport),
        ("ICMPv6", change(&v6, &[(20, 58)]), Reason::NotTransport),
        ("a first fragment", change(&tcp, &[(20, 0x20)]), Reason::Fragment),
        ("a last fragment", change(&tcp, &[(20, 0), (21, 7)]), Reason::Fragment),
        ("an IPv6 fragment", change(&v6, &[(20, 44)]), Reason::Fragment),
        ("IPv4 options", change(&tcp, &[(14, 0x46)]), Reason::IpOptions),
        ("hop-by-hop options", change(&v6, &[(20, 0)]), Reason::IpOptions),
        ("a short IPv4 header", change(&tcp, &[(14, 0x44)]), Reason::Malformed),
        ("version 5", change(&tcp, &[(14, 0x55)]), Reason::Malformed),
        ("another port", change(&tcp, &[(37, 81)]), Reason::NotService),
        ("another address", change(&tcp, &[(33, 77)]), Reason::NotService),
        ("an unknown reply", change(&tcp, &[(36, 0xf0), (37, 0)]), Reason::NotService),
    ];
    for (what, bytes, reason) in cases {
        let before = bench.engine.statistics().unwrap().count(reason);
        let (verdict, after) = bench.run(&bytes);
        assert_eq!(verdict, PASS, "{what}");
        assert_eq!(after, bytes, "{what}");
        assert_eq!(bench.engine.statistics().unwrap().count(reason), before + 1, "{what}");
    }
}

#[test]
fn root_what_cannot_be_forwarded_is_dropped_with_its_reason() {
    let mut all = two_backends();
    all.push(Balanced {
        name: "nowhere",
        protocol: Protocol::Tcp,
        address: None,
        port: 81,
        forwarding: Forwarding::Nat,
        endpoints: addresses(&["203.0.113.9:80"]),
    });
    all.push(Balanced {
        name: "silent",
        protocol: Protocol::Tcp,
        address: None,
        port: 82,
        forwarding: Forwarding::Nat,
        endpoints: addresses(&["10.0.0.29:80"]),
    });
    let mut bench = Bench::new(&all);
    let mut last_hop = Frame::new(TCP, "10.0.0.100:40000", "10.0.0.1:80");
    last_hop.hop_limit = 1;
    let mut bare = Frame::new(UDP, "[fd00::100]:40000", "[fd00::1]:53");
    bare.no_checksum = true;
    for (frame, reason) in [
        (last_hop, Reason::HopLimit),
        (bare, Reason::NoChecksum),
        (Frame::new(TCP, "10.0.0.100:40000", "10.0.0.1:81"), Reason::NoRoute),
        (Frame::new(TCP, "10.0.0.100:40000", "10.0.0.1:82"), Reason::NoNeighbour),
    ] {
        assert_eq!(bench.run(&frame.bytes()).0, DROP, "{reason:?}");
        assert_eq!(bench.engine.statistics().unwrap().count(reason), 1, "{reason:?}");
    }
}

#[test]
fn root_udp_without_a_checksum_stays_without_and_a_zero_sum_is_sent_as_ones() {
    let mut bench = Bench::new(&two_backends());
    let mut bare = Frame::new(UDP, "10.0.0.100:40000", "10.0.0.1:53");
    bare.no_checksum = true;
    assert!(Frame::read(&bench.run(&bare.bytes()).1).no_checksum);

    // A payload of every 16-bit value makes the sum of one of them zero.
    let mut ones = 0;
    let mut probe = Frame::new(UDP, "10.0.0.100:40003", "10.0.0.1:53");
    for value in 0..=u16::MAX {
        probe.payload = value.to_be_bytes().to_vec();
        let (verdict, bytes) = bench.run(&probe.bytes());
        assert_eq!(verdict, TX);
        assert!(!Frame::read(&bytes).no_checksum, "payload {value:#x}");
        ones += usize::from(bytes[40..42] == [0xff, 0xff]);
    }
    assert!(ones >= 1);
}

#[test]
fn root_swaps_move_no_established_flow() {
    const FLOWS: u16 = 1_000;
    const SWAPS: u64 = 100;
    let backends = ["10.0.0.21:8000", "10.0.0.22:8000", "10.0.0.23:8000", "10.0.0.24:8000"];
    let mut bench = Bench::new(&services(&backends, &[]));
    let flow = |n: u16| Frame::new(TCP, &format!("10.0.0.100:{}", 20_000 + n), "10.0.0.1:80");
    let mut placed = BTreeMap::new();
    let mut spread = BTreeSet::new();
    for n in 0..FLOWS {
        let sent = Frame::read(&bench.run(&flow(n).bytes()).1);
        bench.run(&Frame { tcp_flags: SYN | ACK, ..sent.answer(b"") }.bytes());
        spread.insert(sent.destination);
        placed.insert(n, (sent.source, sent.destination));
    }
    assert_eq!(spread.len(), backends.len());
    for swap in 0..SWAPS {
        // Every set of backends but the empty one, in turn; the last swap removes the listener.
        let set = if swap + 1 == SWAPS { 0 } else { swap % 15 + 1 };
        let chosen: Vec<&str> = backends
            .iter()
            .enumerate()
            .filter(|(n, _)| set >> n & 1 == 1)
            .map(|(_, b)| *b)
            .collect();
        let all = if chosen.is_empty() { Vec::new() } else { services(&chosen, &[]) };
        bench.apply(2 + swap, &all);
        for n in 0..FLOWS {
            let data = Frame { tcp_flags: ACK, ..flow(n) };
            let (verdict, bytes) = bench.run(&data.bytes());
            assert_eq!(verdict, TX, "flow {n} at swap {swap}");
            let sent = Frame::read(&bytes);
            assert_eq!((sent.source, sent.destination), placed[&n], "flow {n} at swap {swap}");
        }
    }
    assert_eq!(bench.run(&flow(FLOWS).bytes()).0, PASS, "a removed listener takes no new flow");
    assert_eq!(bench.engine.statistics().unwrap().count(Reason::Draining), 1);
}

#[test]
fn root_a_udp_flow_leaves_a_backend_that_left_and_no_other() {
    let both = services(&["10.0.0.21:8000", "10.0.0.22:8000"], &[]);
    let mut bench = Bench::new(&both);
    let flow = |n: u16| Frame::new(UDP, &format!("10.0.0.100:{}", 20_000 + n), "10.0.0.1:53");
    let before: Vec<_> =
        (0..100).map(|n| Frame::read(&bench.run(&flow(n).bytes()).1).destination).collect();
    bench.apply(2, &services(&["10.0.0.22:8000"], &[]));
    // The check is part of the refresh, which comes once a second.
    bench.wait_for_refresh();
    let left = addresses(&["10.0.0.21:8000"])[0];
    for n in 0..100 {
        let now = Frame::read(&bench.run(&flow(n).bytes()).1).destination;
        let stays = before[usize::from(n)] != left;
        assert_eq!(now == before[usize::from(n)], stays, "flow {n}");
        assert_ne!(now, left);
    }
    let moved = bench.engine.statistics().unwrap().words[stat::FLOWS_MOVED];
    assert_eq!(moved, before.iter().filter(|backend| **backend == left).count() as u64);
}

#[test]
fn root_no_two_flows_share_a_source_port_and_full_means_dropped() {
    let mut bench = Bench::new(&services(&["10.0.0.21:8000"], &[]));
    let flow = |n: u16| Frame::new(TCP, &format!("10.0.0.100:{}", 1024 + n), "10.0.0.1:80");
    let mut ports = BTreeMap::new();
    let mut refused = 0;
    for n in 0..5_000 {
        let (verdict, bytes) = bench.run(&flow(n).bytes());
        match verdict {
            TX => {
                let port = Frame::read(&bytes).source.port();
                assert!(port >= 61_000);
                if let Some(other) = ports.insert(port, n) {
                    panic!("flows {other} and {n} both have port {port}");
                }
            }
            DROP => refused += 1,
            other => panic!("verdict {other}"),
        }
    }
    let statistics = bench.engine.statistics().unwrap();
    assert_eq!(statistics.count(Reason::PortsExhausted), refused);
    assert!(ports.len() > 4_000, "{} of 4536 ports were found", ports.len());
    // Replies still find their own clients.
    for (port, n) in &ports {
        let reply = Frame {
            tcp_flags: SYN | ACK,
            ..Frame::new(TCP, "10.0.0.21:8000", &format!("10.0.0.1:{port}"))
        };
        let (verdict, bytes) = bench.run(&reply.bytes());
        assert_eq!(verdict, TX);
        assert_eq!(Frame::read(&bytes).destination.port(), 1024 + n);
    }
}

#[test]
fn root_the_port_of_a_closed_connection_is_used_again() {
    let mut bench = Bench::new(&services(&["10.0.0.21:8000"], &[]));
    let flow = |n: u16| Frame::new(TCP, &format!("10.0.0.100:{}", 1024 + n), "10.0.0.1:80");
    for n in 0..4_600 {
        let sent = Frame::read(&bench.run(&flow(n).bytes()).1);
        if sent.source.port() < 61_000 {
            continue;
        }
        let close = if n % 2 == 0 { RST } else { FIN };
        bench.run(&Frame { tcp_flags: close | ACK, ..flow(n) }.bytes());
        if close == FIN {
            bench.run(&Frame { tcp_flags: FIN | ACK, ..sent.answer(b"") }.bytes());
        }
    }
    bench.wait_for_refresh();
    bench.wait_for_refresh();
    bench.wait_for_refresh();
    let refused = bench.engine.statistics().unwrap().count(Reason::PortsExhausted);
    // 2,000 of 4,536 ports: sixteen tries miss all the rest once in half a million flows.
    for n in 5_000..7_000 {
        assert_eq!(bench.run(&flow(n).bytes()).0, TX, "flow {n}");
    }
    let after = bench.engine.statistics().unwrap();
    assert_eq!(after.count(Reason::PortsExhausted), refused);
    assert!(after.words[stat::PORTS_REUSED] > 1_500, "{after:?}");
}

#[test]
fn root_a_restart_takes_over_connections_generation_and_counters() {
    let mut bench = Bench::new(&two_backends());
    let request = Frame::new(TCP, "10.0.0.100:40000", "10.0.0.1:80");
    let before = Frame::read(&bench.run(&request.bytes()).1);
    bench.restart();
    assert_eq!(bench.engine.generation(), 1, "the generation in force is known before any change");
    bench.apply(2, &services(&["10.0.0.29:8000"], &[]));
    assert_eq!(bench.engine.generation(), 2);
    let data = Frame { tcp_flags: ACK, ..request };
    let after = Frame::read(&bench.run(&data.bytes()).1);
    assert_eq!((after.source, after.destination), (before.source, before.destination));
    let statistics = bench.engine.statistics().unwrap();
    let tcp = statistics.listeners.iter().find(|l| l.listener.ends_with("tcp-any")).unwrap();
    assert_eq!(tcp.words[0], 2, "a listener keeps its counters");
}

#[test]
fn root_detach_leaves_nothing_behind() {
    let mut bench = Bench::new(&two_backends());
    assert_eq!(bench.run(&flows()[0].bytes()).0, TX);
    let path = bench.pins.path();
    assert!(path.join("link_native_v0").exists());
    let removed = dataplane::xdp::detach(&bench.pins).unwrap();
    assert_eq!(removed.len(), 1 + dataplane::xdp::pins::MAPS.len(), "{removed:?}");
    assert!(!path.exists());
    assert!(dataplane::xdp::detach(&bench.pins).unwrap().is_empty(), "a second time is fine");
}

#[test]
fn root_another_interface_is_reached_by_redirect() {
    let mut bench = Bench::new(&two_backends());
    let (verdict, _) = bench.run_from_loopback(&flows()[0].bytes());
    assert_eq!(verdict, REDIRECT);
}

/// Prints what a swap costs by the number of services: all new, and with one changed.
#[test]
#[ignore = "a measurement: run it by name with --run-ignored all --no-capture"]
fn root_swap_cost() {
    use std::time::Instant;
    let mut bench = Bench::new(&[]);
    // Each has four endpoints.
    for count in [10u16, 1_000, 10_000] {
        let names: Vec<&'static str> =
            (0..count).map(|n| &*Box::leak(format!("s{n}").into_boxed_str())).collect();
        let all = |first_port: u16| -> Vec<Balanced> {
            names
                .iter()
                .enumerate()
                .map(|(n, name)| Balanced {
                    name,
                    protocol: Protocol::Tcp,
                    address: None,
                    port: 1_000 + n as u16,
                    forwarding: Forwarding::Nat,
                    endpoints: (0..4)
                        .map(|e| {
                            ([10, 0, 0, 21 + e], if n == 0 { first_port } else { 8_000 + n as u16 })
                                .into()
                        })
                        .collect(),
                })
                .collect()
        };
        let start = Instant::now();
        bench.apply(u64::from(count), &all(8_000));
        let fresh = start.elapsed();
        let desired = objects::desired(u64::from(count) + 1, &all(9_000));
        let start = Instant::now();
        bench.engine.reconcile(&desired).unwrap();
        println!("{count} services: all new {fresh:?}, one changed {:?}", start.elapsed());
    }
}
