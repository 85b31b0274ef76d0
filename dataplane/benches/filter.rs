//! What the packet filter costs: a packet in the XDP program, under `BPF_PROG_TEST_RUN`, with and
//! without a million denied prefixes; loading them; changing a thousand of them. Needs root.
//!
//! `cargo xtask bench filter` runs it. Frames are for no service and end as `XDP_PASS`, so
//! that there is little else to hide the filter's loads behind; those of many sources come from
//! them in no order, seldom twice from one.

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

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use aya::programs::ProgramFd;
use driver::{Driver, handle};
use ebpf_common::verdict::Reason;
use model::{Object, Revision, Snapshot, parse::object_from_value, plan_apply};
use serde_json::{Value, json};
use support::{
    bench::Bench,
    objects,
    packets::{Frame, UDP},
};

const RUNS: usize = 7;
const FRAMES: u32 = 1 << 20;
/// Flows, sixteen for each source (see `ebpf_common::drive::source`): of one, of 16 of the 256 /8s of
/// IPv4, and of all.
const SOURCES: [(&str, u64); 3] = [("1", 1), ("2^28", 1 << 32), ("2^32", 1 << 36)];
/// The first source of each family.
const FIRST: [&str; 2] = ["11.0.0.0:1024", "[2001:db8:1::b00:0]:1024"];
const LISTS: u32 = 24;
const LIST: u32 = 43_690;

fn main() -> ExitCode {
    // Cargo runs the targets of benches as tests too.
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let mut drive = Drive::new();
    let program = drive.driver.floor();
    let floor = drive.median(&program, FIRST[0], 1);
    drive.rows("no filter", floor);
    drive.apply(&[filter(json!({ "action": "Deny", "protocol": "UDP", "ports": [9] }))]);
    drive.rows("one rule for a port", floor);
    let names: Vec<String> = (0..LISTS).map(|n| format!("v4-{n}")).collect();
    let deny = |names: &[String]| {
        let names = names.iter().map(String::as_str).chain(["first"]);
        let lists: Vec<Value> = names.map(|name| json!({ "name": name })).collect();
        filter(json!({ "action": "Deny", "sourceLists": lists }))
    };
    for (what, length) in [("/24", 24), ("/32", 32), ("/24 and /32", 0)] {
        drive.apply(&[]);
        let mut all: Vec<Value> = (0..LISTS).map(|n| list_v4(n, length, 0)).collect();
        all.extend([first(&[]), deny(&names)]);
        let load = drive.apply(&all);
        println!("\n{} IPv4 {what} prefixes: loaded in {load:.0} ms", LISTS * LIST);
        drive.found.push(json!({ "filter": what, "loaded_ms": load }));
        for round in 1..=3 {
            let changed = drive.apply(&[list_v4(7, length, round)]);
            println!("1,000 of them changed in {changed:.1} ms");
            drive.found.push(json!({ "filter": what, "changed_1000_ms": changed }));
        }
        drive.rows(what, floor);
        drive.apply(&[first(&[&format!("11.0.0.0/{}", length.max(24))])]);
        drive.rows("that, and the first", floor);
    }
    drive.apply(&[]);
    let lists: Vec<Value> = (0..4).map(list_v6).collect();
    let names: Vec<String> = (0..4).map(|n| format!("v6-{n}")).collect();
    let load = drive.apply(&[lists, vec![first(&[]), deny(&names)]].concat());
    println!("\n100,000 IPv6 prefixes: loaded in {load:.0} ms");
    drive.found.push(json!({ "filter": "100k IPv6 prefixes", "loaded_ms": load }));
    drive.rows("100k IPv6 prefixes", floor);
    drive.apply(&[first(&["2001:db8:1::b00:0"])]);
    drive.rows("that, and the first", floor);
    if let Some(path) = std::env::var_os("MARCHPROXY_BENCH_JSON") {
        let found = json!({ "runs": RUNS, "frames": FRAMES, "found": drive.found });
        let text = serde_json::to_vec_pretty(&found).expect("numbers and names");
        std::fs::write(path, text).expect("the file to write");
    }
    ExitCode::SUCCESS
}

fn filter(rule: Value) -> Value {
    json!({ "kind": "PacketFilter", "metadata": { "name": "f" }, "spec": { "rules": [rule] } })
}

/// The list with the first source, or without.
fn first(prefixes: &[&str]) -> Value {
    json!({ "kind": "PrefixList", "metadata": { "name": "first" }, "spec": { "prefixes": prefixes } })
}

