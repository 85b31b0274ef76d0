//! Real UDP through a limit, in network namespaces and in native mode: what comes out, counted at
//! the receiver. Needs root.
//!
//! ```text
//! client ── nc [node: XDP on nc, n0] n0 ── endpoint
//! ```

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use dataplane::xdp::{Engine, PinFolder, Settings, detach};
use ebpf_common::qos::{Way, counter};
use model::listener::{Forwarding, Protocol};

use crate::support::{
    echo,
    namespaces::Namespace,
    objects::{Balanced, addresses, desired_with},
    row::Row,
};

/// The limit.
const MBPS: u32 = 8;
/// UDP payload of a datagram, which is 1,028 bytes of IP.
const PAYLOAD: usize = 1_000;
/// Datagrams before the receiver counts: the burst is 1 MB, a second of the limit, so that no pause
/// of a sender on a busy machine wastes any of it.
const SETTLING: u32 = 1_500;
/// The span over which the receiver counts, behind the burst.
const SPAN: Duration = Duration::from_secs(5);

struct Network {
    row: Row,
    pins: PinFolder,
    engine: Engine,
}

impl Network {
    fn new(policy: &str) -> Self {
        let row = Row::new();
        row.node.enter();
        let pins =
            PinFolder::new("/sys/fs/bpf", &format!("test-qos-{}", std::process::id())).unwrap();
        let interfaces = vec!["nc".to_owned(), "n0".to_owned()];
        let settings = Settings::new(interfaces, pins.clone());
        let mut engine = Engine::open(settings).expect("root, see `cargo xtask setup`");
        let service = Balanced {
            name: "udp",
            protocol: Protocol::Udp,
            address: None,
            port: 80,
            forwarding: Forwarding::Nat,
            endpoints: addresses(&["10.2.0.2:8000"]),
        };
        engine.reconcile(&desired_with(1, &[service], policy)).unwrap();
        engine.resolve_neighbours();
        Self { row, pins, engine }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _gone = detach(&self.pins);
    }
}

/// Counts the datagrams that come, from some past the burst on; gives the Mbit/s of IP packets.
fn receive(place: &Namespace) -> JoinHandle<f64> {
    let (ready, listening) = std::sync::mpsc::sync_channel(1);
    let receiver = echo::spawn(place, move || {
        let socket = UdpSocket::bind("0.0.0.0:8000").expect("the port");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        ready.send(()).expect("the test waits");
        let mut buffer = [0; 2_048];
        let mut next = || {
            let length = socket.recv(&mut buffer).expect("datagrams come");
            assert_eq!(length, PAYLOAD);
            Instant::now()
        };
        let start = (0..SETTLING).map(|_| next()).last().expect("some");
        let mut count = 0;
        loop {
            let at = next();
            count += 1;
            let span = at.duration_since(start);
            if span >= SPAN {
                break f64::from(count) * (PAYLOAD as f64 + 28.0) * 8.0 / span.as_secs_f64() / 1e6;
            }
        }
    });
    listening.recv_timeout(Duration::from_secs(5)).expect("it listens");
    receiver
}

/// Sends some three times the limit until told to stop.
fn send(place: &Namespace, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let stop = stop.clone();
    echo::spawn(place, move || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
        let node: SocketAddr = "10.1.0.1:80".parse().expect("an address");
        let datagram = [7; PAYLOAD];
        let start = Instant::now();
        let mut sent = 0u64;
        while !stop.load(Ordering::SeqCst) {
            let due = start.elapsed().as_micros() as u64 * 3 * u64::from(MBPS) / 8 / PAYLOAD as u64;
            if sent < due {
                // The node may have no neighbour yet, or the device no room.
                let _lost = socket.send_to(&datagram, node);
                sent += 1;
            } else {
                std::thread::yield_now();
            }
        }
    })
}

#[test]
fn root_a_limited_service_gets_its_bandwidth_within_two_percent() {
    let mut network = Network::new(&format!(
        "kind: QoSPolicy\nmetadata: {{ name: gold }}\nspec: {{ listeners: [{{ name: udp }}], \
         excess: Drop, ingress: {{ bandwidthMbps: {MBPS}, burstKB: 1000 }} }}\n"
    ));
    let stop = Arc::new(AtomicBool::new(false));
    let receiver = receive(&network.row.endpoint);
    let sender = send(&network.row.client, &stop);
    let mbps = receiver.join();
    stop.store(true, Ordering::SeqCst);
    sender.join().expect("the sender ends");
    let mbps = mbps.expect("datagrams come");
    let words = network.engine.statistics().unwrap().limiters;
    let words = words.iter().find(|one| one.way == Way::Ingress).expect("the limiter").words;
    println!("{mbps:.3} of {MBPS} Mbit/s at the receiver; {words:?}");
    assert!((mbps / f64::from(MBPS) - 1.0).abs() < 0.02, "{mbps} of {MBPS} Mbit/s; {words:?}");
    assert!(words[counter::OVER_PACKETS] > words[counter::PASSED_PACKETS] / 2, "{words:?}");
}
