//! Real TCP and UDP that wait for their limit, in every mode that answers directly and in both
//! families: what a worker sends by the interface that it came in by is what XDP would have sent.
//! Needs root.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use dataplane::xdp::Engine;
use model::{cluster::NodeId, flow::Direction, listener::Forwarding, qos_report::ListenerQos};

use crate::{
    direct_network::{Network, VIP, services},
    support::{
        echo::{self, TcpFlow},
        objects::desired_with,
    },
};

/// Datagrams of a burst, of a kilobyte each: 16 go at once.
const DATAGRAMS: u16 = 60;

fn policies() -> String {
    ["tcp4", "udp4", "tcp6", "udp6"]
        .map(|name| {
            format!(
                "kind: QoSPolicy\nmetadata: {{ name: {name} }}\n\
                 spec: {{ listeners: [{{ name: {name} }}], latencyLimit: 1s, \
                 ingress: {{ bandwidthMbps: 8, burstKB: 16 }} }}\n"
            )
        })
        .join("---\n")
}

/// Sends a burst; returns the numbers of those that came back unharmed.
fn burst(address: SocketAddr) -> BTreeSet<u16> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a port");
    socket.connect(address).expect("a route");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    let datagram = |number: u16| {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend((0..950u16).map(|n| (n * 7 + number) as u8));
        bytes
    };
    for number in 0..DATAGRAMS {
        socket.send(&datagram(number)).expect("the link is up");
    }
    let (mut back, mut buffer) = (BTreeSet::new(), [0; 2_048]);
    while back.len() < usize::from(DATAGRAMS)
        && let Ok(length) = socket.recv(&mut buffer)
    {
        // Behind the backend's number.
        let number = u16::from_be_bytes(*buffer[1..].first_chunk().expect("a number"));
        assert_eq!(buffer[1..length], datagram(number));
        back.insert(number);
    }
    back
}

fn ingress(engine: &mut Engine) -> BTreeMap<String, ListenerQos> {
    // The workers tell five times a second.
    std::thread::park_timeout(Duration::from_millis(500));
    let report = engine.qos(NodeId(1)).unwrap().expect("a configuration is in force");
    let ingress = report.listeners.into_iter().filter(|it| it.direction == Direction::In);
    ingress.map(|it| (it.listener.name.clone(), it)).collect()
}

#[test]
fn root_what_waited_arrives_unharmed_in_every_mode_that_answers_directly_and_in_both_families() {
    let network = Network::new();
    let mut engine = network.engine();
    let mut waited = BTreeMap::new();
    for (revision, forwarding) in (1..).zip([Forwarding::L2, Forwarding::Ipip, Forwarding::Gue]) {
        engine.reconcile(&desired_with(revision, &services(forwarding), &policies())).unwrap();
        assert_eq!(engine.problems(), Vec::<String>::new());
        let client = echo::spawn(&network.client, || {
            VIP.map(|vip| {
                let at = |port: u16| SocketAddr::new(vip.parse().unwrap(), port);
                TcpFlow::open(at(echo::TCP_PORT)).bulk(200_000);
                burst(at(echo::UDP_PORT))
            })
        });
        let back = client.join().unwrap_or_else(|_| panic!("{forwarding:?}: {engine:?}"));
        assert_eq!(back, VIP.map(|_| (0..DATAGRAMS).collect()), "{forwarding:?}");
        let told = ingress(&mut engine);
        assert_eq!(told.len(), 4, "{told:?}");
        for (listener, told) in told {
            let before = waited.insert(listener, told.waited.packets).unwrap_or(0);
            assert!(told.waited.packets >= before + 10, "{forwarding:?}: {before}, {told:?}");
            let dropped: u64 = told.dropped.by_reason().iter().map(|(_, count)| count).sum();
            assert_eq!((dropped, told.waiting.packets), (0, 0), "{forwarding:?}: {told:?}");
        }
        for backend in &network.backends {
            let snmp =
                echo::spawn(backend, || std::fs::read_to_string("/proc/thread-self/net/snmp"));
            let snmp = snmp.join().unwrap().unwrap();
            for protocol in ["Tcp", "Udp"] {
                assert_eq!(echo::checksum_errors(&snmp, protocol), 0, "{forwarding:?} {protocol}");
            }
        }
    }
}
