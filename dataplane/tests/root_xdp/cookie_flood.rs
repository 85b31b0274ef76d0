//! A SYN flood against a listener with SYN cookies: it takes no place of a small table and no port, so
//! that live connections stay and clients who come meanwhile are served. Needs root.

use ebpf_common::{
    half_open,
    layout::{counter, stat},
    verdict::Reason,
};
use model::listener::{Forwarding, Protocol, SynCookies};

use crate::{
    driver::{Driver, handle},
    support::{
        bench::{Bench, DROP, TX},
        cookies::{answering_by_cookies, with_cookies},
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
/// Times that something is tried which needs that nothing leaks out of the half-open connections in that
/// moment, as one does every 60 ms; and the SYNs that fill them up before.
const TRIES: u16 = 20;
const MORE: u32 = 64;

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

/// A client opens a connection with the endpoint itself.
fn open_plainly(bench: &mut Bench, v6: bool, client: u16) -> Segment {
    let (client, listener) = ends(v6, client);
    let mut send = |segment: &Segment| {
        let (verdict, bytes) = bench.run(&segment.bytes());
        assert_eq!(verdict, TX, "{segment:?}");
        Segment::read(&bytes)
    };
    let syn = send(&Segment::syn(&client, listener, 100, 1_460));
    assert_eq!((syn.flags, syn.destination.port()), (SYN, 8_000));
    let answer = send(&syn.answer(7_000, SYN, b""));
    assert_eq!((answer.flags, answer.sequence), (SYN | ACK, 7_000));
    let ack = answer.answer(101, ACK, b"");
    send(&ack);
    Segment { payload: b"data".to_vec(), ..ack }
}

#[test]
fn root_cookies_come_with_a_flood_and_not_with_many_real_clients() {
    let mut bench = Bench::with(&[], |settings| settings.connections = 1 << 14);
    // So many that each has ports for all that there are.
    let mut services = service(false);
    services[0].endpoints =
        addresses(&["10.0.0.21:8000", "10.0.0.22:8000", "10.0.0.23:8000", "10.0.0.24:8000"]);
    let wanted = with_cookies(desired(1, &services), SynCookies::Auto);
    bench.engine.reconcile(&wanted).unwrap();
    let limit = u64::from(half_open::LIMIT);
    // Three times as many as may be half open, one after the other.
    let live: Vec<Segment> =
        (0..3 * limit as u16).map(|n| open_plainly(&mut bench, false, 10_000 + n)).collect();
    assert_eq!(bench.engine.statistics().unwrap().words[stat::COOKIES_SENT], 0);
    let mut driver = Driver::new();
    driver.tail = true;
    driver.call(&handle(bench.engine.program().xdp()));
    let (client, listener) = ends(false, 1);
    let mut syn = Frame::new(TCP, &client, listener);
    syn.payload.clear();
    driver.run_from(&syn, 0, SOURCES, 1 << 16, bench.ifindex);
    let statistics = bench.engine.statistics().unwrap();
    let sent = statistics.words[stat::COOKIES_SENT];
    let begun = statistics.listeners[0].words[counter::CONNECTIONS];
    // What the flood began before, and what leaks meanwhile.
    let flood = begun - 3 * limit;
    println!("{sent} SYNs answered by cookies, {flood} begun");
    assert!((limit - 8..limit + 200).contains(&flood), "{flood} of the flood began");
    assert!(sent > (1 << 16) - limit - 200, "{sent}");
    // Live ones go on, and who comes now is served by a cookie.
    for data in &live {
        let (verdict, sent) = bench.run(&data.bytes());
        assert_eq!(verdict, TX);
        assert_eq!(Segment::read(&sent).acknowledgement, 7_001);
    }
    let answer = (0..TRIES).find_map(|n| {
        driver.run_from(&syn, 1 << 16, SOURCES, MORE, bench.ifindex);
        let (client, listener) = ends(false, 2_000 + n);
        let syn = Segment::syn(&client, listener, 100, 1_460);
        let answer = Segment::read(&bench.run(&syn.bytes()).1);
        (answer.flags == SYN | ACK).then_some(answer)
    });
    let ack = answer.expect("a cookie").answer(101, ACK, b"");
    let there = Segment::read(&bench.run(&ack.bytes()).1);
    assert_eq!((there.flags, there.sequence, there.destination.port()), (SYN, 100, 8_000));
    let statistics = bench.engine.statistics().unwrap();
    assert_eq!(statistics.words[stat::COOKIES_ACCEPTED], 1);
    // An acknowledgement out of nowhere is none of a cookie.
    let refused = (0..TRIES).any(|n| {
        driver.run_from(&syn, 1 << 16, SOURCES, MORE, bench.ifindex);
        let (client, listener) = ends(false, 3_000 + n);
        let stray = Segment { flags: ACK, ..Segment::syn(&client, listener, 1, 1_460) };
        bench.run(&stray.bytes()).0 == DROP
    });
    assert!(refused);
    assert_eq!(bench.engine.statistics().unwrap().count(Reason::CookieRefused), 1);
}

#[test]
fn root_without_a_flood_a_segment_of_no_connection_reaches_an_endpoint() {
    let mut bench = Bench::new(&[]);
    let wanted = with_cookies(desired(1, &service(true)), SynCookies::Auto);
    bench.engine.reconcile(&wanted).unwrap();
    let (client, listener) = ends(true, 3_000);
    let stray = Segment { flags: ACK, ..Segment::syn(&client, listener, 1, 1_460) };
    let (verdict, bytes) = bench.run(&stray.bytes());
    assert_eq!(verdict, TX);
    let there = Segment::read(&bytes);
    assert_eq!((there.flags, there.sequence, there.destination.port()), (ACK, 1, 8_000));
}

#[test]
fn root_a_syn_flood_takes_no_place_and_no_port_of_a_listener_with_syn_cookies() {
    flood(false);
    flood(true);
}
