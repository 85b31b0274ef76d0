//! Endpoints of weight 0 keep what they have, and endpoints that come get theirs slowly: single
//! packets (`BPF_PROG_TEST_RUN`) in the modes that differ.

use std::time::{Duration, Instant};

use ebpf_common::verdict::Reason;
use model::listener::Forwarding;

use crate::support::{
    bench::{Bench, PASS, TX},
    objects::desired_with,
    packets::{ACK, Frame, TCP, UDP},
    pause::pause,
};

const MODES: [Forwarding; 3] = [Forwarding::Nat, Forwarding::L2, Forwarding::Gue];
/// A look at whether a UDP flow's endpoint has left is 10 s after the one before, at most.
const LOOKED_AT_WITHIN: Duration = Duration::from_secs(30);

/// A TCP and a UDP listener with one service: the last numbers and weights of its endpoints.
fn documents(forwarding: Forwarding, endpoints: &[(u8, u32)], more: &str) -> String {
    let mode = format!("{forwarding:?}").to_uppercase();
    let listeners = ["TCP", "UDP"].map(|protocol| {
        let name = protocol.to_lowercase();
        // Endpoints here answer nobody, and many connections that stay half open call for cookies.
        let cookies = if (protocol, mode.as_str()) == ("TCP", "NAT") { ", synCookies: Never" } else { "" };
        format!(
            "kind: Listener\nmetadata: {{ name: {name} }}\nspec: {{ protocol: {protocol}, address: \
             192.0.2.10, port: 80, engine: xdp, forwarding: {mode}{cookies} }}\n---\nkind: {protocol}Route\n\
             metadata: {{ name: {name} }}\nspec: {{ listeners: [{{ name: {name} }}], backends: \
             [{{ service: {{ name: s }} }}] }}\n---\n"
        )
    });
    let endpoint =
        |(n, weight): &(u8, u32)| format!("{{ address: 10.0.0.{n}, port: 80, weight: {weight} }}");
    let list: Vec<String> = endpoints.iter().map(endpoint).collect();
    format!(
        "{}kind: Service\nmetadata: {{ name: s }}\nspec: {{ endpoints: [{}]{more} }}\n",
        listeners.concat(),
        list.join(", ")
    )
}

struct Site {
    bench: Bench,
    forwarding: Forwarding,
    more: &'static str,
    revision: u64,
    now: Instant,
}

impl Site {
    fn new(forwarding: Forwarding, endpoints: &[(u8, u32)], more: &'static str) -> Self {
        let (bench, now) = (Bench::new(&[]), Instant::now());
        let mut site = Self { bench, forwarding, more, revision: 1, now };
        site.apply(endpoints);
        site
    }

    fn apply(&mut self, endpoints: &[(u8, u32)]) {
        self.revision += 1;
        let documents = documents(self.forwarding, endpoints, self.more);
        let desired = desired_with(self.revision, &[], &documents);
        self.bench.engine.reconcile_at(&desired, self.now).unwrap();
    }

    /// Sends a packet of a flow; returns the last number of the endpoint that it went to.
    fn send(&mut self, protocol: u8, port: u16, flags: Option<u8>) -> Option<u8> {
        let frame = Frame::new(protocol, &format!("10.0.0.100:{port}"), "192.0.2.10:80");
        let frame = Frame { tcp_flags: flags.unwrap_or(frame.tcp_flags), ..frame };
        let (verdict, bytes) = self.bench.run(&frame.bytes());
        assert!([PASS, TX].contains(&verdict), "{verdict}");
        (verdict == TX).then(|| bytes[5])
    }

    fn open(&mut self, protocol: u8, port: u16) -> Option<u8> {
        let first = self.send(protocol, port, None);
        if protocol == TCP {
            assert_eq!(self.send(TCP, port, Some(ACK)), first);
        }
        first
    }

    fn go_on(&mut self, protocol: u8, port: u16) -> Option<u8> {
        self.send(protocol, port, (protocol == TCP).then_some(ACK))
    }
}

