//! HTTP by curl and iperf3 in both directions through every way of forwarding and both families, in
//! network namespaces and in native mode: no wrong checksum, no reset, and senders know what the way
//! takes. Needs root.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Child, Command},
    time::{Duration, Instant},
};

use ebpf_common::layout::stat;
use model::listener::{Forwarding, Protocol};

use crate::{
    direct_network::{BACKENDS, Network, VIP},
    support::{
        cookies::answering_by_cookies,
        echo,
        namespaces::Namespace,
        objects::{Balanced, addresses, desired},
    },
};

const HTTP: u16 = 8080;
const IPERF: u16 = 5201;
/// Bytes of an answer, and answers.
const BODY: usize = 300_000;
const ANSWERS: usize = 10;
/// What the client's link takes.
const MTU: u32 = 1_500;

/// A server in a namespace; ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn inside(place: &Namespace, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &place.0, program]).args(arguments);
    command
}

/// Runs a program in a namespace; returns what it says.
fn output(place: &Namespace, program: &str, arguments: &[&str]) -> String {
    let output = inside(place, program, arguments).output().expect("see `cargo xtask setup`");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?} (`cargo xtask setup`?): {text}{errors}"
    );
    text
}

/// Reads a file of the namespace's network.
fn network_file(place: &Namespace, name: &str) -> String {
    let path = format!("/proc/thread-self/net/{name}");
    echo::spawn(place, move || std::fs::read_to_string(path).unwrap()).join().unwrap()
}

/// Reads a counter of TCP.
fn counter(place: &Namespace, name: &str) -> u64 {
    echo::counter(&network_file(place, "snmp"), "Tcp", name)
}

fn serve_http(place: &Namespace) {
    let (ready, listening) = std::sync::mpsc::sync_channel(1);
    echo::spawn(place, move || {
        let listener = TcpListener::bind(("::", HTTP)).expect("the port");
        ready.send(()).expect("the test waits");
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).ok()? == 1 {
                    request.push(byte[0]);
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
                stream.write_all(head.as_bytes()).ok()?;
                stream.write_all(&vec![b'x'; BODY]).ok()
            });
        }
    });
    listening.recv_timeout(Duration::from_secs(5)).expect("the HTTP server");
}

fn serve_iperf(place: &Namespace) -> Server {
    let mut command = inside(place, "iperf3", &["--server", "--port", &IPERF.to_string()]);
    let server = command.stdout(std::process::Stdio::null()).spawn();
    let server = Server(server.expect("iperf3, see `cargo xtask setup`"));
    let deadline = Instant::now() + Duration::from_secs(10);
    // In hexadecimal, listening.
    let listens = |line: &str| line.contains(&format!(":{IPERF:04X} ")) && line.contains(" 0A ");
    while !network_file(place, "tcp6").lines().any(listens) {
        assert!(Instant::now() < deadline, "iperf3 listens (`cargo xtask setup`)");
        std::thread::yield_now();
    }
    server
}

/// Listeners of HTTP on all backends, and of iperf3, whose connections belong together, on one.
fn services(forwarding: Forwarding) -> Vec<Balanced> {
    let mut all = Vec::new();
    for (v6, vip) in VIP.into_iter().enumerate() {
        for (port, backends) in [(HTTP, BACKENDS), (IPERF, 1)] {
            let endpoint = |n: u8| match v6 {
                0 => format!("10.0.0.{}:{port}", 0x15 + n),
                _ => format!("[fd00::{:x}]:{port}", 0x15 + n),
            };
            let endpoints: Vec<String> = (0..backends).map(endpoint).collect();
            all.push(Balanced {
                name: [["http4", "iperf4"], ["http6", "iperf6"]][v6][usize::from(port == IPERF)],
                protocol: Protocol::Tcp,
                address: Some(vip),
                port,
                forwarding,
                endpoints: addresses(&endpoints.iter().map(String::as_str).collect::<Vec<_>>()),
            });
        }
    }
    all
}

