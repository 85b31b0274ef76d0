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

#[path = "xdp/pinned.rs"]
mod pinned;

use std::{fs, path::PathBuf, process::ExitCode};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use ebpf_common::{
    drive::{BEFORE_WORDS, DRIVER, FLOOR, NEXT_MAP, RESTORED_V4, RESTORED_V6, STATE_MAP, State},
    layout::CONFIG_RECORDS,
};
use model::listener::{Forwarding, Protocol};
use serde_json::json;
use support::{
    bench::{Bench, PASS, TX},
    namespaces,
    objects::{Balanced, addresses},
    packets::{ACK, Frame, SYN, TCP, UDP},
};

static DRIVE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/marchproxy-drive"));

const ENDPOINTS: u8 = 100;
/// Flows that the table of flows is made for.
const TABLE: u32 = 1 << 18;
const RUNS: usize = 7;
const FRAMES: u32 = 1 << 20;
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
    println!("{:<34} {:>9} {:>9} {:>9}", "", "net ns", "min", "max");
    for row in &rows {
        let net = |value: f64| if row.is_floor { value } else { value - floor };
        println!(
            "{:<34} {:>9.1} {:>9.1} {:>9.1}",
            row.name,
            net(row.median),
            net(row.min),
            net(row.max)
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
    driver: Ebpf,
}

impl Drive {
    fn new() -> Self {
        let bench = node();
        let mut driver = EbpfLoader::new().load(DRIVE).expect("the driver");
        for name in [DRIVER, FLOOR] {
            xdp(&mut driver, name).load().expect("the kernel takes the driver");
        }
        Self { bench, driver }
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
                    if forwarding == Forwarding::Nat {
                        // Full NAT begins a connection by its SYN.
                        self.run(&frame(TCP, v6), flows, flows as u32 * 2);
                    }
                    let segment = Frame { tcp_flags: ACK, ..frame(TCP, v6) };
                    let count = if flows == 1 { "1 flow" } else { "64k flows" };
                    let name = format!("{name} {family} TCP, {count}");
                    rows.push(self.measure(&name, &segment, flows, TX));
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
        rows
    }

    fn serve(&mut self, forwarding: Forwarding) {
        let revision = self.bench.engine.generation() + 1;
        // What was served before is gone: no listener changes how it forwards under its flows.
        self.bench.apply(revision, &[]);
        self.bench.apply(revision + 1, &services(endpoint, forwarding));
    }

    fn floor(&mut self) -> Row {
        let fd = xdp(&mut self.driver, FLOOR).fd().expect("it is loaded");
        let fd = fd.try_clone().expect("a second handle");
        let row = self.measure_program("floor", &fd, &frame(TCP, false), 1, PASS);
        Row { is_floor: true, ..row }
    }

    fn measure(&mut self, name: &str, frame: &Frame, flows: u64, verdict: u32) -> Row {
        let fd = self.bench.engine.program().xdp().fd().expect("it is loaded");
        let fd = fd.try_clone().expect("a second handle");
        self.measure_program(name, &fd, frame, flows, verdict)
    }

    fn measure_program(
        &mut self,
        name: &str,
        program: &ProgramFd,
        frame: &Frame,
        flows: u64,
        verdict: u32,
    ) -> Row {
        self.call(program);
        self.run(frame, flows, FRAMES.max(2 * flows as u32));
        let mut all: Vec<f64> = (0..RUNS)
            .map(|_| {
                let (found, cost) = self.run(frame, flows, FRAMES);
                assert_eq!(found, verdict, "{name}");
                cost
            })
            .collect();
        all.sort_by(f64::total_cmp);
        let (median, min, max) = (all[RUNS / 2], all[0], all[RUNS - 1]);
        Row { name: name.to_owned(), is_floor: false, median, min, max }
    }

    /// Makes the driver call a program.
    fn call(&mut self, program: &ProgramFd) {
        let map = self.driver.map_mut(NEXT_MAP).expect("the object has the map");
        let mut next: ProgramArray<&mut MapData> = map.try_into().expect("a program array");
        next.set(0, program, 0).expect("the kernel takes the program");
    }

    /// Runs frames of some flows; returns the verdict and the mean cost.
    fn run(&mut self, frame: &Frame, flows: u64, frames: u32) -> (u32, f64) {
        let v6 = frame.source.is_ipv6();
        let mut bytes = frame.bytes();
        bytes.resize(if v6 { RESTORED_V6 } else { 64 }, 0);
        let mut words = [0; (RESTORED_V6 - BEFORE_WORDS) / 8];
        let restored = if v6 { RESTORED_V6 } else { RESTORED_V4 };
        for (word, chunk) in words.iter_mut().zip(bytes[BEFORE_WORDS..restored].chunks(8)) {
            *word = u64::from_ne_bytes(chunk.try_into().expect("eight bytes"));
        }
        let state = State {
            counter: 0,
            flows_mask: flows - 1,
            length: bytes.len() as u32,
            v6: u32::from(v6),
            words,
            first: u32::from_ne_bytes(bytes[..4].try_into().expect("four bytes")),
            second: u16::from_ne_bytes(bytes[4..6].try_into().expect("two bytes")),
            padding: 0,
        };
        let map = self.driver.map_mut(STATE_MAP).expect("the object has the map");
        let mut states: Array<&mut MapData, [u8; size_of::<State>()]> =
            map.try_into().expect("an array of states");
        // SAFETY: the state is integers without padding.
        let value = unsafe { std::mem::transmute::<State, [u8; size_of::<State>()]>(state) };
        states.set(0, value, 0).expect("the kernel takes the state");
        let context: Vec<u8> = [0, bytes.len() as u32, 0, self.bench.ifindex, 0, 0]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        let mut out = vec![0; bytes.len() + 256];
        let result = xdp(&mut self.driver, DRIVER)
            .test_run(TestRunOptions {
                data_in: Some(&bytes),
                data_out: Some(&mut out),
                ctx_in: Some(&context),
                repeat: frames,
                ..TestRunOptions::default()
            })
            .expect("a test run");
        (result.return_value, result.duration.as_nanos() as f64)
    }
}

fn xdp<'a>(object: &'a mut Ebpf, name: &str) -> &'a mut Xdp {
    let program = object.program_mut(name).expect("the object has the program");
    program.try_into().expect("an XDP program")
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
