//! `cargo xtask bench limits`: what a limit of requests that all nodes count together lets through, on three
//! nodes that are sent three times as much, before and after the death of the node that counts.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::load::{Load, Plan, Report};
use lab::serve::{Protocol, Server};
use lab::waiting::Pacer;
use lab::{Cluster, Instance, Loopback, Place, Programs, documents};
use serde::Serialize;

use crate::progress::step;
use crate::workspace::target;
use crate::{build, setup};

/// Requests a second that may pass.
const LIMIT: f64 = 1_000.0;
/// How many of them may come at once after a pause.
const BURST: u32 = 100;
/// What is measured may be so far from the limit.
const AROUND: std::ops::RangeInclusive<f64> = 990.0..=1_010.0;
/// While a node has nobody to ask, it lets its share through besides: one of three.
const WITHOUT_OWNER_MAX: f64 = LIMIT * 4.0 / 3.0;
/// What was leased may be used for so many seconds.
const LEASE: f64 = 0.5;
/// Connections to a node, and what each sends in a second: together the limit.
const SENDERS: u32 = 10;
const PER_SENDER: u32 = 100;
const HOST: &str = "limited.bench.example";
const PORT: u16 = 8080;
const WAIT: Duration = Duration::from_secs(60);
/// Answers before anything counts: the burst is spent, and what was leased goes round.
const WARM: u64 = 9_000;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Seconds of a measurement
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Drives the nodes with the dev build (for working on this command)
    #[arg(long)]
    dev: bool,
}

/// One measurement.
#[derive(Debug, Serialize)]
struct Row {
    case: &'static str,
    offered: f64,
    passed: f64,
    /// The second in which the least passed, and that in which the most did.
    least: f64,
    most: f64,
    failed: u64,
    p50_ms: f64,
    p99_ms: f64,
    /// Whether the bar of this case is held.
    held: bool,
}

/// Runs the command.
///
/// # Errors
/// When the measurement cannot be made.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::install(&setup::Arguments::for_peers());
    let profile = if arguments.dev { build::Profile::Dev } else { build::Profile::Release };
    let programs =
        Programs { marchproxy: build::marchproxy(profile)?, envoy: setup::envoy_binary() };
    let instance = Instance::new()?;
    let net = Loopback::own();
    let backend = Server::start(&Place::Here, "backend", Protocol::Http, net.at(100, 9000))?;
    let mut cluster = Cluster::on_loopback(&instance, &programs, net, 3);
    step("forming three nodes", |_| {
        cluster.form()?;
        cluster.settle()?;
        let documents = documents::http_listener("web", PORT)
            + &documents::service("s", &[backend.address()])
            + &documents::http_route("r", "web", HOST, "s")
            + &format!(
                "---\nkind: RateLimit\nmetadata: {{ name: all }}\nspec: {{ targetRefs: [{{ kind: \
                 HTTPRoute, name: r }}], requests: {LIMIT}, interval: 1s, burst: {BURST}, scope: \
                 Cluster }}\n"
            );
        let begun = Instant::now();
        let revision = cluster.apply(0, &documents)?;
        cluster.wait_applied(revision, begun, WAIT)
    })?;
    let seconds = Duration::from_secs(arguments.seconds);
    let mut rows = Vec::new();
    {
        let load = send(&cluster, &[0, 1, 2], 1)?;
        rows.push(measure("three nodes, each sent the limit", &load, seconds, &AROUND)?);
    }
    {
        let load = send(&cluster, &[1], 3)?;
        rows.push(measure("one node, sent the threefold", &load, seconds, &AROUND)?);
    }
    let load = send(&cluster, &[0, 1, 2], 1)?;
    load.wait_answered(WARM, WAIT)?;
    let owner = owner(&cluster)?;
    cluster.members[owner].kill_control();
    let bound = LIMIT - LEASE * LIMIT..=WITHOUT_OWNER_MAX;
    rows.push(measure("the control process that counts is killed", &load, seconds, &bound)?);
    cluster.members[owner].restart()?;
    rows.push(measure("it is back", &load, seconds, &AROUND)?);
    drop(load);
    let held = print(&rows);
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join("limits.json");
    fs::write(&path, serde_json::to_vec_pretty(&rows)?)?;
    println!("\nwritten to {}", path.display());
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends to some nodes, each so many times the limit.
fn send(cluster: &Cluster, nodes: &[usize], times: u32) -> Result<Load> {
    let targets: Vec<_> = nodes.iter().map(|node| cluster.members[*node].listener(PORT)).collect();
    let interval = Duration::from_secs(1) / PER_SENDER;
    let senders = (SENDERS * times) as usize;
    let load = Plan { senders, interval, ..Plan::new(&Place::Here, &targets) }.http(HOST, "/")?;
    load.wait_answered(100, WAIT)?;
    Ok(load)
}