/// A list with prefixes in no order over the whole space, of a length or (0) of two in turn; the
/// first thousand of them are others each round.
fn list_v4(number: u32, length: u32, round: u32) -> Value {
    let prefix = |n: u32| {
        let n = if n < 1_000 { n + round * (2 * LISTS * LIST) } else { n };
        let length = if length == 0 { 24 + 8 * (n & 1) } else { length };
        let bits = (number * LIST + n).wrapping_mul(0x9e37_79b1) & u32::MAX << (32 - length);
        format!("{}/{length}", Ipv4Addr::from_bits(bits))
    };
    let prefixes: Vec<String> = (0..LIST).map(prefix).collect();
    json!({ "kind": "PrefixList", "metadata": { "name": format!("v4-{number}") },
        "spec": { "prefixes": prefixes } })
}

/// A list with addresses among those that frames come from, and with prefixes elsewhere.
fn list_v6(number: u32) -> Value {
    let prefix = |n: u32| {
        let n = number * 25_000 + n;
        let random = u128::from(n.wrapping_mul(0x9e37_79b1));
        if n & 1 == 0 {
            // Not the first of those that frames come from.
            let low = 0x0b00_0000 + (random & 0x0fff_ffff | 1);
            format!("{}/128", Ipv6Addr::from_bits(0x2001_0db8_0001 << 80 | low))
        } else {
            format!("{}/64", Ipv6Addr::from_bits(0x2a00 << 112 | random << 64))
        }
    };
    let prefixes: Vec<String> = (0..25_000).map(prefix).collect();
    json!({ "kind": "PrefixList", "metadata": { "name": format!("v6-{number}") },
        "spec": { "prefixes": prefixes } })
}

struct Drive {
    bench: Bench,
    driver: Driver,
    config: Snapshot,
    /// What was measured, for the file.
    found: Vec<Value>,
}

impl Drive {
    fn new() -> Self {
        let (bench, driver) = (Bench::new(&[]), Driver::new());
        Self { bench, driver, config: Snapshot::default(), found: Vec::new() }
    }

    /// Adds objects to the configuration, or empties it, and puts it in force; returns how long the
    /// engine took, in milliseconds.
    fn apply(&mut self, objects: &[Value]) -> f64 {
        let objects: Vec<Object> = objects
            .iter()
            .map(|object| object_from_value(object).unwrap_or_else(|e| panic!("{e}")))
            .collect();
        let revision = Revision(self.bench.engine.generation() + 1);
        if objects.is_empty() {
            self.config = Snapshot::default();
        } else {
            // As a data plane does for each change: one that is not valid is not run.
            self.config = plan_apply(&self.config, objects).unwrap_or_else(|e| panic!("{e}")).next;
        }
        self.config.set_revision(revision);
        let mut desired = objects::desired(revision.0, &[]);
        for (_, object) in self.config.objects() {
            desired.config.put(Arc::clone(object));
        }
        let start = Instant::now();
        self.bench.engine.reconcile(&desired).unwrap();
        start.elapsed().as_secs_f64() * 1e3
    }

    /// Prints what packets cost.
    fn rows(&mut self, what: &str, floor: f64) {
        for (family, first) in ["IPv4", "IPv6"].into_iter().zip(FIRST) {
            for (sources, flows) in SOURCES {
                let before = self.bench.engine.statistics().unwrap().count(Reason::Filtered);
                let program = handle(self.bench.engine.program().xdp());
                let cost = self.median(&program, first, flows);
                let after = self.bench.engine.statistics().unwrap().count(Reason::Filtered);
                let frames = f64::from(FRAMES) * (RUNS + 1) as f64;
                let dropped = (after - before) as f64 / frames * 100.0;
                let net = cost - floor;
                println!(
                    "{what:<22} {family} {sources:>4} sources {net:>6.1} ns net, {dropped:.1} % denied"
                );
                self.found.push(json!({ "filter": what, "family": family, "sources": sources,
                    "net_ns": net, "denied_percent": dropped }));
            }
        }
    }

    /// Returns the median cost of a frame in nanoseconds.
    fn median(&mut self, program: &ProgramFd, first: &str, flows: u64) -> f64 {
        let node = if first.starts_with('[') { "[fd00::1]:9999" } else { "10.0.0.1:9999" };
        let frame = Frame { payload: Vec::new(), ..Frame::new(UDP, first, node) };
        self.driver.call(program);
        let mut run = || self.driver.run(&frame, flows, FRAMES, self.bench.ifindex).1;
        run();
        let mut costs: Vec<f64> = (0..RUNS).map(|_| run()).collect();
        costs.sort_by(f64::total_cmp);
        costs[RUNS / 2]
    }
}