#[test]
fn root_an_endpoint_of_weight_0_keeps_its_flows_and_gets_no_new_ones() {
    for forwarding in MODES {
        let mut site = Site::new(forwarding, &[(21, 1), (22, 1), (23, 1)], "");
        let mut placed = Vec::new();
        for protocol in [TCP, UDP] {
            for port in 20_000..20_060 {
                placed.push((protocol, port, site.open(protocol, port).unwrap()));
            }
        }
        let on = |n: u8| placed.iter().filter(|(_, _, at)| *at == n).count();
        assert!([21, 22, 23].into_iter().all(|n| on(n) > 20), "{placed:?}");
        // 22 drains, and 23 leaves: the sign that the program has looked at the UDP flows.
        site.apply(&[(21, 1), (22, 0)]);
        for port in 30_000..30_100 {
            assert_eq!(site.open(TCP, port), Some(21), "{forwarding:?}");
            assert_eq!(site.open(UDP, port), Some(21), "{forwarding:?}");
        }
        let begun = Instant::now();
        loop {
            let now: Vec<u8> =
                placed.iter().map(|(p, port, _)| site.go_on(*p, *port).unwrap()).collect();
            let mut left_behind = 0;
            for ((protocol, port, before), at) in placed.iter().zip(now) {
                if *protocol == UDP && *before == 23 {
                    assert!([23, 21].contains(&at), "{forwarding:?}: {port} went to {at}");
                    left_behind += usize::from(at == 23);
                } else {
                    assert_eq!(at, *before, "{forwarding:?}: protocol {protocol}, port {port}");
                }
            }
            if left_behind == 0 {
                break;
            }
            assert!(begun.elapsed() < LOOKED_AT_WITHIN, "{left_behind} flows stay at 23");
            pause(Duration::from_millis(50));
        }
        let counts = site.bench.engine.statistics().unwrap().endpoints;
        assert_eq!((counts.active, counts.draining), (2, 2), "one each of two listeners");
        // It gets its part again.
        site.apply(&[(21, 1), (22, 1)]);
        let new: Vec<u8> = (40_000..40_100).filter_map(|port| site.open(TCP, port)).collect();
        assert!(new.iter().filter(|at| **at == 22).count() > 30, "{new:?}");
    }
}

#[test]
fn root_where_all_have_weight_0_nothing_begins_and_what_is_established_goes_on() {
    for forwarding in MODES {
        let mut site = Site::new(forwarding, &[(21, 1), (22, 1)], "");
        let placed: Vec<(u8, u16, u8)> = [TCP, UDP]
            .into_iter()
            .flat_map(|protocol| (20_000..20_030).map(move |port| (protocol, port)))
            .map(|(protocol, port)| (protocol, port, site.open(protocol, port).unwrap()))
            .collect();
        // Its client has sent nothing but a SYN so far.
        let opening: Vec<(u16, u8)> =
            (25_000..25_030).map(|port| (port, site.send(TCP, port, None).unwrap())).collect();
        site.apply(&[(21, 0), (22, 0)]);
        for (port, at) in opening {
            assert_eq!(site.go_on(TCP, port), Some(at), "{forwarding:?}: port {port}");
        }
        for (protocol, port, at) in &placed {
            assert_eq!(site.go_on(*protocol, *port), Some(*at), "{forwarding:?}: port {port}");
        }
        let before = site.bench.engine.statistics().unwrap().count(Reason::NoBackend);
        for protocol in [TCP, UDP] {
            assert_eq!(site.send(protocol, 30_000, None), None);
        }
        let after = site.bench.engine.statistics().unwrap().count(Reason::NoBackend);
        assert_eq!(after - before, 2, "{forwarding:?}: a SYN and a datagram");
        // Over a restart as well.
        site.bench.restart();
        site.apply(&[(21, 0), (22, 0)]);
        for (protocol, port, at) in placed.iter().filter(|(protocol, ..)| *protocol == TCP) {
            assert_eq!(site.go_on(*protocol, *port), Some(*at), "{forwarding:?}: port {port}");
        }
    }
}

#[test]
fn root_an_endpoint_that_comes_gets_more_step_by_step_and_no_flow_moves() {
    const FLOWS: u16 = 100;
    const SLOW: &str = ", slowStart: { window: 20s }";
    for forwarding in MODES {
        let mut site = Site::new(forwarding, &[(21, 1), (22, 1)], SLOW);
        let mut placed: Vec<(u8, u16, u8)> = Vec::new();
        let mut port = 10_000;
        let mut open = |site: &mut Site, placed: &mut Vec<(u8, u16, u8)>, count: u16| -> usize {
            let from = placed.len();
            for _ in 0..count {
                for protocol in [TCP, UDP] {
                    placed.push((protocol, port, site.open(protocol, port).unwrap()));
                }
                port += 1;
            }
            placed[from..].iter().filter(|(.., at)| *at == 23).count()
        };
        assert_eq!(open(&mut site, &mut placed, FLOWS), 0);
        let all = [(21, 1), (22, 1), (23, 1)];
        site.apply(&all);
        let mut shares = vec![open(&mut site, &mut placed, FLOWS)];
        let mut generations = vec![site.bench.engine.generation()];
        while let Some(at) = site.bench.engine.next_step() {
            site.now = at;
            site.apply(&all);
            generations.push(site.bench.engine.generation());
            for (protocol, port, at) in placed.clone() {
                assert_eq!(site.go_on(protocol, port), Some(at), "{forwarding:?}: {protocol}");
            }
            shares.push(open(&mut site, &mut placed, FLOWS));
        }
        generations.dedup();
        assert!((10..=11).contains(&generations.len()), "a table a step: {generations:?}");
        // Of 200 flows a twentieth at first, a third in the end.
        assert!(shares[0] < 25, "{shares:?}");
        assert!((22..60).contains(&shares[5]), "{shares:?}");
        assert!((45..95).contains(shares.last().unwrap()), "{shares:?}");
        // A restart takes the endpoints for what they are.
        site.bench.restart();
        site.apply(&all);
        assert_eq!(site.bench.engine.next_step(), None);
    }
}
