//! The program on single packets (`BPF_PROG_TEST_RUN`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use ebpf_common::{
    layout::{CONFIG_MAP, FLOWS, stat},
    verdict::Reason,
};
use model::listener::{Forwarding, Protocol};

use crate::support::{
    bench::{Bench, DROP, PASS, TX},
    objects::{Balanced, addresses},
    outer,
    packets::{ACK, Frame, SYN, TCP, UDP},
};

const MODES: [Forwarding; 3] = [Forwarding::L2, Forwarding::Ipip, Forwarding::Gue];
const TUNNELS: [Forwarding; 2] = [Forwarding::Ipip, Forwarding::Gue];
const NODE_ETHERNET: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Listeners on a virtual address of each family, TCP and UDP port 80, with these endpoints.
fn services(forwarding: Forwarding, last: &[u8]) -> Vec<Balanced> {
    let v4: Vec<String> = last.iter().map(|n| format!("10.0.0.{n}:80")).collect();
    let v6: Vec<String> = last.iter().map(|n| format!("[fd00::{n}]:80")).collect();
    let balanced = |name, protocol, address, list: &[String]| Balanced {
        name,
        protocol,
        address: Some(address),
        port: 80,
        forwarding,
        endpoints: addresses(&list.iter().map(String::as_str).collect::<Vec<_>>()),
    };
    vec![
        balanced("tcp4", Protocol::Tcp, "192.0.2.10", &v4),
        balanced("udp4", Protocol::Udp, "192.0.2.10", &v4),
        balanced("tcp6", Protocol::Tcp, "2001:db8::10", &v6),
        balanced("udp6", Protocol::Udp, "2001:db8::10", &v6),
    ]
}

fn flow(protocol: u8, v6: bool, port: u16) -> Frame {
    let (client, service) = if v6 {
        (format!("[fd00::100]:{port}"), "[2001:db8::10]:80")
    } else {
        (format!("10.0.0.100:{port}"), "192.0.2.10:80")
    };
    Frame::new(protocol, &client, service)
}

/// The last number of the endpoint that a frame was sent to, by its Ethernet address.
fn sent_to(frame: &[u8]) -> u8 {
    assert_eq!(frame[..5], [2, 0, 0, 0, 0]);
    frame[5]
}

fn segment(flow: &Frame) -> Vec<u8> {
    Frame { tcp_flags: ACK, ..flow.clone() }.bytes()
}

/// Opens connections; returns where each is.
fn establish(bench: &mut Bench, flows: &[Frame]) -> Vec<u8> {
    let open = |frame: &Frame| {
        bench.run(&frame.bytes());
        sent_to(&bench.run(&segment(frame)).1)
    };
    flows.iter().map(open).collect()
}

