//! Addresses on the link: two nodes and a client on one bridge, each in a namespace of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, UdpSocket},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use dataplane::{
    announce::{Granted, Holder, Input, release},
    xdp::L4Placement,
};
use model::{
    AckState, Engine, EngineReport, Revision, Snapshot,
    announce::{AddressReport, AddressState},
};

use crate::support::{namespaces::Namespace, pause::pause};

const ADDRESSES: [&str; 2] = ["10.0.0.50", "fd00::50"];
/// Nothing here takes longer unless it is broken.
const DEADLINE: Duration = Duration::from_secs(20);

struct Site {
    client: Namespace,
    nodes: [Namespace; 2],
}

impl Site {
    fn new() -> Self {
        let client = Namespace::new("c");
        let nodes = [Namespace::new("a"), Namespace::new("b")];
        client.run("ip link add br0 type bridge mcast_snooping 0 forward_delay 0");
        client.run("ip addr add 10.0.0.100/24 dev br0");
        client.run("ip addr add fd00::100/64 dev br0 nodad");
        client.run("ip link set br0 up");
        for (node, n) in nodes.iter().zip([1, 2]) {
            client.run(&format!(
                "ip link add p{n} type veth peer name v0 address 02:00:00:00:00:0{n} netns {}",
                node.0
            ));
            client.run(&format!("ip link set p{n} master br0 up"));
            node.run(&format!("ip addr add 10.0.0.{n}/24 dev v0"));
            node.run(&format!("ip addr add fd00::{n}/64 dev v0 nodad"));
            node.run("ip link set v0 up");
        }
        Self { client, nodes }
    }

    fn look(
        &self,
        node: usize,
        holder: &mut Holder,
        lease: Option<Duration>,
    ) -> Vec<AddressReport> {
        self.nodes[node].enter();
        holder.look(&input(lease)).unwrap()
    }

    /// The last number of the Ethernet address that the client has for each address; it asks the
    /// link where it has none.
    fn neighbours(&self) -> [Option<u8>; 2] {
        self.client.enter();
        let begun = Instant::now();
        loop {
            let found = ADDRESSES.map(|address| {
                let address: IpAddr = address.parse().unwrap();
                let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
                UdpSocket::bind((any, 0)).unwrap().send_to(b"x", (address, 9)).unwrap();
                let shown = output(&self.client, &format!("ip neigh show {address}"));
                shown.split("lladdr ").nth(1)?.get(15..17)?.parse().ok()
            });
            if found.iter().all(Option::is_some) || begun.elapsed() > DEADLINE {
                return found;
            }
            pause(Duration::from_millis(20));
        }
    }

    fn has(&self, node: usize) -> bool {
        let shown = output(&self.nodes[node], "ip -o addr show dev v0");
        ADDRESSES.iter().any(|address| shown.contains(&format!(" {address}/")))
    }
}

