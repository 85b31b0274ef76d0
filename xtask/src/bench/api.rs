//! `cargo xtask bench api`: what one node's API answers in a second, over TLS with a token, while
//! clients and all three nodes share the machine; and how soon its event streams tell of a change.
//!
//! Reads are closed loops: each connection sends its next request when it has the answer to the one
//! before, so a rate stands beside the latency that it was reached with.

mod closed_loop;
mod events;
mod reads;
mod writes;

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::latency::Percentiles;
use lab::serve::{Protocol, Server};
use lab::{Cluster, Instance, Loopback, Place, Programs, documents};
use serde::Serialize;

use crate::progress::step;
use crate::workspace::target;
use crate::{build, setup};

const WEB_PORT: u16 = 8080;
/// Documents in one apply while the base is loaded.
const LOAD_BATCH: usize = 250;
const LOAD_MAX: Duration = Duration::from_secs(120);

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Services and routes that are there
    #[arg(long, default_value_t = 1_000)]
    services: usize,
    /// Connections that read at once
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Seconds that each case runs
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Changes whose events are timed
    #[arg(long, default_value_t = 300)]
    changes: usize,
    /// Measures the dev build (for working on this command)
    #[arg(long)]
    dev: bool,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    /// What was asked, of whom.
    case: String,
    /// Answers a second.
    rate: f64,
    latency: Percentiles,
    /// Answers that were not 200, and requests without an answer.
    failures: u64,
    /// The bar, in answers a second.
    rate_min: Option<f64>,
    /// The bar for p99, in milliseconds.
    p99_max_ms: Option<f64>,
}

impl Row {
    fn new(case: &str, outcome: closed_loop::Outcome, rate_min: Option<f64>) -> Self {
        let closed_loop::Outcome { rate, latency, failures } = outcome;
        Self { case: case.to_owned(), rate, latency, failures, rate_min, p99_max_ms: None }
    }

    fn held(&self) -> bool {
        self.failures == 0
            && self.rate_min.is_none_or(|least| self.rate >= least)
            && self.p99_max_ms.is_none_or(|most| self.latency.p99_ms < most)
    }
}

/// A loaded cluster.
struct Site {
    cluster: Cluster,
    leader: usize,
    follower: usize,
    backend: Server,
    _instance: Instance,
}

/// Runs the command.
///
/// # Errors
/// When the measurement cannot be made.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(arguments.services > 0, "--services starts at 1");
    ensure!(arguments.connections > 0, "--connections starts at 1");
    ensure!(arguments.seconds > 0, "--seconds starts at 1");
    ensure!(arguments.changes > 0, "--changes starts at 1");
    setup::install(&setup::Arguments::without_tests());
    let profile = if arguments.dev { build::Profile::Dev } else { build::Profile::Release };
    let programs =
        Programs { marchproxy: build::marchproxy(profile)?, envoy: setup::envoy_binary() };
    let site = step("forming a cluster of three", |_| form(&programs))?;
    step(format!("loading {} services", arguments.services), |_| load(&site, arguments))?;
    let mut rows = reads::measure(&site, arguments)?;
    rows.extend(writes::measure(&site, arguments)?);
    rows.push(events::measure(&site, arguments)?);
    print(&rows);
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join("api.json");
    let report = serde_json::json!({
        "profile": format!("{profile:?}").to_lowercase(),
        "services": arguments.services,
        "connections": arguments.connections,
        "rows": rows,
    });
    fs::write(&path, serde_json::to_vec_pretty(&report)?)?;
    println!("\nwritten to {}", path.display());
    Ok(if rows.iter().all(Row::held) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn form(programs: &Programs) -> Result<Site> {
    let instance = Instance::new()?;
    let net = Loopback::own();
    let backend = Server::start(&Place::Here, "backend", Protocol::Http, net.at(100, 9000))?;
    let mut cluster = Cluster::on_loopback(&instance, programs, net, 3);
    cluster.form()?;
    cluster.settle()?;
    let leader = cluster.leader()?;
    let follower = (leader + 1) % cluster.members.len();
    Ok(Site { cluster, leader, follower, backend, _instance: instance })
}

fn load(site: &Site, arguments: &Arguments) -> Result<()> {
    let since = Instant::now();
    let mut api = site.cluster.api(site.leader)?;
    let mut revision = api.apply(&documents::http_listener("web", WEB_PORT))?.0;
    for start in (0..arguments.services).step_by(LOAD_BATCH) {
        let end = arguments.services.min(start + LOAD_BATCH);
        let text: String = (start..end).map(|index| service(site, index, 1)).collect();
        revision = api.apply(&text)?.0;
    }
    site.cluster.wait_applied(revision, since, LOAD_MAX).map(drop)
}

/// A service whose endpoint has `weight`, so that another weight is a change, and its route.
fn service(site: &Site, index: usize, weight: usize) -> String {
    let name = format!("s{index}");
    let backend = site.backend.address();
    format!(
        "---\nkind: Service\nmetadata: {{ name: {name} }}\nspec: {{ endpoints: [{{ address: \"{}\", \
         port: {}, weight: {weight} }}] }}\n",
        backend.ip(),
        backend.port()
    ) + &documents::http_route(&name, "web", &format!("h{index}.bench.example"), &name)
}

fn print(rows: &[Row]) {
    println!(
        "\n{:<44} {:>9} {:>8} {:>8} {:>8} {:>9}  bar",
        "over TLS with a token", "a second", "p50 ms", "p99 ms", "max ms", "failures"
    );
    for row in rows {
        let bar = match (row.rate_min, row.p99_max_ms) {
            (Some(least), _) => format!("at least {least:.0} a second: "),
            (None, Some(most)) => format!("p99 under {most:.0} ms: "),
            (None, None) => String::new(),
        };
        let verdict = match (bar.is_empty(), row.held()) {
            (true, true) => "",
            (_, true) => "held",
            (_, false) => "MISSED",
        };
        println!(
            "{:<44} {:>9.0} {:>8.2} {:>8.2} {:>8.2} {:>9}  {bar}{verdict}",
            row.case,
            row.rate,
            row.latency.p50_ms,
            row.latency.p99_ms,
            row.latency.max_ms,
            row.failures
        );
    }
}