/// What an outer header takes.
fn overhead(forwarding: Forwarding, v6: bool) -> u32 {
    match (forwarding, v6) {
        (Forwarding::Nat | Forwarding::L2, _) => 0,
        (Forwarding::Ipip, false) => 20,
        (Forwarding::Ipip, true) => 40,
        (Forwarding::Gue, false) => 28,
        (Forwarding::Gue, true) => 48,
    }
}

/// Returns the MTU of the client's way, as it has learned it.
fn learned_mtu(client: &Namespace, vip: &str) -> u32 {
    let route = output(client, "ip", &["route", "get", vip]);
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu").skip(1);
    words.next().map_or(MTU, |mtu| mtu.parse().expect("a number"))
}

#[test]
fn root_iperf3_and_http_go_through_every_mode_and_family_without_a_wrong_checksum_or_a_reset() {
    let network = Network::new();
    let client = &network.client;
    network.backends.iter().for_each(serve_http);
    let _iperf = serve_iperf(&network.backends[0]);
    let mut engine = network.engine();
    let modes = [Forwarding::Nat, Forwarding::L2, Forwarding::Ipip, Forwarding::Gue];
    let modes = modes.map(|it| (it, false)).into_iter().chain([(Forwarding::Nat, true)]);
    for (revision, (forwarding, cookies)) in (1..).zip(modes) {
        let wanted = desired(revision, &services(forwarding));
        let wanted = if cookies { answering_by_cookies(wanted) } else { wanted };
        engine.reconcile(&wanted).unwrap();
        engine.resolve_neighbours();
        output(client, "ip", &["route", "flush", "cache"]);
        output(client, "ip", &["-6", "route", "flush", "cache"]);
        let told = engine.statistics().unwrap().words[stat::TOO_BIG_TOLD];
        for (v6, vip) in [false, true].into_iter().zip(VIP) {
            // iperf3 may end its own connections by resets, so those are counted around HTTP.
            let resets = || {
                let places = [client].into_iter().chain(&network.backends);
                places.map(|it| counter(it, "OutRsts") + counter(it, "EstabResets")).sum::<u64>()
            };
            let before = resets();
            let host = if v6 { format!("[{vip}]") } else { vip.to_owned() };
            for _ in 0..ANSWERS {
                let url = format!("http://{host}:{HTTP}/");
                let size = ["-sS", "--fail", "-o", "/dev/null", "-w", "%{size_download}", &url];
                let size = output(client, "curl", &size);
                assert_eq!(size, BODY.to_string(), "{forwarding:?} {vip}");
            }
            assert_eq!(resets(), before, "{forwarding:?} {vip}");
            for direction in [&[][..], &["--reverse"]] {
                let port = IPERF.to_string();
                let arguments = ["--client", vip, "--port", &port, "--time", "1", "--json"];
                let report = output(client, "iperf3", &[&arguments, direction].concat());
                let report: serde_json::Value = serde_json::from_str(&report).unwrap();
                let bytes = report["end"]["sum_received"]["bytes"].as_u64().unwrap_or(0);
                println!(
                    "{forwarding:?}, cookies {cookies}, {vip} {direction:?}: {} Mbit/s",
                    bytes * 8 / 1_000_000
                );
                assert!(bytes > 1_000_000, "{forwarding:?} {vip} {direction:?}: {report}");
            }
            let fits = MTU - overhead(forwarding, v6);
            assert_eq!(learned_mtu(client, vip), fits, "{forwarding:?} {vip}");
        }
        let now = engine.statistics().unwrap().words[stat::TOO_BIG_TOLD];
        assert_eq!(now > told, overhead(forwarding, false) > 0, "{forwarding:?}");
        let accepted = engine.statistics().unwrap().words[stat::COOKIES_ACCEPTED];
        assert_eq!(accepted > 2 * ANSWERS as u64, cookies, "{accepted} cookies accepted");
        for place in [client].into_iter().chain(&network.backends) {
            assert_eq!(counter(place, "InCsumErrors"), 0, "{forwarding:?}");
        }
    }
}