fn output(namespace: &Namespace, line: &str) -> String {
    let words = ["netns", "exec", &namespace.0];
    let output = Command::new("ip").args(words).args(line.split(' ')).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn wanted() -> BTreeSet<IpAddr> {
    ADDRESSES.iter().map(|address| address.parse().unwrap()).collect()
}

/// Both addresses are wanted; `lease` is for how long they are this node's.
fn input(lease: Option<Duration>) -> Input {
    let mut config = Snapshot::default();
    for (n, address) in ADDRESSES.iter().enumerate() {
        let yaml = format!(
            "kind: Listener\nmetadata: {{ name: l{n} }}\nspec: {{ protocol: HTTP, port: 80, \
             address: \"{address}\", announce: L2 }}\n"
        );
        for object in model::parse::parse_documents(&yaml).unwrap() {
            config.put(Arc::new(object));
        }
    }
    let report = EngineReport::new(Engine::Envoy, Revision(1), AckState::Applied);
    Input {
        config,
        placement: Arc::new(L4Placement::default()),
        reports: Arc::new(BTreeMap::from([(Engine::Envoy, report)])),
        granted: lease.map(|lease| Granted {
            addresses: if lease.is_zero() { BTreeSet::new() } else { wanted() },
            until: Instant::now() + lease.max(SHORT),
        }),
        leaving: None,
    }
}

/// A lease that a test waits for.
const SHORT: Duration = Duration::from_secs(3);

fn are_announced(reports: &[AddressReport]) -> bool {
    reports.len() == ADDRESSES.len()
        && reports.iter().all(|report| {
            matches!(&report.state, AddressState::Announced { interface, .. } if interface == "v0")
        })
}

#[test]
fn root_an_address_moves_to_the_node_that_announces_it_and_ends_with_its_lease() {
    let site = Site::new();
    let (mut a, mut b) = (Holder::new(vec!["v0".to_owned()]), Holder::new(vec![]));
    assert!(are_announced(&site.look(0, &mut a, Some(SHORT))));
    assert!(site.has(0) && a.is_holding());
    assert_eq!(site.neighbours(), [Some(1); 2]);

    // The other one gets them, while the first does nothing any more: as after `kill -9`, or in a
    // minority. The client's entries are fresh, so what moves them is what the node says.
    let begun = Instant::now();
    let told = || {
        ADDRESSES.map(|address| {
            let shown = output(&site.client, &format!("ip neigh show {address}"));
            shown.contains("02:00:00:00:00:02")
        })
    };
    let mut announcements = 0;
    while told() != [true; 2] {
        assert!(announcements < 3, "the client's entries stay");
        assert!(are_announced(&site.look(1, &mut b, Some(SHORT))));
        announcements += 1;
        let announced = Instant::now();
        while told() != [true; 2] && announced.elapsed() < Duration::from_secs(1) {
            pause(Duration::from_millis(50));
        }
    }

    // The first one's end by themselves: nobody but the kernel runs there.
    while site.has(0) {
        assert!(begun.elapsed() < DEADLINE, "the addresses outlive their lease");
        site.look(1, &mut b, Some(SHORT));
        pause(Duration::from_millis(200));
    }
    assert!(site.has(1), "renewed ones stay");
    assert_eq!(site.neighbours(), [Some(2); 2]);
    // What comes late sees that it has lost them, and says so.
    let late = site.look(0, &mut a, Some(Duration::ZERO));
    assert!(late.iter().all(|report| matches!(report.state, AddressState::Fit { .. })), "{late:?}");
    assert!(!a.is_holding());
}

#[test]
fn root_addresses_of_an_earlier_process_are_taken_over_or_taken_off_and_no_others() {
    let site = Site::new();
    let mut first = Holder::new(vec!["v0".to_owned()]);
    let long = Some(Duration::from_secs(60));
    assert!(are_announced(&site.look(0, &mut first, long)));
    drop(first);

    // Before the first word it leaves them; with the word it goes on.
    let mut second = Holder::new(vec!["v0".to_owned()]);
    site.look(0, &mut second, None);
    assert!(site.has(0));
    assert!(are_announced(&site.look(0, &mut second, long)));
    site.look(0, &mut second, Some(Duration::ZERO));
    assert!(!site.has(0));

    // What the operator put there is the operator's.
    site.nodes[0].run("ip addr add 10.0.0.50/32 dev v0");
    let reports = site.look(0, &mut second, long);
    let AddressState::Unfit { reason } = &reports[0].state else { panic!("{reports:?}") };
    assert!(reason.contains("on v0 already"), "{reason}");
    assert!(matches!(reports[1].state, AddressState::Announced { .. }), "{reports:?}");
    assert_eq!(release(&["v1".to_owned()]).unwrap(), [] as [IpAddr; 0]);
    let released = release(&["v0".to_owned()]).unwrap();
    assert_eq!(released, ["fd00::50".parse::<IpAddr>().unwrap()]);
    assert!(output(&site.nodes[0], "ip -o addr show dev v0").contains(" 10.0.0.50/32"));

    // An interface that is down carries nothing.
    site.nodes[0].run("ip addr del 10.0.0.50/32 dev v0");
    site.nodes[0].run("ip link set v0 down");
    let reports = site.look(0, &mut second, long);
    let AddressState::Unfit { reason } = &reports[0].state else { panic!("{reports:?}") };
    assert!(reason.contains("down"), "{reason}");
}
