//! What is counted for endpoints is what came out, by a tally of the frames. Needs root.

use std::{collections::BTreeMap, net::SocketAddr};

use model::{
    listener::{Forwarding, Protocol},
    traffic::{EndpointQuery, EndpointState, TrafficCounters},
};

use crate::support::{
    bench::{Bench, TX},
    objects::{Balanced, addresses},
    packets::{ACK, Frame, SYN, TCP, UDP},
};

type Tally = BTreeMap<SocketAddr, TrafficCounters>;

fn services(forwarding: Forwarding, endpoints: &[&str]) -> Vec<Balanced> {
    let address = (forwarding != Forwarding::Nat).then_some("192.0.2.10");
    [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)]
        .map(|(name, protocol)| Balanced {
            name,
            protocol,
            address,
            port: 80,
            forwarding,
            endpoints: addresses(endpoints),
        })
        .into()
}

fn counted(bench: &mut Bench) -> Tally {
    let all = bench.engine.traffic(&EndpointQuery::default()).unwrap();
    all.into_iter().map(|it| (it.endpoint, it.counters.unwrap())).collect()
}

/// Sends flows of three packets through the node, with answers where they come back through it, and
/// tells what each endpoint was sent.
fn send(bench: &mut Bench, forwarding: Forwarding, tally: &mut Tally) {
    let to = if forwarding == Forwarding::Nat { "10.0.0.1:80" } else { "192.0.2.10:80" };
    for n in 0..40 {
        for protocol in [TCP, UDP] {
            let flow = Frame::new(protocol, &format!("10.0.0.100:{}", 40_000 + n), to);
            let ip_bytes = flow.bytes().len() as u64 - 14;
            for (turn, flags) in [SYN, ACK, ACK].into_iter().enumerate() {
                let tcp_flags = if protocol == TCP { flags } else { 0 };
                let (verdict, sent) = bench.run(&Frame { tcp_flags, ..flow.clone() }.bytes());
                assert_eq!(verdict, TX, "{flow:?}");
                // By the Ethernet address, which stands for the endpoint in all modes.
                let endpoint = SocketAddr::from(([10, 0, 0, sent[5]], 80));
                let counters = tally.entry(endpoint).or_default();
                counters.connections += u64::from(turn == 0);
                counters.packets_in += 1;
                counters.bytes_in += ip_bytes;
                if forwarding == Forwarding::Nat {
                    let answer = Frame::read(&sent).answer(b"an answer").bytes();
                    assert_eq!(bench.run(&answer).0, TX);
                    counters.packets_out += 1;
                    counters.bytes_out += answer.len() as u64 - 14;
                }
            }
        }
    }
}

#[test]
fn root_each_endpoint_is_counted_in_every_mode_through_restarts() {
    for forwarding in [Forwarding::Nat, Forwarding::L2, Forwarding::Ipip, Forwarding::Gue] {
        let two = services(forwarding, &["10.0.0.21:80", "10.0.0.22:80"]);
        let mut bench = Bench::new(&two);
        let mut tally = Tally::new();
        send(&mut bench, forwarding, &mut tally);
        assert_eq!(tally.len(), 2, "{forwarding:?}");
        assert_eq!(counted(&mut bench), tally, "{forwarding:?}");
        bench.restart();
        bench.apply(2, &two);
        assert_eq!(counted(&mut bench), tally, "{forwarding:?}, after a restart");

        // One goes, and one comes, which begins with nothing. Flows that go on are counted on.
        let other = services(forwarding, &["10.0.0.22:80", "10.0.0.23:80"]);
        bench.apply(3, &other);
        let gone = tally.remove(&SocketAddr::from(([10, 0, 0, 21], 80))).unwrap();
        let fresh = SocketAddr::from(([10, 0, 0, 23], 80));
        tally.insert(fresh, TrafficCounters::default());
        assert_eq!(counted(&mut bench), tally, "{forwarding:?}, after a change");
        // What comes back has what it had.
        bench.apply(4, &two);
        assert_eq!(counted(&mut bench)[&SocketAddr::from(([10, 0, 0, 21], 80))], gone);
    }
}

#[test]
fn root_endpoints_are_listed_as_they_are_asked_for_and_have_series() {
    let mut two = services(Forwarding::Nat, &["10.0.0.21:80", "10.0.0.22:80"]);
    two[1].endpoints = addresses(&["10.0.0.23:80"]);
    let mut bench = Bench::new(&two);
    let query = |listener: &str| EndpointQuery {
        listener: Some(listener.to_owned()),
        ..EndpointQuery::default()
    };
    let of = |bench: &mut Bench, listener: &str| {
        let found = bench.engine.traffic(&query(listener)).unwrap();
        assert!(found.iter().all(|it| it.state == EndpointState::Active), "{found:?}");
        found.into_iter().map(|it| it.endpoint.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of(&mut bench, "tcp"), ["10.0.0.21:80", "10.0.0.22:80"]);
    assert_eq!(of(&mut bench, "default/udp"), ["10.0.0.23:80"]);
    assert!(of(&mut bench, "other").is_empty());
    send(&mut bench, Forwarding::Nat, &mut Tally::new());
    let series = bench.engine.series().unwrap();
    for line in [
        "marchproxy_xdp_endpoint_packets_total{endpoint=\"10.0.0.23:80\",direction=\"out\"} 120\n",
        "marchproxy_xdp_endpoint_connections_total{endpoint=\"10.0.0.23:80\"} 40\n",
        "marchproxy_xdp_endpoints_without_series 0\n",
    ] {
        assert!(series.contains(line), "{line}{series}");
    }
}
