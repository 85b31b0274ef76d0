//! `cargo xtask bench propagation`: three nodes, real Envoy and XDP, one change at a time.
//!
//! A trial sends one apply to a follower's API over a keep-alive HTTPS connection. Counted from there
//! are the time until every engine of every node has answered (the answer to the apply waits for
//! that), and the time until the first request that sees the change was answered, on each node. The
//! commit on a majority is in both. As root in network namespaces; without root L7 on loopback only.

mod cost;
mod l4;
mod l7;
mod row;
mod site;
mod under_load;

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::Programs;
use serde::Serialize;

use self::row::Row;
use crate::progress::{Step, step};
use crate::workspace::target;
use crate::{build, setup};

/// Pace of the polls on each connection, and of the datagrams. Polls cost CPU that the change needs, and
/// what is measured takes tens of milliseconds.
const POLL: Duration = Duration::from_millis(2);
/// Nothing takes longer to be seen unless it is broken.
const SEEN_MAX: Duration = Duration::from_secs(10);

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many services there are already; one measurement for each number
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    services: Vec<usize>,
    /// Changes applied one after the other in each measurement
    #[arg(long, default_value_t = 100)]
    trials: usize,
    /// Keep-alive connections polling each node
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// What changes
    #[arg(long, value_delimiter = ',', default_value = "host,endpoint,route,certificate,l4")]
    changes: Vec<Change>,
    /// New hosts that are added as fast as they are taken, under load; 0 leaves this out
    #[arg(long, default_value_t = 3_000)]
    adds: usize,
    /// Times that a route is pointed to the other of two services, under load; 0 leaves this out
    #[arg(long, default_value_t = 1_000)]
    repoints: usize,
    /// Measures the dev build (for working on this command)
    #[arg(long)]
    dev: bool,
}

/// What one apply changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    /// A new HTTP host with a service of its own
    Host,
    /// The endpoint of a service
    Endpoint,
    /// The service that a route leads to
    Route,
    /// The certificate of an HTTPS listener
    Certificate,
    /// A new UDP port through XDP
    L4,
}

/// Runs the command.
///
/// # Errors
/// When the measurement cannot be made.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(
        arguments.trials > 0 && arguments.connections > 0,
        "--trials and --connections start at 1"
    );
    setup::install(&setup::Arguments::without_tests());
    let profile = if arguments.dev { build::Profile::Dev } else { build::Profile::Release };
    let programs =
        Programs { marchproxy: build::marchproxy(profile)?, envoy: setup::envoy_binary() };
    let root = nix::unistd::geteuid().is_root();
    let mut rows = Vec::new();
    let mut loaded = Vec::new();
    for services in &arguments.services {
        let (of_http, of_packets): (Vec<Change>, Vec<Change>) =
            arguments.changes.iter().partition(|change| **change != Change::L4);
        let site = step(format!("{services} services: forming a cluster"), |step| {
            site::http(&programs, root, *services, step)
        })?;
        for change in of_http {
            rows.push(trials(arguments, &site, change, *services)?);
        }
        if services == arguments.services.last().unwrap_or(services) {
            loaded = under_load::measure(arguments, &site)?;
        }
        drop(site);
        if of_packets.is_empty() {
            continue;
        }
        if !root {
            eprintln!("left out: L4 (XDP in network namespaces needs root)");
            continue;
        }
        let site = step(format!("{services} L4 services: forming a cluster"), |step| {
            site::packets(&programs, *services, step)
        })?;
        rows.push(trials(arguments, &site, Change::L4, *services)?);
    }
    row::print(&rows, root);
    under_load::print(&loaded);
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join("propagation.json");
    let report = serde_json::json!({
        "profile": format!("{profile:?}").to_lowercase(),
        "place": if root { "network namespaces" } else { "loopback" },
        "poll_interval_ms": POLL.as_secs_f64() * 1e3,
        "rows": rows,
        "under_load": loaded,
    });
    fs::write(&path, serde_json::to_vec_pretty(&report)?)?;
    println!("\nwritten to {}", path.display());
    let held = rows.iter().all(|row| row.held) && loaded.iter().all(under_load::Loaded::held);
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn trials(
    arguments: &Arguments,
    site: &site::Site,
    change: Change,
    services: usize,
) -> Result<Row> {
    let step = Step::begin(format!("{services} services, {change:?}: {} trials", arguments.trials));
    let row = match change {
        Change::L4 => l4::measure(arguments, site, services, &step),
        change => l7::measure(arguments, site, change, services, &step),
    }?;
    step.done(format!("seen p50 {:.1} ms, p99 {:.1} ms", row.seen.p50_ms, row.seen.p99_ms));
    Ok(row)
}
