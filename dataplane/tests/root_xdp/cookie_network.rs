//! Real clients and servers whose connections begin by SYN cookies, in network namespaces and in native
//! mode: servers that speak first, much data both ways, clients that close at once. Needs root.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use dataplane::xdp::statistics::Statistics;
use ebpf_common::{layout::stat, verdict::Reason};
use model::listener::{Forwarding, Protocol};

use crate::{
    direct_network::{BACKENDS, Network, VIP},
    support::{
        cookies::answering_by_cookies,
        echo::{self, TcpFlow},
        objects::{Balanced, addresses, desired},
    },
};

/// Connections of each family.
const FLOWS: usize = 20;
/// Bytes of a connection in each direction.
const BULK: usize = 2_000_000;

fn services() -> Vec<Balanced> {
    let endpoint = |v6: bool, n: u8| match v6 {
        false => format!("10.0.0.{}:{}", 0x15 + n, echo::TCP_PORT),
        true => format!("[fd00::{:x}]:{}", 0x15 + n, echo::TCP_PORT),
    };
    [(false, VIP[0], "tcp4"), (true, VIP[1], "tcp6")]
        .map(|(v6, vip, name)| {
            let endpoints: Vec<String> = (0..BACKENDS).map(|n| endpoint(v6, n)).collect();
            Balanced {
                name,
                protocol: Protocol::Tcp,
                address: Some(vip),
                port: echo::TCP_PORT,
                forwarding: Forwarding::Nat,
                endpoints: addresses(&endpoints.iter().map(String::as_str).collect::<Vec<_>>()),
            }
        })
        .into()
}

/// Lets a client do something against both listeners; returns what it brought, and what was counted.
fn at_both<T: Send + 'static>(
    work: impl Fn(SocketAddr) -> T + Send + 'static,
) -> (Vec<T>, Statistics) {
    let network = Network::new();
    let mut engine = network.engine();
    engine.reconcile(&answering_by_cookies(desired(1, &services()))).unwrap();
    engine.resolve_neighbours();
    let client = echo::spawn(&network.client, move || {
        VIP.map(|vip| work(SocketAddr::new(vip.parse().unwrap(), echo::TCP_PORT)))
    });
    let done = client.join();
    let statistics = engine.statistics().unwrap();
    let done = done.unwrap_or_else(|_| panic!("the client failed: {statistics:?}"));
    for place in [&network.client].into_iter().chain(&network.backends) {
        let snmp = echo::spawn(place, || std::fs::read_to_string("/proc/thread-self/net/snmp"));
        let snmp = snmp.join().unwrap().unwrap();
        for wrong in ["InCsumErrors", "EstabResets", "AttemptFails"] {
            assert_eq!(echo::counter(&snmp, "Tcp", wrong), 0, "{wrong}: {statistics:?}");
        }
    }
    (done.into(), statistics)
}

fn connect(listener: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(listener).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

#[test]
fn root_servers_that_speak_first_are_reached_by_syn_cookies_and_much_data_goes_both_ways() {
    let (reached, statistics) = at_both(|listener| {
        let all = (0..FLOWS).map(|_| {
            let mut flow = TcpFlow::open(listener);
            flow.exchange();
            flow.bulk(BULK);
            flow.backend()
        });
        all.collect::<BTreeSet<u8>>().len()
    });
    assert_eq!(reached, [usize::from(BACKENDS); 2]);
    let all = 2 * FLOWS as u64;
    let cookies = [stat::COOKIES_SENT, stat::COOKIES_ACCEPTED].map(|word| statistics.words[word]);
    assert_eq!(cookies, [all; 2], "nobody had to ask twice: {statistics:?}");
    for reason in [Reason::CookieRefused, Reason::BackendPending, Reason::TableRefused] {
        assert_eq!(statistics.count(reason), 0, "{reason:?}: {statistics:?}");
    }
}

#[test]
fn root_clients_that_speak_first_do_not_wait_for_a_probe() {
    let (waits, _) = at_both(|listener| {
        let all = (0..FLOWS).map(|_| {
            let begun = std::time::Instant::now();
            let mut stream = connect(listener);
            stream.write_all(b"first").unwrap();
            let mut answer = [0; 6];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer[1..], b"first");
            begun.elapsed()
        });
        let mut all: Vec<Duration> = all.collect();
        all.sort();
        all[FLOWS / 2]
    });
    // The least time after which Linux probes a window is 200 ms (`TCP_RTO_MIN`).
    println!("until the first answer: {waits:?}");
    assert!(waits.iter().all(|wait| *wait < Duration::from_millis(200)), "{waits:?}");
}

#[test]
fn root_a_client_that_closes_at_once_ends_its_connection_in_order() {
    let (_, statistics) = at_both(|listener| {
        for _ in 0..FLOWS {
            let mut stream = connect(listener);
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            assert_eq!(all.len(), 1, "the backend's number, and its end");
        }
    });
    assert_eq!(statistics.words[stat::COOKIES_ACCEPTED], 2 * FLOWS as u64);
}
