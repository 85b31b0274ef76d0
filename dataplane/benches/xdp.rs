//! What a packet costs in the XDP program, under `BPF_PROG_TEST_RUN`: nanoseconds net of the floor
//! of the same run. `cargo xtask bench xdp` runs it. Needs root.
//!
//! Two services of 100 endpoints each, TCP 10.200.1.1:80 and `[fc00:1::1]:80`. A driver program
//! restores each frame, makes it one of the next flow (in no order), and calls the program, so
//! that the cost of programs that encapsulate or translate is measured. With `--pin` nothing is
//! measured: see [`pinned`].

#![expect(clippy::unwrap_used, reason = "a measurement that cannot be made ends by panicking")]

#[path = "../tests/root_xdp/support"]
#[expect(dead_code, reason = "the tests use what this does not")]
mod support {
    pub(crate) mod bench;
    pub(crate) mod namespaces;
    pub(crate) mod objects;
    pub(crate) mod packets;
}

#[path = "support/driver.rs"]
mod driver;
#[path = "xdp/pinned.rs"]
mod pinned;

use std::{fs, path::PathBuf, process::ExitCode};

use aya::programs::ProgramFd;
use driver::{Driver, handle};
use ebpf_common::layout::CONFIG_RECORDS;
use model::listener::{Forwarding, Protocol};
use serde_json::json;
use support::{
    bench::{Bench, PASS, TX},
    namespaces,
    objects::{Balanced, addresses, desired_with},
    packets::{ACK, Frame, SYN, TCP, UDP},
};

const ENDPOINTS: u8 = 100;
/// Flows that the table of flows is made for.
const TABLE: u32 = 1 << 18;
const RUNS: usize = 7;
const FRAMES: u32 = 1 << 20;
/// A packet filter that looks at source and port of each packet and denies none of them.
const FILTER: &str = "
kind: PrefixList
metadata: { name: abusers }
spec: { prefixes: [203.0.113.0/24, 198.51.100.7, \"2001:db8:bad::/48\"] }
---
kind: PacketFilter
metadata: { name: edge }
spec:
  rules:
    - { action: Deny, sourceLists: [{ name: abusers }] }
    - { action: Deny, protocol: UDP, ports: [1-52, 54-79] }
";
/// Limits, code points and congestion marks for all services, of which no packet is over its limit.
const POLICY: &str = "
kind: QoSPolicy
metadata: { name: gold }
spec:
  listeners: [{ name: tcp4 }, { name: udp4 }, { name: tcp6 }, { name: udp6 }]
  ingress: { bandwidthMbps: 100000 }
  dscp: AF41
  ecn: Mark
  excess: Drop
";
/// What cases are to cost at most, on the machine that docs/benchmarks.md names: absolute figures
/// do not carry over to another.
const BARS: [(&str, f64); 14] = [
    ("for no service: passed", 15.0),
    ("IPIP IPv4 TCP, 1 flow", 45.0),
    ("IPIP IPv4 TCP, 64k flows", 80.0),
    ("IPIP IPv4 SYN, 4M flows", 100.0),
    ("GUE IPv4 TCP, 1 flow", 60.0),
    ("for no service, filtered", 15.0),
    ("IPIP IPv4 TCP, 1 flow, filtered", 45.0),
    ("IPIP IPv4 TCP, 64k flows, filtered", 80.0),
    ("IPIP IPv4 SYN, 4M flows, filtered", 100.0),
    ("IPIP IPv4 TCP, 1 flow, filtered, limited, marked", 45.0),
    ("IPIP IPv4 TCP, 64k flows, filtered, limited, marked", 80.0),
    ("IPIP IPv4 SYN, 4M flows, filtered, limited, marked", 100.0),
    ("GUE IPv4 TCP, 1 flow, filtered", 60.0),
    ("GUE IPv4 TCP, 1 flow, filtered, limited, marked", 60.0),
];
const VIP: [&str; 2] = ["10.200.1.1", "fc00:1::1"];

fn main() -> ExitCode {
    // Cargo runs the targets of benches as tests too.
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    if let Some((folder, forwarding)) = pinned::arguments(std::env::args().skip(1)) {
        pinned::hold(&folder, forwarding);
        return ExitCode::SUCCESS;
    }
    let mut drive = Drive::new();
    let rows = drive.all();
    let floor = rows[0].median;
    println!("{:<52} {:>9} {:>9} {:>9}  bar", "", "net ns", "min", "max");
    for row in &rows {
        let net = |value: f64| if row.is_floor { value } else { value - floor };
        let bar = BARS.iter().find(|(name, _)| *name == row.name).map(|(_, bar)| {
            format!("at most {bar}: {}", if net(row.median) <= *bar { "held" } else { "MISSED" })
        });
        println!(
            "{:<52} {:>9.1} {:>9.1} {:>9.1}  {}",
            row.name,
            net(row.median),
            net(row.min),
            net(row.max),
            bar.unwrap_or_default()
        );
    }
    if let Some(path) = std::env::var_os("MARCHPROXY_BENCH_JSON").map(PathBuf::from) {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "name": row.name,
                    "gross_ns": { "median": row.median, "min": row.min, "max": row.max },
                    "net_ns": if row.is_floor { 0.0 } else { row.median - floor },
                })
            })
            .collect();
        let text =
            serde_json::to_vec_pretty(&json!({ "runs": RUNS, "frames": FRAMES, "rows": rows }));
        fs::write(&path, text.expect("numbers and names")).expect("the file to write");
    }
    ExitCode::SUCCESS
}

