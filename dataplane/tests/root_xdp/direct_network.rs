//! Real TCP and UDP through every mode and family, in network namespaces and in native mode.
//!
//! ```text
//! client ─┐
//! node   ─┼─ switch (bridge)      the node has the virtual addresses' traffic by static neighbours
//! backends┘                       each backend has the virtual addresses on its loopback interface
//! ```

use std::{collections::BTreeSet, net::SocketAddr};

use dataplane::xdp::{Engine, PinFolder, Settings, detach, program::Mode};
use ebpf_common::{layout::stat, verdict::Reason};
use model::listener::{Forwarding, Protocol};

use crate::support::{
    decapsulate,
    echo::{self, TcpFlow, UdpFlow},
    namespaces::Namespace,
    objects::{Balanced, addresses, desired},
};

pub(crate) const BACKENDS: u8 = 2;
pub(crate) const VIP: [&str; 2] = ["192.0.2.10", "2001:db8::10"];

pub(crate) struct Network {
    pub(crate) client: Namespace,
    pub(crate) backends: Vec<Namespace>,
    _node: Namespace,
    _switch: Namespace,
    /// Frames that XDP transmits reach a veth's far end in time only if that has a program too
    /// (`veth_xdp_flush` in drivers/net/veth.c): one without a configuration passes all.
    _ports: Engine,
    ports_pins: PinFolder,
    pins: PinFolder,
}

impl Network {
    pub(crate) fn new() -> Self {
        let switch = Namespace::new("s");
        switch.run("ip link add br0 type bridge");
        switch.run("ip link set br0 up");
        let attach = |role: &str, last: u8| {
            let place = Namespace::new(role);
            let port = format!("p{last}");
            switch.run(&format!("ip link add {port} type veth peer name eth0 netns {}", place.0));
            switch.run(&format!("ip link set {port} up master br0"));
            place.run(&format!("ip link set eth0 address 02:00:00:00:00:{last:02x} up"));
            place.run(&format!("ip addr add 10.0.0.{last}/24 dev eth0"));
            place.run(&format!("ip addr add fd00::{last:x}/64 dev eth0 nodad"));
            place.run("ethtool -K eth0 tx off tso off gso off");
            place
        };
        let (client, node) = (attach("c", 0x64), attach("n", 1));
        client.run("ip route add 192.0.2.0/24 via 10.0.0.1");
        client.run("ip route add 2001:db8::/64 via fd00::1");
        let backends: Vec<Namespace> = (0..BACKENDS)
            .map(|number| {
                let place = attach(&format!("b{number}"), 0x15 + number);
                for vip in VIP {
                    let length = if vip.contains(':') { 128 } else { 32 };
                    place.run(&format!("ip addr add {vip}/{length} dev lo"));
                }
                // Only the node answers for the virtual addresses (Documentation/networking/ip-sysctl).
                place.run(
                    "sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",
                );
                decapsulate::start(&place);
                echo::serve(&place, number, &VIP);
                place
            })
            .collect();
        let folder = |role: &str| {
            let instance = format!("test-direct-{role}-{}", std::process::id());
            PinFolder::new("/sys/fs/bpf", &instance).unwrap()
        };
        let (pins, ports_pins) = (folder("node"), folder("ports"));
        switch.enter();
        let ports = [0x64, 1, 0x15, 0x16].map(|last| format!("p{last}")).to_vec();
        let mut program = open(&ports_pins, ports);
        program.reconcile(&desired(1, &[])).unwrap();
        assert!(program.attachments().values().all(|mode| *mode == Ok(Mode::Native)));
        node.enter();
        Self { client, backends, _node: node, _switch: switch, _ports: program, ports_pins, pins }
    }

    pub(crate) fn engine(&self) -> Engine {
        open(&self.pins, vec!["eth0".to_owned()])
    }
}

fn open(pins: &PinFolder, interfaces: Vec<String>) -> Engine {
    let settings = Settings::new(interfaces, pins.clone());
    Engine::open(settings).expect("root, see `cargo xtask setup`")
}

impl Drop for Network {
    fn drop(&mut self) {
        let _gone = [detach(&self.pins), detach(&self.ports_pins)];
    }
}

pub(crate) fn services(forwarding: Forwarding) -> Vec<Balanced> {
    let mut all = Vec::new();
    for (family, vip) in VIP.into_iter().enumerate() {
        for (protocol, port) in [(Protocol::Tcp, echo::TCP_PORT), (Protocol::Udp, echo::UDP_PORT)] {
            let endpoints: Vec<String> = (0..BACKENDS)
                .map(|n| match family {
                    0 => format!("10.0.0.{}:{port}", 0x15 + n),
                    _ => format!("[fd00::{:x}]:{port}", 0x15 + n),
                })
                .collect();
            all.push(Balanced {
                name: ["tcp4", "udp4", "tcp6", "udp6"][2 * family + usize::from(protocol.is_udp())],
                protocol,
                address: Some(vip),
                port,
                forwarding,
                endpoints: addresses(&endpoints.iter().map(String::as_str).collect::<Vec<_>>()),
            });
        }
    }
    all
}

#[test]
fn root_real_tcp_and_udp_go_through_every_mode_and_come_back_directly() {
    let network = Network::new();
    let mut engine = network.engine();
    for (revision, forwarding) in (1..).zip([Forwarding::L2, Forwarding::Ipip, Forwarding::Gue]) {
        engine.reconcile(&desired(revision, &services(forwarding))).unwrap();
        assert_eq!(engine.attachments()["eth0"], Ok(Mode::Native));
        let before = engine.statistics().unwrap();
        let client = echo::spawn(&network.client, move || {
            VIP.map(|vip| {
                let at = |port: u16| SocketAddr::new(vip.parse().unwrap(), port);
                let tcp: BTreeSet<u8> = (0..20)
                    .map(|_| {
                        let mut flow = TcpFlow::open(at(echo::TCP_PORT));
                        flow.exchange();
                        // Segments as large as the client's link: ICMP tells what tunnels take.
                        flow.bulk(100_000);
                        flow.backend()
                    })
                    .collect();
                let udp: BTreeSet<u8> = (0..20)
                    .map(|_| {
                        let mut flow = UdpFlow::open(at(echo::UDP_PORT));
                        assert!(flow.exchange());
                        flow.backend()
                    })
                    .collect();
                [tcp.len(), udp.len()]
            })
        });
        let reached = client
            .join()
            .unwrap_or_else(|_| panic!("{forwarding:?}: {:?}", engine.statistics().unwrap()));
        assert_eq!(reached, [[usize::from(BACKENDS); 2]; 2], "{forwarding:?}");
        let after = engine.statistics().unwrap();
        assert!(after.forwarded() - before.forwarded() >= 2 * (20 * 4 + 20 * 2), "{forwarding:?}");
        for reason in [Reason::NoRoute, Reason::NotOnLink, Reason::TooBig, Reason::NoHeadroom] {
            assert_eq!(after.count(reason), 0, "{forwarding:?} {reason:?}");
        }
        let told = after.words[stat::TOO_BIG_TOLD] - before.words[stat::TOO_BIG_TOLD];
        assert_eq!(told > 0, forwarding != Forwarding::L2, "{forwarding:?}: {told}");
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
