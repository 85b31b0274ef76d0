//! Real TCP and UDP through the XDP program, in network namespaces and in native mode: established
//! flows across configuration swaps and across a restart of the process. Needs root.
//!
//! ```text
//! client ── c0 [node: vip addresses, XDP on nc, n0, n1] ── backend 0
//!                                                       └─ backend 1
//! ```

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::support::echo::{self, TcpFlow, UdpFlow};
use crate::support::namespaces::{self, Namespace};
use crate::support::objects::{Balanced, addresses, desired, desired_with};
use dataplane::xdp::{Engine, PinFolder, Settings, detach, program::Mode, statistics::Statistics};
use ebpf_common::{qos, verdict::Reason};
use model::listener::{Forwarding, Protocol};

const BACKENDS: usize = 2;
const NODE: [&str; 2] = ["10.1.0.1:80", "[fd01::1]:80"];

struct Network {
    client: Namespace,
    _node: Namespace,
    _backends: Vec<Namespace>,
    pins: PinFolder,
    settings: Settings,
}

impl Network {
    fn new() -> Self {
        let (client, node) = (Namespace::new("c"), Namespace::new("n"));
        let backends: Vec<_> = (0..BACKENDS).map(|n| Namespace::new(&format!("b{n}"))).collect();
        connect(&node, "nc", "10.1.0.1/24", "fd01::1/64", &client, "10.1.0.2/24", "fd01::2/64");
        for (n, backend) in backends.iter().enumerate() {
            connect(
                &node,
                &format!("n{n}"),
                &format!("10.2.{n}.1/24"),
                &format!("fd02:{n}::1/64"),
                backend,
                &format!("10.2.{n}.2/24"),
                &format!("fd02:{n}::2/64"),
            );
            backend.run(&format!("ip route add default via 10.2.{n}.1"));
            backend.run(&format!("ip route add default via fd02:{n}::1"));
            echo::serve(backend, n as u8, &["::"]);
        }
        node.enter();
        let pins =
            PinFolder::new("/sys/fs/bpf", &format!("test-net-{}", std::process::id())).unwrap();
        let interfaces =
            ["nc".to_owned()].into_iter().chain((0..BACKENDS).map(|n| format!("n{n}")));
        let settings = Settings::new(interfaces.collect(), pins.clone());
        Self { client, _node: node, _backends: backends, pins, settings }
    }

    fn engine(&self) -> Engine {
        Engine::open(self.settings.clone()).expect("root, see `cargo xtask setup`")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _gone = detach(&self.pins);
    }
}

/// Joins a namespace to the node by a veth pair whose far side sends whole checksums and takes
/// frames that XDP sends (NAPI by way of GRO).
fn connect(
    node: &Namespace,
    name: &str,
    v4: &str,
    v6: &str,
    far: &Namespace,
    far_v4: &str,
    far_v6: &str,
) {
    node.run(&format!("ip link add {name} type veth peer name eth0 netns {}", far.0));
    for (place, device, v4, v6) in [(node, name, v4, v6), (far, "eth0", far_v4, far_v6)] {
        place.run(&format!("ip link set {device} up"));
        place.run(&format!("ip addr add {v4} dev {device}"));
        place.run(&format!("ip addr add {v6} dev {device} nodad"));
    }
    far.run("ethtool -K eth0 tx off tso off gso off gro on");
}