struct Row {
    name: String,
    is_floor: bool,
    median: f64,
    min: f64,
    max: f64,
}

/// The program that is measured, and the one that drives it.
struct Drive {
    bench: Bench,
    driver: Driver,
}

impl Drive {
    fn new() -> Self {
        Self { bench: node(), driver: Driver::new() }
    }

    fn all(&mut self) -> Vec<Row> {
        let mut rows = vec![self.floor()];
        self.serve(Forwarding::Ipip);
        let mut stranger = frame(TCP, false);
        stranger.destination.set_port(81);
        rows.push(self.measure("for no service: passed", &stranger, 1, PASS));
        for (name, forwarding) in [
            ("IPIP", Forwarding::Ipip),
            ("GUE", Forwarding::Gue),
            ("L2", Forwarding::L2),
            ("NAT", Forwarding::Nat),
        ] {
            for v6 in [false, true] {
                // With tables of its own: those of the case before would be full.
                self.bench = node();
                self.serve(forwarding);
                let family = if v6 { "IPv6" } else { "IPv4" };
                for flows in [1, 1 << 16] {
                    // Nobody answers here, and full NAT looks after a TCP connection that nobody has
                    // answered many times a second.
                    let (protocol, word) =
                        if forwarding == Forwarding::Nat { (UDP, "UDP") } else { (TCP, "TCP") };
                    let packet = Frame { tcp_flags: ACK, ..frame(protocol, v6) };
                    let count = if flows == 1 { "1 flow" } else { "64k flows" };
                    let name = format!("{name} {family} {word}, {count}");
                    rows.push(self.measure(&name, &packet, flows, TX));
                }
                if forwarding != Forwarding::Nat {
                    let name = format!("{name} {family} SYN, 4M flows");
                    let syn = Frame { tcp_flags: SYN, ..frame(TCP, v6) };
                    rows.push(self.measure(&name, &syn, 1 << 22, TX));
                }
            }
        }
        self.bench = node();
        self.serve(Forwarding::Ipip);
        rows.push(self.measure("IPIP IPv4 UDP, 64k flows", &frame(UDP, false), 1 << 16, TX));
        rows.push(self.measure("for no service: passed, again", &stranger, 1, PASS));
        self.put(Forwarding::Ipip, FILTER);
        let segment = Frame { tcp_flags: ACK, ..frame(TCP, false) };
        let syn = Frame { tcp_flags: SYN, ..frame(TCP, false) };
        for (name, frame, flows, verdict) in [
            ("for no service, filtered", &stranger, 1, PASS),
            ("IPIP IPv4 TCP, 1 flow, filtered", &segment, 1, TX),
            ("IPIP IPv4 TCP, 64k flows, filtered", &segment, 1 << 16, TX),
            ("IPIP IPv4 SYN, 4M flows, filtered", &syn, 1 << 22, TX),
        ] {
            rows.push(self.measure(name, frame, flows, verdict));
        }
        for (documents, suffix) in [
            (POLICY.to_owned(), "limited, marked"),
            (format!("{FILTER}---{POLICY}"), "filtered, limited, marked"),
        ] {
            self.put(Forwarding::Ipip, &documents);
            for (name, frame, flows) in [
                ("TCP, 1 flow", &segment, 1),
                ("TCP, 64k flows", &segment, 1 << 16),
                ("SYN, 4M flows", &syn, 1 << 22),
            ] {
                let name = format!("IPIP IPv4 {name}, {suffix}");
                rows.push(self.measure(&name, frame, flows, TX));
            }
        }
        self.bench = node();
        self.serve(Forwarding::Gue);
        for (documents, suffix) in [
            (FILTER.to_owned(), "filtered"),
            (format!("{FILTER}---{POLICY}"), "filtered, limited, marked"),
        ] {
            self.put(Forwarding::Gue, &documents);
            let name = format!("GUE IPv4 TCP, 1 flow, {suffix}");
            rows.push(self.measure(&name, &segment, 1, TX));
        }
        rows
    }