#[test]
fn root_a_packet_arrives_as_it_was_by_every_mode() {
    for forwarding in MODES {
        let mut bench = Bench::new(&services(forwarding, &[21, 22]));
        for (protocol, v6) in [(TCP, false), (UDP, false), (TCP, true), (UDP, true)] {
            let frame = flow(protocol, v6, 40_000);
            let mut bytes = frame.bytes();
            // DSCP AF41 with CE: an outer header must carry both.
            let class = 0x88 | 3;
            if v6 {
                bytes[14] = 0x60 | class >> 4;
                bytes[15] = class << 4;
            } else {
                let old = u16::from_be_bytes([bytes[24], bytes[25]]);
                bytes[15] = class;
                let sum = u32::from(!old) + u32::from(class);
                let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
                bytes[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            let (verdict, out) = bench.run(&bytes);
            assert_eq!(verdict, TX, "{forwarding:?} {frame:?}");
            let last = sent_to(&out);
            assert!([21, 22].contains(&last));
            if forwarding == Forwarding::L2 {
                assert_eq!(out[6..12], NODE_ETHERNET);
                assert_eq!(out[12..], bytes[12..]);
                continue;
            }
            let outer = outer::read(&out, forwarding);
            let (node, endpoint) = if v6 {
                ("fd00::1".to_owned(), format!("fd00::{last}"))
            } else {
                ("10.0.0.1".to_owned(), format!("10.0.0.{last}"))
            };
            assert_eq!(outer.ethernet_source, NODE_ETHERNET);
            assert_eq!(outer.source, node.parse::<std::net::IpAddr>().unwrap());
            assert_eq!(outer.destination, endpoint.parse::<std::net::IpAddr>().unwrap());
            assert_eq!(outer.traffic_class, class);
            assert_eq!(outer.inner, bytes[14..]);
            assert!(outer.source_port.is_none_or(|port| port >= 49_152));
        }
        let statistics = bench.engine.statistics().unwrap();
        assert_eq!(statistics.forwarded(), 4);
        assert!(statistics.listeners.iter().all(|l| l.words[0] == 1 && l.words[4] == 1));
    }
}

#[test]
fn root_gue_spreads_flows_over_source_ports_and_keeps_each_on_one() {
    let mut bench = Bench::new(&services(Forwarding::Gue, &[21]));
    let mut ports = BTreeSet::new();
    for port in 30_000..30_200 {
        let frame = flow(TCP, false, port);
        let seen: BTreeSet<_> = [frame.bytes(), segment(&frame)]
            .iter()
            .map(|bytes| outer::read(&bench.run(bytes).1, Forwarding::Gue).source_port)
            .collect();
        assert_eq!(seen.len(), 1);
        ports.extend(seen);
    }
    assert!(ports.len() > 190, "{} ports of 200 flows", ports.len());
}

#[test]
fn root_direct_flows_move_by_no_swap() {
    const FLOWS: u16 = 500;
    const SWAPS: u64 = 60;
    let all = [21u8, 22, 23, 24];
    let mut bench = Bench::new(&services(Forwarding::Ipip, &all));
    let mut placed: BTreeMap<(bool, u16), u8> = BTreeMap::new();
    for v6 in [false, true] {
        for port in 0..FLOWS {
            let frame = flow(TCP, v6, 20_000 + port);
            let first = sent_to(&bench.run(&frame.bytes()).1);
            assert_eq!(sent_to(&bench.run(&segment(&frame)).1), first);
            placed.insert((v6, port), first);
        }
    }
    assert_eq!(placed.values().copied().collect::<BTreeSet<_>>(), BTreeSet::from(all));
    for swap in 0..SWAPS {
        let set = swap * 7 % 15 + 1;
        let chosen: Vec<u8> = all
            .into_iter()
            .enumerate()
            .filter(|(n, _)| set >> n & 1 == 1)
            .map(|(_, b)| b)
            .collect();
        // Connections that begin before a change and have sent nothing but a SYN.
        let opening: Vec<(Frame, u8)> = (0..50)
            .map(|n| {
                let frame = flow(TCP, false, 5_000 + (swap as u16) * 50 + n);
                let to = sent_to(&bench.run(&frame.bytes()).1);
                (frame, to)
            })
            .collect();
        bench.apply(2 + swap, &services(Forwarding::Ipip, &chosen));
        for (frame, to) in opening {
            let (verdict, bytes) = bench.run(&segment(&frame));
            assert_eq!((verdict, sent_to(&bytes)), (TX, to), "swap {swap}: {frame:?}");
        }
        for n in 0..50 {
            let frame = flow(TCP, false, 50_000 + n);
            let first = sent_to(&bench.run(&frame.bytes()).1);
            assert!(chosen.contains(&first), "a new connection goes to an endpoint of now");
            assert_eq!(sent_to(&bench.run(&segment(&frame)).1), first, "and stays there");
        }
        for ((v6, port), to) in &placed {
            let (verdict, bytes) = bench.run(&segment(&flow(TCP, *v6, 20_000 + port)));
            assert_eq!((verdict, sent_to(&bytes)), (TX, *to), "swap {swap}, port {port}");
        }
    }
    // The listeners go, and the flows go on.
    bench.apply(2 + SWAPS, &[]);
    for ((v6, port), to) in &placed {
        let (verdict, bytes) = bench.run(&segment(&flow(TCP, *v6, 20_000 + port)));
        assert_eq!((verdict, sent_to(&bytes)), (TX, *to), "port {port}");
    }
    assert_eq!(bench.run(&flow(TCP, false, 9).bytes()).0, PASS, "nothing new begins");
}

#[test]
fn root_a_flood_of_syns_moves_no_direct_flow() {
    const FLOWS: u16 = 10_000;
    const FLOOD: u32 = 200_000;
    let mut bench = Bench::new(&services(Forwarding::Ipip, &[21, 22, 23]));
    let live = |n: u16| flow(TCP, false, 20_000 + n);
    let placed: Vec<u8> = (0..FLOWS)
        .map(|n| {
            bench.run(&live(n).bytes());
            sent_to(&bench.run(&segment(&live(n))).1)
        })
        .collect();
    let mut syn = flow(TCP, false, 1);
    for n in 0..FLOOD {
        let source = std::net::Ipv4Addr::from(0x0b00_0000 + n * 21);
        syn.source = std::net::SocketAddr::new(source.into(), 1024 + (n % 60_000) as u16);
        assert_eq!(bench.run(&syn.bytes()).0, TX);
    }
    // Only the table knows the flows of an endpoint that has left.
    bench.apply(2, &services(Forwarding::Ipip, &[22, 23]));
    for (n, to) in (0..FLOWS).zip(placed) {
        assert_eq!(sent_to(&bench.run(&segment(&live(n))).1), to, "flow {n}");
    }
}

#[test]
fn root_a_direct_udp_flow_leaves_an_endpoint_that_left_and_no_other() {
    let mut bench = Bench::new(&services(Forwarding::Gue, &[21, 22, 23]));
    let flows: Vec<Frame> = (0..200).map(|n| flow(UDP, true, 20_000 + n)).collect();
    let placed: Vec<u8> = flows.iter().map(|frame| sent_to(&bench.run(&frame.bytes()).1)).collect();
    bench.apply(2, &services(Forwarding::Gue, &[22, 23, 24]));
    let mut moved;
    // A flow is looked at again when the clock of the table has moved on, at most every 10 s.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        moved = 0;
        let mut left = 0;
        for (frame, before) in flows.iter().zip(&placed) {
            let to = sent_to(&bench.run(&frame.bytes()).1);
            if *before == 21 {
                moved += 1;
                left += u32::from(to == 21);
            } else {
                assert_eq!(to, *before);
            }
        }
        if left == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{left} flows have not moved");
    }
    assert!(moved > 20, "{moved}");
    assert_eq!(bench.engine.statistics().unwrap().words[stat::FLOWS_MOVED], moved);
}

#[test]
fn root_a_restart_takes_over_direct_flows() {
    let mut bench = Bench::new(&services(Forwarding::Ipip, &[21, 22, 23]));
    let flows: Vec<Frame> = (0..300).map(|n| flow(TCP, n % 2 == 0, 20_000 + n)).collect();
    let placed = establish(&mut bench, &flows);
    bench.restart();
    // 24 comes before the others in the new process, and must not get their numbers.
    bench.apply(2, &services(Forwarding::Ipip, &[24]));
    bench.apply(3, &services(Forwarding::Ipip, &[22, 23, 24]));
    for (frame, to) in flows.iter().zip(placed) {
        assert_eq!(sent_to(&bench.run(&segment(frame)).1), to, "{frame:?}");
    }
}

#[test]
fn root_what_cannot_be_forwarded_directly_is_dropped_with_its_reason() {
    for forwarding in MODES {
        let mut bench = Bench::new(&services(forwarding, &[21]));
        bench.apply(2, &services(forwarding, &[29]));
        assert_eq!(bench.run(&flow(TCP, false, 1).bytes()).0, DROP);
        assert_eq!(bench.engine.statistics().unwrap().count(Reason::NoNeighbour), 1);
    }
    let mut bench = Bench::new(&[]);
    crate::support::namespaces::run("ip route add 203.0.113.0/24 via 10.0.0.21 dev v0");
    for (forwarding, verdict) in [(Forwarding::L2, DROP), (TUNNELS[0], TX), (TUNNELS[1], TX)] {
        let far = Balanced {
            name: "far",
            protocol: Protocol::Tcp,
            address: Some("192.0.2.10"),
            port: 80,
            forwarding,
            endpoints: addresses(&["203.0.113.9:80"]),
        };
        bench.apply(2, &[far]);
        assert_eq!(bench.run(&flow(TCP, false, 1).bytes()).0, verdict, "{forwarding:?}");
    }
    assert_eq!(bench.engine.statistics().unwrap().count(Reason::NotOnLink), 1);
}

#[test]
fn root_a_new_connection_of_the_same_ports_goes_to_an_endpoint_of_now() {
    let mut bench = Bench::new(&services(Forwarding::L2, &[21]));
    let frame = flow(TCP, false, 40_000);
    bench.run(&frame.bytes());
    assert_eq!(sent_to(&bench.run(&segment(&frame)).1), 21);
    bench.apply(2, &services(Forwarding::L2, &[22]));
    assert_eq!(sent_to(&bench.run(&segment(&frame)).1), 21, "it goes on");
    assert_eq!(frame.tcp_flags, SYN);
    assert_eq!(sent_to(&bench.run(&frame.bytes()).1), 22, "it begins anew");
    assert_eq!(sent_to(&bench.run(&segment(&frame)).1), 22);
}

#[test]
fn root_a_new_connection_is_led_by_no_entry_of_one_that_ended() {
    let mut bench = Bench::new(&services(Forwarding::L2, &[21]));
    let frame = flow(TCP, false, 40_000);
    bench.run(&frame.bytes());
    assert_eq!(sent_to(&bench.run(&segment(&frame)).1), 21);
    // The listener goes and comes, so nothing but the table tells of its endpoint before.
    bench.apply(2, &[]);
    bench.apply(3, &services(Forwarding::L2, &[22]));
    assert_eq!(sent_to(&bench.run(&frame.bytes()).1), 22);
    assert_eq!(sent_to(&bench.run(&segment(&frame)).1), 22);
}

#[test]
fn root_a_configuration_that_outgrows_its_map_moves_into_a_larger_one_and_no_flow_moves() {
    const RECORDS: usize = 1 + 2 * (1 << 14);
    const SERVICES: u8 = 30;
    const ENDPOINTS: u8 = 100;
    let many: Vec<Balanced> = (0..SERVICES)
        .map(|n| {
            let list: Vec<String> = (1..=ENDPOINTS).map(|m| format!("10.1.{n}.{m}:80")).collect();
            Balanced {
                name: Box::leak(format!("many{n}").into_boxed_str()),
                protocol: Protocol::Tcp,
                address: Some("192.0.2.11"),
                port: 1_000 + u16::from(n),
                forwarding: Forwarding::Nat,
                endpoints: addresses(&list.iter().map(String::as_str).collect::<Vec<_>>()),
            }
        })
        .collect();
    let mut bench =
        Bench::with_tables(&services(Forwarding::Ipip, &[21, 22, 23]), FLOWS, RECORDS as u32);
    let flows: Vec<Frame> = (0..300).map(|n| flow(TCP, n % 2 == 0, 20_000 + n)).collect();
    let placed = establish(&mut bench, &flows);
    let records = |bench: &Bench| {
        let map = aya::maps::MapData::from_pin(bench.pins.map(CONFIG_MAP)).unwrap();
        map.info().unwrap().max_entries() as usize
    };
    assert_eq!(records(&bench), RECORDS);
    assert!(!bench.engine.is_stale());
    let mut all = many;
    all.extend(services(Forwarding::Ipip, &[22, 23, 24]));
    bench.apply(2, &all);
    let grown = records(&bench);
    assert!(grown > RECORDS, "{grown}");
    for round in 0..2 {
        for (frame, to) in flows.iter().zip(&placed) {
            let (verdict, bytes) = bench.run(&segment(frame));
            assert_eq!((verdict, sent_to(&bytes)), (TX, *to), "round {round}: {frame:?}");
        }
        bench.restart();
        assert_eq!(records(&bench), grown, "the next process takes the larger map over");
        bench.apply(3 + round, &all);
    }
    let statistics = bench.engine.statistics().unwrap();
    assert_eq!(statistics.forwarded(), 1_200, "counters go on");
    assert_eq!(statistics.interfaces, [("v0".to_owned(), "native")]);
}

#[test]
fn root_a_map_with_little_room_grows_while_nothing_waits_for_it() {
    let mut all = services(Forwarding::Ipip, &[21]);
    // Room for what is there, and not for much more.
    let mut bench = Bench::with_tables(&all, FLOWS, 1 + 2 * 1_024);
    let frame = flow(TCP, false, 40_000);
    let mut number = 0;
    let generation = loop {
        let before = bench.engine.generation();
        number += 1;
        assert!(number < 100, "it never gets tight");
        all.push(Balanced {
            name: Box::leak(format!("more{number}").into_boxed_str()),
            protocol: Protocol::Tcp,
            address: Some("192.0.2.12"),
            port: 1_000 + number,
            forwarding: Forwarding::Ipip,
            endpoints: addresses(&[&format!("10.1.0.{number}:{}", 1_000 + number)]),
        });
        bench.apply(1 + u64::from(number), &all);
        assert_eq!(bench.engine.generation(), before + 1);
        if bench.engine.is_stale() {
            break before + 1;
        }
    };
    // The same again, as the actor does when the engine is stale.
    bench.apply(1 + u64::from(number), &all);
    assert_eq!(bench.engine.generation(), generation + 1);
    assert!(!bench.engine.is_stale());
    assert_eq!(bench.run(&frame.bytes()).0, TX);
}
