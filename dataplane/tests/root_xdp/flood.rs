//! A SYN flood beside live flows: none of these changes its backend or is refused, whatever comes
//! beside it, also while the endpoints change. Needs root.

use ebpf_common::verdict::Reason;
use model::listener::{Forwarding, Protocol};

use crate::{
    driver::{Driver, handle},
    support::{
        bench::{Bench, PASS, TX},
        environment,
        objects::{Balanced, addresses},
        packets::{ACK, Frame, SYN, TCP},
    },
};

/// Sources of the flood in the suite, a power of two; those of the whole proof are four million.
const SOURCES: u64 = 1 << 20;
const SOURCES_VARIABLE: &str = "MARCHPROXY_FLOOD_SOURCES";
/// Live flows.
const FLOWS: u16 = 10_000;
/// Parts of the flood, each between two looks at all live flows.
const PARTS: u64 = 8;
const HOSTS: [u8; 4] = [21, 22, 23, 24];

/// A listener of a family and way of forwarding with these hosts; with full NAT each has many ports,
/// as the live flows need.
fn service(forwarding: Forwarding, v6: bool, hosts: &[u8]) -> Vec<Balanced> {
    let ports = if forwarding == Forwarding::Nat { 8_000..8_010 } else { 80..81 };
    let endpoints: Vec<String> = hosts
        .iter()
        .flat_map(|host| ports.clone().map(move |port| (host, port)))
        .map(|(host, port)| match v6 {
            false => format!("10.0.0.{host}:{port}"),
            true => format!("[fd00::{host}]:{port}"),
        })
        .collect();
    vec![Balanced {
        name: "flooded",
        protocol: Protocol::Tcp,
        address: Some(if v6 { "2001:db8::10" } else { "192.0.2.10" }),
        port: 80,
        forwarding,
        endpoints: addresses(&endpoints.iter().map(String::as_str).collect::<Vec<_>>()),
    }]
}

fn segment(v6: bool, client: u16, flags: u8) -> Frame {
    let (source, destination) = if v6 {
        (format!("[fd00::100]:{client}"), "[2001:db8::10]:80")
    } else {
        (format!("10.0.0.100:{client}"), "192.0.2.10:80")
    };
    let mut frame = Frame::new(TCP, &source, destination);
    frame.tcp_flags = flags;
    frame.payload.clear();
    frame.ethernet_source = [2, 0, 0, 0, 0, 0x64];
    frame
}

/// Floods a listener, in parts between which its endpoints may change; looks at all live flows
/// before, between and after.
fn flood(forwarding: Forwarding, v6: bool, changes: bool) {
    let sources = environment::number(SOURCES_VARIABLE).unwrap_or(SOURCES);
    assert!(sources.is_power_of_two());
    let mut bench = Bench::new(&service(forwarding, v6, &HOSTS));
    let live: Vec<Frame> = (0..FLOWS).map(|n| segment(v6, 10_000 + n, ACK)).collect();
    for flow in &live {
        let open = Frame { tcp_flags: SYN, ..flow.clone() };
        let (verdict, sent) = bench.run(&open.bytes());
        assert_eq!(verdict, TX);
        if forwarding == Forwarding::Nat {
            let answer = Frame { tcp_flags: SYN | ACK, ..Frame::read(&sent).answer(b"") };
            assert_eq!(bench.run(&answer.bytes()).0, TX);
        }
    }
    let look = |bench: &mut Bench| -> Vec<Vec<u8>> {
        let run = |flow: &Frame| {
            let (verdict, sent) = bench.run(&flow.bytes());
            assert_eq!(verdict, TX, "{flow:?}");
            sent
        };
        live.iter().map(run).collect()
    };
    let placed = look(&mut bench);
    let mut driver = Driver::new();
    driver.call(&handle(bench.engine.program().xdp()));
    let syn = segment(v6, 1, SYN);
    let (mut moved, mut begun) = (0, 0);
    for part in 0..PARTS {
        if changes {
            // Of four hosts another one is away each time.
            let left: Vec<u8> =
                HOSTS.into_iter().filter(|host| u64::from(*host) % 4 != part % 4).collect();
            bench.apply(2 + part, &service(forwarding, v6, &left));
        }
        let frames = sources / PARTS;
        driver.run_from(&syn, part * frames, sources, frames as u32, bench.ifindex);
        let there = look(&mut bench);
        moved += there.iter().zip(&placed).filter(|(now, then)| now != then).count();
        // Who comes meanwhile is served too, but for want of room.
        let newcomer = segment(v6, 1_000 + part as u16, SYN);
        begun += usize::from(bench.run(&newcomer.bytes()).0 != PASS);
    }
    let statistics = bench.engine.statistics().unwrap();
    let [packets, _, _, _, connections] = statistics.listeners[0].words;
    println!(
        "{forwarding:?}, IPv6 {v6}, changes {changes}: {sources} SYNs, {connections} begun, {packets} \
         packets in, {moved} live ones moved"
    );
    assert_eq!(moved, 0, "of {FLOWS} flows looked at {PARTS} times");
    assert_eq!(begun as u64, PARTS);
    // The flood has come in, and what was not served is what there was no room for.
    let refused = [Reason::TableRefused, Reason::PortsExhausted].map(|it| statistics.count(it));
    let looked = u64::from(FLOWS) * (PARTS + 1);
    assert!(packets + refused.iter().sum::<u64>() >= sources + looked, "{statistics:?}");
    assert!(forwarding == Forwarding::Nat || packets >= sources + looked, "{statistics:?}");
}

#[test]
fn root_a_syn_flood_moves_no_live_connection_with_full_nat() {
    flood(Forwarding::Nat, false, false);
    flood(Forwarding::Nat, true, true);
}

#[test]
fn root_a_syn_flood_moves_no_live_flow_of_direct_server_return() {
    flood(Forwarding::L2, true, false);
    flood(Forwarding::Ipip, false, false);
}

#[test]
fn root_a_syn_flood_moves_no_live_flow_while_the_endpoints_change() {
    flood(Forwarding::Gue, false, true);
    flood(Forwarding::L2, true, true);
}
