//! ICMP errors: those that the program sends, and those that it forwards.

use std::net::{IpAddr, SocketAddr};

use ebpf_common::{layout::stat, verdict::Reason};
use model::listener::{Forwarding, Protocol};

use crate::support::{
    bench::{Bench, DROP, PASS, TX},
    icmp::Error,
    objects::{Balanced, addresses},
    outer,
    packets::{ACK, Frame, TCP, UDP, checksum},
};

const MODES: [Forwarding; 4] = [Forwarding::Nat, Forwarding::L2, Forwarding::Ipip, Forwarding::Gue];
const MTU: usize = 1_500;

fn services(forwarding: Forwarding, last: &[u8]) -> Vec<Balanced> {
    let mut all = Vec::new();
    for v6 in [false, true] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let endpoints: Vec<String> = last
                .iter()
                .map(|n| if v6 { format!("[fd00::{n}]:80") } else { format!("10.0.0.{n}:80") })
                .collect();
            all.push(Balanced {
                name: [["tcp4", "udp4"], ["tcp6", "udp6"]][usize::from(v6)]
                    [usize::from(protocol.is_udp())],
                protocol,
                address: Some(if v6 { "2001:db8::10" } else { "192.0.2.10" }),
                port: 80,
                forwarding,
                endpoints: addresses(&endpoints.iter().map(String::as_str).collect::<Vec<_>>()),
            });
        }
    }
    all
}

fn flow(protocol: u8, v6: bool, port: u16) -> Frame {
    if v6 {
        Frame::new(protocol, &format!("[fd00::100]:{port}"), "[2001:db8::10]:80")
    } else {
        Frame::new(protocol, &format!("10.0.0.100:{port}"), "192.0.2.10:80")
    }
}

/// Bytes that a mode adds to a packet.
fn overhead(forwarding: Forwarding, v6: bool) -> usize {
    match (forwarding, v6) {
        (Forwarding::Ipip, false) => 20,
        (Forwarding::Ipip, true) => 40,
        (Forwarding::Gue, false) => 28,
        (Forwarding::Gue, true) => 48,
        _ => 0,
    }
}

#[test]
fn root_the_sender_of_a_packet_that_is_too_big_is_told_what_fits() {
    for forwarding in MODES {
        let mut bench = Bench::new(&services(forwarding, &[21]));
        for v6 in [false, true] {
            let headers = if v6 { 48 } else { 28 };
            let fits = MTU - overhead(forwarding, v6);
            let mut frame = flow(UDP, v6, 40_000);
            frame.payload = vec![7; fits - headers];
            assert_eq!(bench.run(&frame.bytes()).0, TX, "{forwarding:?} {v6}: it fits");
            frame.payload.push(7);
            let big = frame.bytes();
            let (verdict, bytes) = bench.run(&big);
            assert_eq!(verdict, TX, "{forwarding:?} {v6}");
            let told = Error::read(&bytes);
            let (kind, code) = if v6 { (2, 0) } else { (3, 4) };
            let expected = Error {
                source: frame.destination.ip(),
                destination: frame.source.ip(),
                kind,
                code,
                detail: fits as u32,
                quoted: big[14..14 + 64].to_vec(),
                ethernet_destination: frame.ethernet_source,
                ethernet_source: frame.ethernet_destination,
            };
            assert_eq!(told, expected, "{forwarding:?}");
        }
        let statistics = bench.engine.statistics().unwrap();
        assert_eq!(statistics.words[stat::TOO_BIG_TOLD], 2);
        assert_eq!(statistics.count(Reason::TooBig), 0);
    }
}

#[test]
fn root_not_every_packet_of_a_flood_of_too_big_ones_is_answered() {
    let mut bench = Bench::new(&services(Forwarding::Ipip, &[21]));
    let mut frame = flow(UDP, false, 40_000);
    frame.payload = vec![7; MTU];
    let bytes = frame.bytes();
    let mut verdicts = [0u32; 4];
    for _ in 0..20_000 {
        verdicts[bench.run(&bytes).0 as usize] += 1;
    }
    let statistics = bench.engine.statistics().unwrap();
    let told = statistics.words[stat::TOO_BIG_TOLD];
    assert!(told >= 1_000, "{told}");
    assert!(statistics.count(Reason::TooBig) > 0, "{told} of 20,000 were told");
    assert_eq!(u64::from(verdicts[TX as usize]), told);
    assert_eq!(u64::from(verdicts[DROP as usize]), statistics.count(Reason::TooBig));
}