fn measure(
    case: &'static str,
    load: &Load,
    time: Duration,
    bar: &std::ops::RangeInclusive<f64>,
) -> Result<Row> {
    step(case, |_| {
        // A death is measured from its moment on.
        if bar == &AROUND {
            load.wait_answered(WARM, WAIT)?;
        }
        let start = Instant::now();
        let before = load.report();
        let (mut last, mut at) = (before.clone(), start);
        let mut each = Vec::new();
        let mut seconds = Pacer::new(Duration::from_secs(1));
        seconds.turn();
        while start.elapsed() < time {
            seconds.turn();
            let (report, now) = (load.report(), Instant::now());
            each.push(rate(&last, &report, |it| it.with_status(&[200]), now - at));
            (last, at) = (report, now);
        }
        let passed = rate(&before, &last, |it| it.with_status(&[200]), at - start);
        let failed = last.faults() - before.faults();
        Ok(Row {
            case,
            offered: rate(&before, &last, |it| it.answered, at - start),
            passed,
            least: each.iter().copied().fold(f64::INFINITY, f64::min),
            most: each.iter().copied().fold(0.0, f64::max),
            failed,
            p50_ms: last.latency.p50_ms,
            p99_ms: last.latency.p99_ms,
            held: failed == 0 && bar.contains(&passed),
        })
    })
}

fn rate(before: &Report, after: &Report, count: impl Fn(&Report) -> u64, time: Duration) -> f64 {
    (count(after) - count(before)) as f64 / time.as_secs_f64()
}

/// Finds the node that counts, by what it leased.
fn owner(cluster: &Cluster) -> Result<usize> {
    let leased = |node: usize| -> Result<f64> {
        let metrics = cluster.api(node)?.send("GET", "/metrics", "")?.text();
        let line = metrics.lines().find_map(|it| it.strip_prefix("marchproxy_quota_leased_total "));
        Ok(line.map_or(Ok(0.0), str::parse)?)
    };
    let all = (0..cluster.members.len()).map(leased).collect::<Result<Vec<f64>>>()?;
    (0..all.len()).max_by(|one, other| all[*one].total_cmp(&all[*other])).context("no node")
}

/// Prints the table; tells whether the bars are held.
fn print(rows: &[Row]) -> bool {
    println!(
        "\n{:<44} {:>8} {:>8} {:>14} {:>7} {:>8} {:>8}  bar",
        "case", "sent/s", "passed/s", "of a second", "failed", "p50 ms", "p99 ms"
    );
    for row in rows {
        println!(
            "{:<44} {:>8.0} {:>8.1} {:>14} {:>7} {:>8.2} {:>8.2}  {}",
            row.case,
            row.offered,
            row.passed,
            format!("{:.0} to {:.0}", row.least, row.most),
            row.failed,
            row.p50_ms,
            row.p99_ms,
            if row.held { "held" } else { "MISSED" }
        );
    }
    rows.iter().all(|row| row.held)
}