fn services(backends: &[usize], port: u16) -> Vec<Balanced> {
    let endpoints = |port: u16| {
        let list: Vec<String> = backends
            .iter()
            .flat_map(|n| [format!("10.2.{n}.2:{port}"), format!("[fd02:{n}::2]:{port}")])
            .collect();
        addresses(&list.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let balanced = |name, protocol, endpoints| Balanced {
        name,
        protocol,
        address: None,
        port,
        forwarding: Forwarding::Nat,
        endpoints,
    };
    vec![
        balanced("tcp", Protocol::Tcp, endpoints(echo::TCP_PORT)),
        balanced("udp", Protocol::Udp, endpoints(echo::UDP_PORT)),
    ]
}

fn node_addresses() -> Vec<SocketAddr> {
    addresses(&NODE)
}

/// Established flows that ask and check answers until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    exchanges: Arc<AtomicU64>,
    threads: Vec<JoinHandle<u64>>,
}

impl Load {
    /// Opens the flows; returns once all of them have had an answer.
    fn start(network: &Network, per_kind: usize) -> Self {
        let (stop, exchanges) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let ready = Arc::new(AtomicU64::new(0));
        let mut threads = Vec::new();
        for address in node_addresses() {
            for tcp in [true, false] {
                let (stop, exchanges, ready) = (stop.clone(), exchanges.clone(), ready.clone());
                threads.push(echo::spawn(&network.client, move || {
                    let mut tcp_flows: Vec<TcpFlow> = Vec::new();
                    let mut udp_flows: Vec<UdpFlow> = Vec::new();
                    for _ in 0..per_kind {
                        if tcp {
                            tcp_flows.push(TcpFlow::open(address));
                        } else {
                            udp_flows.push(UdpFlow::open(address));
                        }
                    }
                    ready.fetch_add(1, Ordering::SeqCst);
                    let mut lost = 0;
                    while !stop.load(Ordering::SeqCst) {
                        tcp_flows.iter_mut().for_each(TcpFlow::exchange);
                        lost += udp_flows
                            .iter_mut()
                            .map(|flow| u64::from(!flow.exchange()))
                            .sum::<u64>();
                        exchanges.fetch_add(per_kind as u64, Ordering::SeqCst);
                    }
                    lost
                }));
            }
        }
        let kinds = threads.len() as u64;
        wait_until("all flows are open", || ready.load(Ordering::SeqCst) == kinds);
        Self { stop, exchanges, threads }
    }

    /// Waits until every flow has had some more exchanges.
    fn go_on(&self, exchanges: u64) {
        let target = self.exchanges.load(Ordering::SeqCst) + exchanges;
        wait_until("exchanges go on", || {
            assert!(!self.threads.iter().any(JoinHandle::is_finished), "a flow has failed");
            self.exchanges.load(Ordering::SeqCst) >= target
        });
    }

    /// Ends the flows; returns how many exchanges there were and how many datagrams were lost. A
    /// failed TCP flow panics.
    fn finish(self) -> (u64, u64) {
        self.stop.store(true, Ordering::SeqCst);
        let lost = self.threads.into_iter().map(|t| t.join().expect("no flow may fail")).sum();
        (self.exchanges.load(Ordering::SeqCst), lost)
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::yield_now();
    }
}

/// Limits that are never met, with marks on every packet in both directions.
const MARKS: &str = "
kind: QoSPolicy
metadata: { name: marks }
spec:
  listeners: [{ name: tcp }, { name: udp }]
  ingress: { bandwidthMbps: 100000 }
  egress: { bandwidthMbps: 100000 }
  dscp: AF41
  ecn: Mark
";

#[test]
fn root_real_tcp_and_udp_reach_all_backends_over_both_families() {
    reaches_all_backends("");
}

#[test]
fn root_real_tcp_and_udp_bear_limits_and_marks() {
    let statistics = reaches_all_backends(MARKS);
    assert_eq!(statistics.limiters.len(), 4);
    for limiter in &statistics.limiters {
        let words = limiter.words;
        assert!(words[qos::counter::PASSED_PACKETS] > 30, "{limiter:?}");
        assert_eq!(words[qos::counter::DSCP_PACKETS], words[qos::counter::PASSED_PACKETS]);
        assert_eq!(words[qos::counter::OVER_PACKETS], 0, "{limiter:?}");
    }
}

fn reaches_all_backends(policy: &str) -> Statistics {
    let network = Network::new();
    let mut engine = network.engine();
    engine.reconcile(&desired_with(1, &services(&[0, 1], 80), policy)).unwrap();
    assert!(engine.attachments().values().all(|mode| *mode == Ok(Mode::Native)));
    engine.resolve_neighbours();
    let reached = echo::spawn(&network.client, || {
        let mut reached = Vec::new();
        for address in node_addresses() {
            let tcp: std::collections::BTreeSet<u8> = (0..30)
                .map(|_| {
                    let mut flow = TcpFlow::open(address);
                    flow.bulk(200_000);
                    flow.backend()
                })
                .collect();
            let udp: std::collections::BTreeSet<u8> =
                (0..30).map(|_| UdpFlow::open(address).backend()).collect();
            reached.extend([tcp.len(), udp.len()]);
        }
        let bad: String = std::fs::read_to_string("/proc/self/net/snmp").unwrap();
        (reached, bad)
    });
    let (reached, snmp) = reached.join().expect("every exchange is answered in order");
    assert_eq!(reached, [BACKENDS; 4]);
    for protocol in ["Tcp", "Udp"] {
        assert_eq!(echo::checksum_errors(&snmp, protocol), 0, "{protocol}");
    }
    let statistics = engine.statistics().unwrap();
    assert!(statistics.forwarded() > 1_000);
    for reason in [Reason::NoRoute, Reason::ForwardingOff, Reason::TableRefused, Reason::TooBig] {
        assert_eq!(statistics.count(reason), 0, "{reason:?}");
    }
    statistics
}

#[test]
fn root_no_established_flow_is_lost_in_100_swaps_and_a_restart() {
    const SWAPS: u64 = 100;
    let network = Network::new();
    let mut engine = network.engine();
    engine.reconcile(&desired(1, &services(&[0, 1], 80))).unwrap();
    let load = Load::start(&network, 20);
    for swap in 0..SWAPS {
        // UDP flows stay because both backends stay; what changes is another service.
        let mut all = services(&[0, 1], 80);
        let mut other = services(&[(swap % 2) as usize], 1000 + (swap % 7) as u16);
        other[0].name = "other-tcp";
        other[1].name = "other-udp";
        all.append(&mut other);
        engine.reconcile(&desired(2 + swap, &all)).unwrap();
        load.go_on(100);
    }
    assert_eq!(engine.generation(), 1 + SWAPS);

    drop(engine);
    load.go_on(1_000);
    let mut engine = network.engine();
    load.go_on(1_000);
    // The first backend leaves: TCP flows on it go on all the same.
    engine.reconcile(&desired(200, &services(&[1], 80))).unwrap();
    load.go_on(1_000);
    let seen = engine.statistics().unwrap();
    let newest = seen.generations_seen.iter().max().copied();
    assert_eq!(newest, Some(seen.generation), "packets see the newest generation");

    let (exchanges, lost) = load.finish();
    println!("{exchanges} exchanges, {lost} datagrams lost, over {SWAPS} swaps and a restart");
    assert_eq!(lost, 0);
}

#[test]
fn root_removal_leaves_the_interfaces_bare() {
    let network = Network::new();
    let mut engine = network.engine();
    engine.reconcile(&desired(1, &services(&[0, 1], 80))).unwrap();
    let has_xdp = || {
        let output = std::process::Command::new("ip").args(["-d", "link"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("prog/xdp")
    };
    assert!(has_xdp());
    drop(engine);
    assert!(has_xdp(), "links outlive the engine");
    detach(&network.pins).unwrap();
    wait_until("the kernel frees the links", || !has_xdp());
    assert!(!network.pins.path().exists());
}

#[test]
fn root_an_interface_that_is_not_there_is_named_and_comes_later() {
    let network = Network::new();
    let settings = Settings {
        interfaces: vec!["nc".to_owned(), "later".to_owned()],
        ..network.settings.clone()
    };
    let mut engine = Engine::open(settings).unwrap();
    let state = desired(1, &services(&[0], 80));
    engine.reconcile(&state).unwrap();
    assert_eq!(engine.attachments()["later"], Err("no such interface".to_owned()));
    assert!(engine.is_stale());
    namespaces::run("ip link add later type veth peer name later1");
    engine.reconcile(&state).unwrap();
    assert_eq!(engine.attachments()["later"], Ok(Mode::Native));
    assert!(!engine.is_stale());
}

#[test]
fn root_an_interface_without_native_mode_runs_generic_and_says_why() {
    let network = Network::new();
    // The loopback driver has no XDP.
    let settings = Settings { interfaces: vec!["lo".to_owned()], ..network.settings.clone() };
    let mut engine = Engine::open(settings.clone()).unwrap();
    engine.reconcile(&desired(1, &services(&[0], 80))).unwrap();
    let Ok(Mode::Generic(Some(reason))) = &engine.attachments()["lo"] else {
        panic!("{:?}", engine.attachments());
    };
    assert!(reason.contains("bpf_link_create"), "{reason}");
    // The next process knows the mode by the link's name.
    drop(engine);
    let mut engine = Engine::open(settings).unwrap();
    engine.reconcile(&desired(1, &services(&[0], 80))).unwrap();
    assert_eq!(engine.attachments()["lo"], Ok(Mode::Generic(None)));
}