/// The error that a router on the way to the client sends about an answer of the service.
fn about_answer_of(frame: &Frame, kind: u8) -> Error {
    let router = if frame.source.is_ipv6() { "2001:db8:99::1" } else { "198.51.100.1" };
    about(&frame.answer(&[9; 900]), router, kind)
}

#[test]
fn root_an_error_about_a_direct_flow_comes_to_the_endpoint_that_has_the_flow() {
    for forwarding in [Forwarding::L2, Forwarding::Ipip, Forwarding::Gue] {
        let mut bench = Bench::new(&services(forwarding, &[21, 22, 23]));
        let mut expected = 0;
        let frames: Vec<Frame> = (0..40)
            .map(|n| {
                let protocol = if n % 2 == 0 { TCP } else { UDP };
                flow(protocol, n % 4 < 2, 30_000 + n)
            })
            .collect();
        let placed: Vec<u8> = frames
            .iter()
            .map(|frame| {
                bench.run(&frame.bytes());
                bench.run(&Frame { tcp_flags: ACK, ..frame.clone() }.bytes()).1[5]
            })
            .collect();
        // So that Maglev alone leads some flows elsewhere.
        bench.apply(2, &services(forwarding, &[22, 23, 24]));
        for (frame, to) in frames.iter().zip(placed) {
            let kinds: &[u8] = if frame.source.is_ipv6() { &[1, 2, 3, 4] } else { &[3, 11, 12] };
            for kind in kinds {
                let error = about_answer_of(frame, *kind).bytes();
                let (verdict, bytes) = bench.run(&error);
                assert_eq!((verdict, bytes[5]), (TX, to), "{forwarding:?} {frame:?} {kind}");
                if forwarding == Forwarding::L2 {
                    assert_eq!(bytes[12..], error[12..]);
                } else {
                    assert_eq!(outer::read(&bytes, forwarding).inner, error[14..]);
                }
                expected += 1;
            }
        }
        let statistics = bench.engine.statistics().unwrap();
        assert_eq!(statistics.words[stat::ERRORS_FORWARDED], expected);
    }
}

/// The error that a router sends to the sender of a frame.
fn about(frame: &Frame, router: &str, kind: u8) -> Error {
    let quoted = if frame.source.is_ipv6() { 40 + 8 } else { 20 + 8 };
    Error {
        source: router.parse().unwrap(),
        destination: frame.source.ip(),
        kind,
        code: 0,
        detail: 1_280,
        quoted: frame.bytes()[14..14 + quoted].to_vec(),
        ethernet_destination: [2, 0, 0, 0, 0, 1],
        ethernet_source: [2, 0, 0, 0, 0, 0xcc],
    }
}

/// What a quoted packet says of its flow: addresses and ports.
fn quoted_ends(error: &Error) -> (SocketAddr, SocketAddr) {
    let quoted = &error.quoted;
    let (source, destination, ports): (IpAddr, IpAddr, _) = if error.source.is_ipv6() {
        let address = |at: usize| <[u8; 16]>::try_from(&quoted[at..at + 16]).unwrap().into();
        (address(8), address(24), &quoted[40..])
    } else {
        assert_eq!(checksum(&[&quoted[..20]]), 0, "checksum of the quoted header");
        let address = |at: usize| <[u8; 4]>::try_from(&quoted[at..at + 4]).unwrap().into();
        (address(12), address(16), &quoted[20..])
    };
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    (SocketAddr::new(source, port(0)), SocketAddr::new(destination, port(2)))
}