    fn serve(&mut self, forwarding: Forwarding) {
        let revision = self.bench.engine.generation() + 1;
        // What was served before is gone: no listener changes how it forwards under its flows.
        self.bench.apply(revision, &[]);
        self.bench.apply(revision + 1, &services(endpoint, forwarding));
    }

    /// Puts filters and policies of some documents in force beside what is served.
    fn put(&mut self, forwarding: Forwarding, documents: &str) {
        let revision = self.bench.engine.generation() + 1;
        let services = services(endpoint, forwarding);
        let desired = desired_with(revision, &services, documents);
        self.bench.engine.reconcile(&desired).unwrap();
        assert_eq!(self.bench.engine.unfiltered(), None);
    }

    fn floor(&mut self) -> Row {
        let floor = self.driver.floor();
        let row = self.measure_program("floor", &floor, &frame(TCP, false), 1, PASS);
        Row { is_floor: true, ..row }
    }

    fn measure(&mut self, name: &str, frame: &Frame, flows: u64, verdict: u32) -> Row {
        let program = handle(self.bench.engine.program().xdp());
        self.measure_program(name, &program, frame, flows, verdict)
    }

    fn measure_program(
        &mut self,
        name: &str,
        program: &ProgramFd,
        frame: &Frame,
        flows: u64,
        verdict: u32,
    ) -> Row {
        let ifindex = self.bench.ifindex;
        self.driver.call(program);
        self.driver.run(frame, flows, FRAMES.max(2 * flows as u32), ifindex);
        let mut all: Vec<f64> = (0..RUNS)
            .map(|_| {
                let (found, cost) = self.driver.run(frame, flows, FRAMES, ifindex);
                assert_eq!(found, verdict, "{name}");
                cost
            })
            .collect();
        all.sort_by(f64::total_cmp);
        let (median, min, max) = (all[RUNS / 2], all[0], all[RUNS - 1]);
        Row { name: name.to_owned(), is_floor: false, median, min, max }
    }
}

/// Makes a node that knows its neighbours.
fn node() -> Bench {
    let bench = Bench::with_tables(&[], TABLE, CONFIG_RECORDS as u32);
    for n in 0..ENDPOINTS {
        for ip in endpoint(n) {
            namespaces::run(&format!(
                "ip neigh replace {ip} lladdr 02:00:00:00:01:{n:02x} dev v0 nud permanent"
            ));
        }
    }
    bench
}

/// The services: TCP and UDP of both families.
fn services(endpoint: fn(u8) -> [String; 2], forwarding: Forwarding) -> Vec<Balanced> {
    let mut all = Vec::new();
    for (family, vip) in VIP.into_iter().enumerate() {
        for (protocol, kind) in [(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp")] {
            let list: Vec<String> = (0..ENDPOINTS)
                .map(|n| match family {
                    0 => format!("{}:80", endpoint(n)[0]),
                    _ => format!("[{}]:80", endpoint(n)[1]),
                })
                .collect();
            all.push(Balanced {
                name: [["tcp4", "udp4"], ["tcp6", "udp6"]][family][usize::from(kind == "udp")],
                protocol,
                address: Some(vip),
                port: 80,
                forwarding,
                endpoints: addresses(&list.iter().map(String::as_str).collect::<Vec<_>>()),
            });
        }
    }
    all
}

/// The addresses of an endpoint.
fn endpoint(n: u8) -> [String; 2] {
    [format!("10.0.0.{}", 101 + n), format!("fd00::1:{n:x}")]
}

fn frame(protocol: u8, v6: bool) -> Frame {
    let frame = if v6 {
        Frame::new(protocol, "[2001:db8:1::1]:1024", &format!("[{}]:80", VIP[1]))
    } else {
        Frame::new(protocol, "11.0.0.0:1024", &format!("{}:80", VIP[0]))
    };
    // So that an Ethernet frame of the least length holds it.
    Frame { payload: Vec::new(), ..frame }
}
