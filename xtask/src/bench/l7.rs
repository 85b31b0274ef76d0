//! `cargo xtask bench l7`: requests a second and CPU time a request of the Envoy that a node drives,
//! beside the same Envoy with the same options from a file written by hand, nginx and haproxy, in turns in the same run.
//!
//! Each proxy has one worker on a core of its own; the load (wrk) and the backend (nginx) have
//! another, and so have the node's processes. In a round each proxy has its turn, and the order
//! moves on from round to round, so that what changes with time is in all of them.

mod config;
mod cores;
mod proxies;
mod wrk;

use std::fs;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use lab::{Instance, Programs};
use nix::unistd::Pid;
use serde::Serialize;

use crate::progress::{Step, step};
use crate::workspace::target;
use crate::{build, setup};

/// The least share of the static Envoy's rate that ours must have.
const SHARE_MIN: f64 = 0.98;
/// The names of the two that are compared.
const OURS: &str = "marchproxy";
const STATIC: &str = "envoy, static";

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Turns of each proxy
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of a turn
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Keep-alive connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Hosts that both Envoys know, each with a service of its own
    #[arg(long, default_value_t = 100)]
    hosts: usize,
    /// Drives the proxies with the dev build (for working on this command)
    #[arg(long)]
    dev: bool,
}

/// How clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Wire {
    Plain,
    Tls,
}

/// One turn of one proxy.
#[derive(Debug, Clone, Copy, Serialize)]
struct Turn {
    /// Requests a second.
    rate: f64,
    p50_us: f64,
    p99_us: f64,
    /// CPU time of the proxy for a request.
    cpu_us: f64,
    errors: u64,
}

/// All turns of one proxy.
#[derive(Debug, Serialize)]
struct Row {
    wire: Wire,
    proxy: &'static str,
    turns: Vec<Turn>,
}

impl Row {
    /// The median of a figure, and its least and greatest.
    fn spread(&self, figure: impl Fn(&Turn) -> f64) -> [f64; 3] {
        spread(self.turns.iter().map(figure).collect())
    }
}

/// The median, the least and the greatest of some figures.
fn spread(mut figures: Vec<f64>) -> [f64; 3] {
    figures.sort_by(f64::total_cmp);
    let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
    [at(figures.len() / 2), at(0), at(figures.len().saturating_sub(1))]
}

/// Runs the command.
///
/// # Errors
/// When the measurement cannot be made.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(arguments.rounds > 0, "--rounds starts at 1");
    ensure!(arguments.seconds > 0, "--seconds starts at 1");
    ensure!(arguments.connections > 0, "--connections starts at 1");
    ensure!(arguments.hosts > 0, "--hosts starts at 1");
    ensure!(cores::count() >= 2, "the proxy and the load need a core each");
    setup::install(&setup::Arguments::for_peers());
    let profile = if arguments.dev { build::Profile::Dev } else { build::Profile::Release };
    let programs =
        Programs { marchproxy: build::marchproxy(profile)?, envoy: setup::envoy_binary() };
    let instance = Instance::new()?;
    let proxies = step("starting the backend and four proxies", |_| {
        proxies::start(&instance, &programs, arguments.hosts)
    })?;
    let mut rows = Vec::new();
    for wire in [Wire::Plain, Wire::Tls] {
        let step = Step::begin(format!("{wire:?}, {} rounds", arguments.rounds));
        rows.extend(rounds(arguments, &instance, &proxies, wire, &step)?);
        step.done("");
    }
    let held = print(&rows);
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join("l7.json");
    let report = serde_json::json!({
        "profile": format!("{profile:?}").to_lowercase(),
        "connections": arguments.connections,
        "hosts": arguments.hosts,
        "seconds": arguments.seconds,
        "rows": rows,
    });
    fs::write(&path, serde_json::to_vec_pretty(&report)?)?;
    println!("\nwritten to {}", path.display());
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn rounds(
    arguments: &Arguments,
    instance: &Instance,
    proxies: &proxies::Proxies,
    wire: Wire,
    step: &Step,
) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = proxies
        .all
        .iter()
        .map(|proxy| Row { wire, proxy: proxy.name, turns: Vec::new() })
        .collect();
    for round in 0..arguments.rounds {
        for place in 0..proxies.all.len() {
            let index = (round + place) % proxies.all.len();
            let proxy = &proxies.all[index];
            step.note(format!("round {}, {}", round + 1, proxy.name));
            let load = wrk::Load {
                address: if wire == Wire::Tls { proxy.secure } else { proxy.plain },
                tls: wire == Wire::Tls,
                host: &config::host(0),
                connections: arguments.connections,
            };
            // Connections and caches are warm before anything counts.
            load.run(instance, 1)?;
            let before = cpu(&proxy.pids);
            let result = load.run(instance, arguments.seconds)?;
            let used = cpu(&proxy.pids) - before;
            rows[index].turns.push(Turn {
                rate: result.rate,
                p50_us: result.p50_us,
                p99_us: result.p99_us,
                cpu_us: used / result.requests,
                errors: result.errors,
            });
        }
    }
    Ok(rows)
}

/// The CPU time of some processes so far, in microseconds.
fn cpu(pids: &[Pid]) -> f64 {
    pids.iter().map(|pid| cores::microseconds(*pid)).sum()
}

/// Prints the table; tells whether the bar is held.
fn print(rows: &[Row]) -> bool {
    println!(
        "\n{:<6} {:<14} {:>9} {:>17} {:>8} {:>8} {:>12} {:>7}",
        "wire", "proxy", "req/s", "least to most", "p50 us", "p99 us", "CPU us/req", "errors"
    );
    for row in rows {
        let [rate, least, most] = row.spread(|turn| turn.rate);
        println!(
            "{:<6} {:<14} {rate:>9.0} {:>17} {:>8.0} {:>8.0} {:>12.1} {:>7}",
            format!("{:?}", row.wire),
            row.proxy,
            format!("{least:.0} to {most:.0}"),
            row.spread(|turn| turn.p50_us)[0],
            row.spread(|turn| turn.p99_us)[0],
            row.spread(|turn| turn.cpu_us)[0],
            row.turns.iter().map(|turn| turn.errors).sum::<u64>()
        );
    }
    println!();
    let mut held = rows.iter().all(|row| row.turns.iter().all(|turn| turn.errors == 0));
    for wire in [Wire::Plain, Wire::Tls] {
        let find = |name| rows.iter().find(|row| row.wire == wire && row.proxy == name);
        let (Some(ours), Some(other)) = (find(OURS), find(STATIC)) else { continue };
        let ratios = |figure: fn(&Turn) -> f64| {
            let pairs = ours.turns.iter().zip(&other.turns);
            spread(pairs.map(|(ours, other)| figure(ours) / figure(other)).collect())
        };
        let [rate, least, most] = ratios(|turn| turn.rate);
        let [cpu, cpu_least, cpu_most] = ratios(|turn| turn.cpu_us);
        let enough = rate >= SHARE_MIN;
        held &= enough;
        println!(
            "{wire:?}: {OURS} has {rate:.3} of the static Envoy's rate ({least:.3} to {most:.3}), \
             {cpu:.3} of its CPU time a request ({cpu_least:.3} to {cpu_most:.3}); at least \
             {SHARE_MIN} of the rate: {}",
            if enough { "held" } else { "MISSED" }
        );
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_both_ends() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), [2.0, 1.0, 3.0]);
        assert!(spread(Vec::new()).iter().all(|figure| figure.is_nan()));
    }
}
