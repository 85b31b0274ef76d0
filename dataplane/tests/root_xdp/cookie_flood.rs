//! A SYN flood against a listener with SYN cookies: it takes no place of a small table and no port, so
//! that live connections stay and clients who come meanwhile are served. Needs root.

use ebpf_common::{
    layout::{counter, stat},
    verdict::Reason,
};
use model::listener::{Forwarding, Protocol};

use crate::{
    driver::{Driver, handle},
    support::{
        bench::{Bench, TX},
        cookies::answering_by_cookies,
        environment,
        objects::{Balanced, addresses, desired},
        packets::{ACK, Frame, SYN, TCP},
        segments::Segment,
    },
};

/// SYNs of the flood, a power of two, each of another source.
const SOURCES: u64 = 1 << 19;
const SOURCES_VARIABLE: &str = "MARCHPROXY_FLOOD_SOURCES";
/// Connections that the table has room for, the least that can be set, and those that live in it.
const CONNECTIONS: u32 = 1 << 12;
const LIVE: u16 = 1_000;
/// Parts of the flood, each between two looks at all.
const PARTS: u64 = 8;

fn ends(v6: bool, client: u16) -> (String, &'static str) {
    if v6 {
        (format!("[fd00::100]:{client}"), "[2001:db8::10]:80")
    } else {
        (format!("10.0.0.100:{client}"), "192.0.2.10:80")
    }
}

fn service(v6: bool) -> Vec<Balanced> {
    vec![Balanced {
        name: "flooded",
        protocol: Protocol::Tcp,
        address: Some(if v6 { "2001:db8::10" } else { "192.0.2.10" }),
        port: 80,
        forwarding: Forwarding::Nat,
        endpoints: addresses(&[if v6 { "[fd00::21]:8000" } else { "10.0.0.21:8000" }]),
    }]
}

/// A client opens a connection; returns its next segment.
fn open(bench: &mut Bench, v6: bool, client: u16) -> Segment {
    let (client, listener) = ends(v6, client);
    let mut send = |segment: &Segment| {
        let (verdict, bytes) = bench.run(&segment.bytes());
        assert_eq!(verdict, TX, "{segment:?}");
        Segment::read(&bytes)
    };
    let answer = send(&Segment::syn(&client, listener, 100, 1_460));
    assert_eq!(answer.flags, SYN | ACK);
    let ack = answer.answer(101, ACK, b"");
    let there = send(&ack);
    assert_eq!(there.flags, SYN);
    let poke = send(&there.answer(7_000, SYN, b""));
    assert_eq!(poke.sequence, answer.sequence);
    Segment { payload: b"data".to_vec(), ..ack }
}

fn flood(v6: bool) {
    let sources = environment::number(SOURCES_VARIABLE).unwrap_or(SOURCES);
    assert!(sources.is_power_of_two());
    let mut bench = Bench::with(&[], |settings| settings.connections = CONNECTIONS);
    bench.engine.reconcile(&answering_by_cookies(desired(1, &service(v6)))).unwrap();
    let live: Vec<Segment> = (0..LIVE).map(|n| open(&mut bench, v6, 10_000 + n)).collect();
    let look = |bench: &mut Bench| -> Vec<Vec<u8>> {
        let run = |data: &Segment| {
            let (verdict, sent) = bench.run(&data.bytes());
            assert_eq!(verdict, TX, "{data:?}");
            assert_eq!(Segment::read(&sent).acknowledgement, 7_001);
            sent
        };
        live.iter().map(run).collect()
    };
    let placed = look(&mut bench);
    let mut driver = Driver::new();
    driver.tail = true;
    driver.call(&handle(bench.engine.program().xdp()));
    let (client, listener) = ends(v6, 1);
    let mut syn = Frame::new(TCP, &client, listener);
    syn.payload.clear();
    for part in 0..PARTS {
        let frames = sources / PARTS;
        driver.run_from(&syn, part * frames, sources, frames as u32, bench.ifindex);
        assert_eq!(look(&mut bench), placed, "part {part}");
        // Who comes meanwhile is served.
        open(&mut bench, v6, 2_000 + part as u16);
    }
    let statistics = bench.engine.statistics().unwrap();
    let served = u64::from(LIVE) + PARTS;
    assert_eq!(statistics.listeners[0].words[counter::CONNECTIONS], served);
    assert_eq!(statistics.words[stat::COOKIES_ACCEPTED], served);
    assert_eq!(statistics.words[stat::COOKIES_SENT], served + sources, "{statistics:?}");
    for reason in [Reason::TableRefused, Reason::PortsExhausted, Reason::CookieRefused] {
        assert_eq!(statistics.count(reason), 0, "{reason:?}");
    }
}

#[test]
fn root_a_syn_flood_takes_no_place_and_no_port_of_a_listener_with_syn_cookies() {
    flood(false);
    flood(true);
}
