//! Real UDP that waits for its limit in AF_XDP workers, in network namespaces and in native mode.
//! Needs root.
//!
//! ```text
//! client ── nc [node: XDP and workers on nc, n0] n0 ── endpoint
//! ```

use std::{
    net::UdpSocket,
    os::fd::AsFd as _,
    sync::mpsc::sync_channel,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use aya::maps::{Map, MapData, RingBuf};
use dataplane::{
    afxdp::priority::Priority,
    xdp::{Engine, PinFolder, Settings, bpf, detach, flows::reader::read_event},
};
use ebpf_common::{
    event::{FlowEvent, verdict},
    layout::{Address, EVENTS_MAP},
    qos::{CREDIT_COUNTERS, Way, counter, wait::place},
    verdict::Reason,
};
use model::{
    cluster::NodeId,
    flow::Direction,
    listener::{Forwarding, Protocol},
    qos_policy::TrafficClass,
    qos_report::Amount,
};

use crate::support::{
    echo,
    namespaces::Namespace,
    objects::{Balanced, addresses, desired_with},
    row::Row,
};

/// UDP payload of a datagram, which is 1,000 bytes of IP.
const PAYLOAD: usize = 972;
/// How long a receiver waits for a datagram that does not come.
const SILENCE: Duration = Duration::from_millis(1_500);

struct Network {
    row: Row,
    pins: PinFolder,
    engine: Engine,
}

impl Network {
    fn new(instance: &str, policy: &str) -> Self {
        let row = Row::new();
        row.node.enter();
        let name = format!("test-{instance}-{}", std::process::id());
        let pins = PinFolder::new("/sys/fs/bpf", &name).unwrap();
        let mut settings = Settings::new(vec!["nc".to_owned(), "n0".to_owned()], pins.clone());
        settings.sampling = 1;
        let engine = Engine::open(settings).expect("root, see `cargo xtask setup`");
        let mut network = Self { row, pins, engine };
        network.apply(1, policy);
        network.engine.resolve_neighbours();
        assert_eq!(network.engine.problems(), Vec::<String>::new());
        network
    }

    fn apply(&mut self, revision: u64, policy: &str) {
        let service = Balanced {
            name: "udp",
            protocol: Protocol::Udp,
            address: None,
            port: 80,
            forwarding: Forwarding::Nat,
            endpoints: addresses(&["10.2.0.2:8000"]),
        };
        self.engine.reconcile(&desired_with(revision, &[service], policy)).unwrap();
    }

    /// Reads the events of packets that wait, as many as are told of.
    fn told_to_wait(&self) -> Vec<FlowEvent> {
        let map = Map::RingBuf(MapData::from_pin(self.pins.map(EVENTS_MAP)).unwrap());
        let mut ring: RingBuf<MapData> = map.try_into().unwrap();
        let all = std::iter::from_fn(|| ring.next().map(|item| read_event(&item).unwrap()));
        all.filter(|event| event.waits == 1).collect()
    }

    /// Returns the counters of packets to the endpoint.
    fn ingress(&mut self) -> [u64; CREDIT_COUNTERS] {
        let counted = self.engine.statistics().unwrap().limiters;
        counted.iter().find(|one| one.way == Way::Ingress).unwrap().words
    }

    /// Makes the way known, so that no datagram is lost to that.
    fn warm_up(&self) {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let receiver = receive(&self.row.endpoint);
            send(&self.row.client, 1, Duration::ZERO).join().unwrap();
            if !receiver.join().unwrap().is_empty() {
                return;
            }
            assert!(Instant::now() < until, "no datagram comes through");
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _gone = detach(&self.pins);
    }
}

fn policy(fields: &str) -> String {
    format!(
        "kind: QoSPolicy\nmetadata: {{ name: gold }}\nspec: {{ listeners: [{{ name: udp }}], {fields} }}\n"
    )
}

/// Gives the calling thread the priority of workers: those at the ends stand for other hosts, which
/// don't share this one's CPUs.
fn go_before() {
    let (_, refused) = Priority::Realtime.take();
    assert!(refused.is_none(), "root may: {refused:?}");
}

/// Notes the numbers of datagrams and when they come, until none comes for a while.
fn receive(place: &Namespace) -> JoinHandle<Vec<(u64, Instant)>> {
    let (ready, listening) = sync_channel(1);
    let receiver = echo::spawn(place, move || {
        go_before();
        let socket = UdpSocket::bind("0.0.0.0:8000").expect("the port");
        socket.set_read_timeout(Some(SILENCE)).expect("a timeout");
        ready.send(()).expect("the test waits");
        let (mut buffer, mut came) = ([0; 2_048], Vec::new());
        while let Ok(length) = socket.recv(&mut buffer) {
            assert_eq!(length, PAYLOAD);
            let number = buffer.first_chunk().expect("a number");
            came.push((u64::from_be_bytes(*number), Instant::now()));
        }
        came
    });
    listening.recv_timeout(Duration::from_secs(5)).expect("it listens");
    receiver
}

/// Sends numbered datagrams of one flow, so far apart.
fn send(place: &Namespace, count: u64, apart: Duration) -> JoinHandle<()> {
    echo::spawn(place, move || {
        go_before();
        // One flow in all calls, with one connection.
        let socket = UdpSocket::bind("0.0.0.0:7777").expect("a port");
        let (start, mut datagram) = (Instant::now(), [7; PAYLOAD]);
        for number in 0..count {
            datagram[..8].copy_from_slice(&number.to_be_bytes());
            let due = apart * number as u32;
            while let Some(early) = due.checked_sub(start.elapsed()).filter(|it| !it.is_zero()) {
                std::thread::park_timeout(early);
            }
            // The node may have no neighbour yet.
            let _lost = socket.send_to(&datagram, "10.1.0.1:80");
        }
    })
}

fn numbers(came: &[(u64, Instant)]) -> Vec<u64> {
    came.iter().map(|(number, _)| *number).collect()
}

#[test]
fn root_what_exceeds_a_limit_waits_and_comes_in_its_order() {
    // A megabyte a second, and 16 KB at once: 100 KB take 84 ms.
    let limit = "ingress: { bandwidthMbps: 8, burstKB: 16 }, latencyLimit: 1s";
    let mut network = Network::new("wait", &policy(limit));
    network.warm_up();
    let receiver = receive(&network.row.endpoint);
    send(&network.row.client, 100, Duration::ZERO).join().unwrap();
    let came = receiver.join().unwrap();
    let view = network.engine.waiting();
    assert_eq!(numbers(&came), (0..100).collect::<Vec<_>>(), "{view:?}");
    let took = came[99].1.duration_since(came[0].1);
    assert!(took > Duration::from_millis(75), "{took:?}");
    let words = network.ingress();
    assert!(words[counter::WAITING_PACKETS] > 70, "{words:?}");
    let over = network.engine.statistics().unwrap().count(Reason::OverLimit);
    assert_eq!((words[counter::OVER_PACKETS], over), (0, 0));

    let told = network.told_to_wait();
    // Of packets like these a CPU tells of so many in a moment.
    assert!(told.len() as u64 > words[counter::WAITING_PACKETS] / 2, "{} events", told.len());
    let far = nix::net::if_::if_nametoindex("n0").unwrap();
    for event in &told {
        let to = Address::from("10.2.0.2".parse::<std::net::IpAddr>().unwrap());
        assert_eq!((event.to, event.to_port_be), (to, 8_000u16.to_be()), "{event:?}");
        assert_eq!((event.verdict, event.egress, event.reason), (verdict::REDIRECT, far, 0));
        assert_eq!((event.length, event.source_port_be), (1_000, 7_777u16.to_be()));
    }

    // When nothing waits, XDP sends by itself again.
    let receiver = receive(&network.row.endpoint);
    send(&network.row.client, 10, Duration::from_millis(10)).join().unwrap();
    assert_eq!(numbers(&receiver.join().unwrap()), (0..10).collect::<Vec<_>>());
    assert_eq!(network.ingress()[counter::WAITING_PACKETS], words[counter::WAITING_PACKETS]);
}

#[test]
fn root_what_waits_gets_its_bandwidth_and_what_is_too_much_is_dropped_in_its_order() {
    let limit = "ingress: { bandwidthMbps: 40, burstKB: 1000 }, class: P3, ecn: Mark";
    let mut network = Network::new("rate", &policy(limit));
    network.warm_up();
    let receiver = receive(&network.row.endpoint);
    // 5 MB/s are 5 datagrams a millisecond; 10 come, for two seconds.
    send(&network.row.client, 20_000, Duration::from_micros(100)).join().unwrap();
    let came = receiver.join().unwrap();
    let order = numbers(&came);
    assert!(order.is_sorted(), "datagrams of a flow overtook others");
    // Behind the burst, which lasts 0.2 s, and before what waits at the end.
    let (from, to) = (2_500, came.len() - 1_000);
    let span = came[to].1.duration_since(came[from].1).as_secs_f64();
    let bytes = (to - from) as f64 * 1_000.0;
    assert!(bytes > 0.98 * 5e6 * span, "{bytes} bytes in {span} s");
    // A sender that got no CPU for a while left its limiter saving up.
    assert!(bytes < 1.02 * 5e6 * span + 1.25e6, "{bytes} bytes in {span} s");
    // The workers tell what they did five times a second.
    std::thread::park_timeout(Duration::from_millis(500));
    let view = network.engine.waiting();
    let lane = &view.lanes[0].tally;
    let dropped: u64 = lane.dropped.iter().sum();
    let lost: u64 = view.workers.iter().map(|worker| worker.lost[0]).sum();
    let words = network.ingress();
    let waited = words[counter::WAITING_PACKETS];
    assert_eq!(waited, lane.sent + dropped + lost, "each is counted: {view:?}");
    // Which XDP does without a worker that has no room.
    let over = words[counter::OVER_PACKETS];
    assert!(dropped > 0 && dropped + over > 1_000, "{over} and {view:?}");
    let p3 = view.classes[0];
    assert_eq!(p3.limit, Duration::from_millis(100));
    // A quantile is told with an error of an eighth.
    assert!(p3.waited[2] <= p3.limit * 9 / 8, "{view:?}");
    assert!(p3.waited[0] >= p3.limit / 2, "{view:?}");
    assert_eq!(lane.marked, 0, "the sender does not understand marks");
}

#[test]
fn root_what_a_worker_has_no_room_for_is_dropped_before_it_is_copied_there() {
    // A datagram a millisecond, and room for 20.
    let limit = "ingress: { bandwidthMbps: 8, burstKB: 16 }, latencyLimit: 20ms";
    let mut network = Network::new("flood", &policy(limit));
    network.warm_up();
    let receiver = receive(&network.row.endpoint);
    send(&network.row.client, 50_000, Duration::from_micros(20)).join().unwrap();
    let came = receiver.join().unwrap();
    assert!(numbers(&came).is_sorted(), "datagrams of a flow overtook others");
    // Those of a second, and as many as the burst and the room at most.
    assert!((900..1_100).contains(&came.len()), "{}", came.len());
    std::thread::park_timeout(Duration::from_millis(500));
    let (view, over) = (network.engine.waiting(), network.ingress()[counter::OVER_PACKETS]);
    let dropped: u64 = view.lanes[0].tally.dropped.iter().sum();
    assert!(dropped > 0 && over > dropped, "{over} in XDP, {dropped} in the worker");
    // When there is room again, packets wait again.
    let receiver = receive(&network.row.endpoint);
    send(&network.row.client, 30, Duration::ZERO).join().unwrap();
    assert_eq!(receiver.join().unwrap().len(), 30);
    assert_eq!(network.ingress()[counter::OVER_PACKETS], over);
}

#[test]
fn root_without_a_worker_what_exceeds_a_limit_is_dropped_and_the_rest_goes_on() {
    let limit = "ingress: { bandwidthMbps: 8, burstKB: 16 }, latencyLimit: 1s";
    let mut network = Network::new("none", &policy(limit));
    network.warm_up();
    let sockets = network.engine.program().sockets().unwrap();
    let nc = nix::net::if_::if_nametoindex("nc").unwrap();
    bpf::empty_slot(sockets.as_fd(), place(nc, 0).unwrap()).unwrap();
    let receiver = receive(&network.row.endpoint);
    send(&network.row.client, 200, Duration::ZERO).join().unwrap();
    let came = receiver.join().unwrap().len() as u64;
    let counted = network.engine.statistics().unwrap();
    assert!((16..100).contains(&came), "{came}");
    assert_eq!(came + counted.count(Reason::OverLimit), 200);
}

#[test]
fn root_a_report_tells_the_rate_and_what_waits_and_how_long_and_what_is_dropped() {
    let limit = "ingress: { bandwidthMbps: 8, burstKB: 16 }, egress: { bandwidthMbps: 9 }, class: P1, \
                 latencyLimit: 50ms";
    let mut network = Network::new("report", &policy(limit));
    network.warm_up();
    network.engine.note_rates().unwrap();
    let receiver = receive(&network.row.endpoint);
    // Twice what may go, for five seconds.
    let sender = send(&network.row.client, 10_000, Duration::from_micros(500));
    std::thread::park_timeout(Duration::from_millis(4_500));
    let during = network.engine.qos(NodeId(7)).unwrap().expect("a configuration is in force");
    assert_eq!((during.node, during.revision.0), (NodeId(7), 1));
    let [ingress, egress] = &during.listeners[..] else { panic!("{during:?}") };
    assert_eq!((ingress.direction, egress.direction), (Direction::In, Direction::Out));
    assert_eq!(ingress.policy.to_string(), "QoSPolicy/default/gold");
    assert_eq!(ingress.listener.to_string(), "Listener/default/udp");
    assert_eq!((ingress.allowed_mbps, egress.allowed_mbps), (Some(8), Some(9)));
    let measured = ingress.measured_kbps.expect("seconds have passed");
    assert!((7_000..8_500).contains(&measured), "{during:?}");
    assert_eq!(egress.measured_kbps, Some(0), "nobody answers");
    // Room for 50 ms are 50 datagrams of 1,000 bytes.
    assert!((20..=50).contains(&ingress.waiting.packets), "{during:?}");
    assert_eq!(ingress.waiting.bytes, ingress.waiting.packets * 1_000);
    let [p1] = &during.classes[..] else { panic!("{during:?}") };
    assert_eq!((p1.class, p1.limit_us), (TrafficClass::P1, 50_000));
    assert!(p1.p50_us > 20_000 && p1.p99_us <= p1.limit_us * 9 / 8, "{p1:?}");
    assert_eq!(during.workers.len(), 2, "one at each interface");
    for worker in &during.workers {
        assert!(worker.running && worker.priority == "realtime", "{worker:?}");
    }

    sender.join().unwrap();
    let came = receiver.join().unwrap().len() as u64;
    std::thread::park_timeout(Duration::from_millis(500));
    let after = network.engine.qos(NodeId(7)).unwrap().expect("it still is");
    let ingress = &after.listeners[0];
    assert_eq!(ingress.waiting, Amount::default());
    let warm_up = ingress.passed.packets + ingress.waited.packets - came;
    assert!(warm_up < 50, "each that went on is told of once: {came} and {ingress:?}");
    let dropped: u64 = ingress.dropped.by_reason().iter().map(|(_, count)| count).sum();
    let lost: u64 = after.workers.iter().map(|worker| worker.lost_in).sum();
    assert_eq!(came + dropped + lost, 10_000, "{after:?}");
}