#[test]
fn root_an_error_about_a_translated_connection_is_translated_to_whom_it_concerns() {
    let mut bench = Bench::new(&services(Forwarding::Nat, &[21, 22]));
    let mut expected = 0;
    for (protocol, v6) in [(TCP, false), (UDP, false), (TCP, true), (UDP, true)] {
        let router = if v6 { "2001:db8:99::1" } else { "198.51.100.1" };
        let request = flow(protocol, v6, 40_000);
        let sent = Frame::read(&bench.run(&request.bytes()).1);
        let answer = sent.answer(&[9; 900]);
        let (verdict, bytes) = bench.run(&answer.bytes());
        assert_eq!(verdict, TX);
        let back = Frame::read(&bytes);
        let kinds: &[u8] = if v6 { &[1, 2, 3, 4] } else { &[3, 11, 12] };
        for kind in kinds {
            // On the way to the client, then on the way to the endpoint.
            for (seen, real, towards) in [(&back, &answer, &sent), (&sent, &request, &back)] {
                let error = about(seen, router, *kind);
                let (verdict, bytes) = bench.run(&error.bytes());
                assert_eq!(verdict, TX, "{seen:?} {kind}");
                let translated = Error::read(&bytes);
                assert_eq!(
                    (translated.kind, translated.code, translated.detail),
                    (error.kind, error.code, error.detail)
                );
                assert_eq!(translated.source, towards.source.ip());
                assert_eq!(translated.destination, towards.destination.ip());
                assert_eq!(quoted_ends(&translated), (real.source, real.destination));
                assert_eq!(translated.ethernet_destination, towards.ethernet_destination);
                assert_eq!(translated.ethernet_source, towards.ethernet_source);
                expected += 1;
            }
        }
    }
    let statistics = bench.engine.statistics().unwrap();
    assert_eq!(statistics.words[stat::ERRORS_FORWARDED], expected);
}

#[test]
fn root_what_is_no_error_about_a_known_flow_is_left_to_the_kernel() {
    for forwarding in MODES {
        let mut bench = Bench::new(&services(forwarding, &[21]));
        for v6 in [false, true] {
            let frame = flow(TCP, v6, 40_000);
            let good = about_answer_of(&frame, if v6 { 1 } else { 3 });
            let ip = if v6 { 40 } else { 20 };
            let mut cases = vec![
                ("an echo request", Error { kind: if v6 { 128 } else { 8 }, ..good.clone() }),
                ("an echo reply", Error { kind: if v6 { 129 } else { 0 }, ..good.clone() }),
                ("too little is quoted", {
                    let quoted = good.quoted[..ip + 7].to_vec();
                    Error { quoted, ..good.clone() }
                }),
                ("the quoted packet is another's", {
                    let mut error = good.clone();
                    error.quoted[if v6 { 23 } else { 15 }] ^= 1;
                    error
                }),
                ("it goes to another", {
                    let destination = if v6 { "fd00::1" } else { "10.0.0.1" }.parse().unwrap();
                    Error { destination, ..good.clone() }
                }),
                ("another port", {
                    let mut error = good.clone();
                    error.quoted[ip + 1] = 81;
                    error
                }),
                ("neither TCP nor UDP", {
                    let mut error = good.clone();
                    error.quoted[if v6 { 6 } else { 9 }] = 47;
                    error
                }),
            ];
            if forwarding == Forwarding::Nat {
                cases.push(("no such connection", good));
            }
            for (what, error) in cases {
                let bytes = error.bytes();
                let (verdict, after) = bench.run(&bytes);
                assert_eq!((verdict, after), (PASS, bytes), "{forwarding:?} {v6} {what}");
            }
        }
        assert_eq!(bench.engine.statistics().unwrap().words[stat::ERRORS_FORWARDED], 0);
    }
}

#[test]
fn root_an_error_cut_anywhere_is_never_forwarded_longer_than_it_is() {
    let mut bench = Bench::new(&services(Forwarding::L2, &[21]));
    for v6 in [false, true] {
        let error = about_answer_of(&flow(TCP, v6, 40_000), if v6 { 2 } else { 3 }).bytes();
        for length in 14..error.len() {
            let (verdict, after) = bench.run(&error[..length]);
            assert_eq!((verdict, &after[..]), (PASS, &error[..length]), "{v6} {length}");
        }
        assert_eq!(bench.run(&error).0, TX);
    }
}
