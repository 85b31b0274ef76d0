//! Packets a second end to end on veth: direct server return and full NAT through the real engine,
//! beside the floors, the generator's ceiling and netfilter of the same run. `cargo xtask bench l4`
//! runs it. Needs root and Linux 5.18 or later.
//!
//! ```text
//! client ── near [node: what is measured] far ── server
//!   │ generator                                    │ counts and drops
//! ```
//! Each of what is compared has three namespaces of its own that are set up alike, so that a run
//! goes through all of them in a new order without setting anything up. The generator has one CPU,
//! and all that comes after it (the node's NAPI thread, and the receiver in its wake) another.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot be made ends by panicking")]

#[path = "../../tests/root_xdp/support"]
#[expect(dead_code, reason = "the tests use what this does not")]
mod support {
    pub(crate) mod namespaces;
    pub(crate) mod objects;
    pub(crate) mod packets;
}

mod arguments;
mod cases;
mod interruption;
mod netfilter;
mod node;
mod site;
mod traffic;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use aya::Ebpf;
use ebpf_common::generate::SAMPLE_EVERY;
use rand::seq::SliceRandom as _;
use serde_json::json;

use arguments::Arguments;
use cases::{CASES, Case, Place};
use netfilter::Conntrack;
use node::Ours;
use site::{Cpus, Site};
use traffic::Traffic;

/// Frames of each flow that the receiver has had before a window begins.
const PASSES: u64 = 3;
/// The least time before a window, in which what the run before has left is over.
const WARM_MIN: Duration = Duration::from_millis(200);
/// The longest time before a window.
const WARM_MAX: Duration = Duration::from_secs(6);
/// The same where netfilter has to track each flow first.
const TRACK_MAX: Duration = Duration::from_secs(90);
/// How often the receiver is asked whether it has had enough.
const POLL: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    // Cargo runs the targets of benches as tests too.
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    interruption::watch();
    let cpus = Cpus::choose();
    let most = arguments.flows.iter().copied().max().unwrap_or(1);
    let _conntrack = Conntrack::size_for(most);
    let mut lab = Lab::new(cpus);
    site::go_before(0, site::IN_CHARGE);
    let rows = lab.measure(&arguments);
    if interruption::came() {
        eprintln!("error: interrupted");
        return ExitCode::FAILURE;
    }
    for (place, ours) in &mut lab.ours {
        eprintln!("      {place:?} has not forwarded {:?}", ours.not_forwarded());
    }
    if let Some(path) = std::env::var_os("MARCHPROXY_BENCH_JSON").map(PathBuf::from) {
        let rows: Vec<_> = rows
            .iter()
            .map(|((case, flows), pps)| json!({ "case": case, "flows": flows, "pps": pps }))
            .collect();
        let report = json!({
            "runs": arguments.runs,
            "window_ms": arguments.window.as_millis() as u64,
            "frame_bytes": cases::FRAME,
            "endpoints": site::ENDPOINTS,
            "generator_cpu": cpus.generator,
            "node_cpu": cpus.node,
            "rows": rows,
        });
        let text = serde_json::to_vec_pretty(&report).expect("numbers and names");
        fs::write(&path, text).expect("the file to write");
    }
    ExitCode::SUCCESS
}

/// All that is compared. Fields are dropped in order: programs before their namespaces.
struct Lab {
    _floors: [Ebpf; 2],
    ours: BTreeMap<Place, Ours>,
    parts: BTreeMap<Place, Part>,
}

/// A site with what sends and counts there.
struct Part {
    traffic: Traffic,
    site: Site,
}

impl Lab {
    fn new(cpus: Cpus) -> Self {
        let mut parts: BTreeMap<Place, Part> = Place::ALL
            .into_iter()
            .enumerate()
            .map(|(number, place)| {
                let site = Site::new(number);
                (place, Part { traffic: Traffic::new(&site, cpus.generator), site })
            })
            .collect();
        if let Some(Part { traffic, site }) = parts.get_mut(&Place::Drop) {
            traffic.drop_at_node(site);
        }
        let site = |place| &parts[&place].site;
        let floors = [node::send_back(site(Place::Back)), node::send_on(site(Place::Onward))];
        let ours =
            [Place::Ours, Place::Overfull].map(|place| (place, Ours::start(site(place)))).into();
        netfilter::start(site(Place::Netfilter));
        for part in parts.values() {
            part.site.pin_node(cpus.node);
        }
        Self { _floors: floors, ours, parts }
    }

    /// Measures every case with every number of flows, all of them once in each run. What is compared
    /// with each other, the cases with one number of flows, is measured close together.
    fn measure(&mut self, arguments: &Arguments) -> BTreeMap<(&'static str, u64), Vec<f64>> {
        let mut rows: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        let mut all_flows = arguments.flows.clone();
        let mut cases: Vec<&Case> =
            CASES.iter().filter(|case| arguments.takes(case.name)).collect();
        for run in 1..=arguments.runs {
            all_flows.shuffle(&mut rand::rng());
            for flows in all_flows.iter().copied() {
                cases.shuffle(&mut rand::rng());
                for case in cases.iter().filter(|case| case.takes(flows)) {
                    if interruption::came() {
                        return rows;
                    }
                    let pps = self.cell(case, flows, arguments.window);
                    let name = case.name;
                    eprintln!(
                        "      run {run}: {name:<10} {flows:>8} flows {:>7.3} Mpps",
                        pps / 1e6
                    );
                    rows.entry((name, flows)).or_default().push(pps);
                }
            }
        }
        rows
    }

    /// Measures one case once: frames a second that came to the receiver.
    fn cell(&mut self, case: &Case, flows: u64, window: Duration) -> f64 {
        let Part { traffic, site } =
            self.parts.get_mut(&case.place).expect("each place has a part");
        if let Some(opening) = case.opening() {
            traffic.prepare(case, &opening, flows);
            traffic.during(&site.client, || warm_up(traffic, flows));
        }
        traffic.prepare(case, &case.frame(), flows);
        let pps = traffic.during(&site.client, || {
            if case.place == Place::Netfilter {
                track(site, flows);
            }
            warm_up(traffic, flows);
            let (start, before) = (Instant::now(), traffic.frames());
            pass(window);
            let (end, after) = (Instant::now(), traffic.frames());
            (after - before) as f64 / (end - start).as_secs_f64()
        });
        if traffic.frames() < 2 * SAMPLE_EVERY {
            let left = self.ours.get_mut(&case.place).map(Ours::not_forwarded);
            eprintln!("      {}: hardly a frame came; not forwarded: {left:?}", case.name);
        } else {
            case.check(&traffic.sample());
        }
        pps
    }
}

/// Waits until the receiver has had frames of all flows.
fn warm_up(traffic: &Traffic, flows: u64) {
    let start = Instant::now();
    while start.elapsed() < WARM_MIN
        || traffic.frames() < PASSES * flows && start.elapsed() < WARM_MAX
    {
        pass(POLL);
    }
}

/// Waits until netfilter tracks nearly all flows: the last few of a million come by chance.
fn track(site: &Site, flows: u64) {
    let start = Instant::now();
    loop {
        let tracked = netfilter::tracked(site);
        if tracked >= flows - flows / 100 {
            return;
        }
        assert!(start.elapsed() < TRACK_MAX, "netfilter tracks {tracked} flows of {flows}");
        pass(POLL);
    }
}

/// Lets time pass.
#[expect(
    clippy::disallowed_methods,
    reason = "frames are counted over time, and asked for by turns"
)]
fn pass(time: Duration) {
    thread::sleep(time);
}
