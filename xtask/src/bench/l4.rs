//! `cargo xtask bench l4`: packets a second end to end on veth, beside the floors, the generator's
//! ceiling and netfilter.
//!
//! The measuring program is `dataplane/benches/l4`; this builds it, runs it, compares and prints.
//! Needs root.

mod comparison;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::setup;
use crate::workspace::{self, cargo, target};
use comparison::{Comparison, Report};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often everything is measured; the table has medians and maxima
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How long frames are counted each time, in milliseconds
    #[arg(long, default_value_t = 2_000)]
    window_ms: u64,
    /// Numbers of flows, powers of two
    #[arg(long, value_delimiter = ',', default_value = "1,1024,65536,1048576")]
    flows: Vec<u64>,
    /// Cases to measure, by the names in the table; all by default
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When the measurement cannot be made.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "network namespaces and XDP need root: run `sudo -E cargo xtask bench l4`"
    );
    setup::install(&setup::Arguments::without_tests());
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join("l4.json");
    let mut command = cargo();
    command
        .args(["bench", "--package", "dataplane", "--bench", "l4", "--"])
        .args(["--runs", &arguments.runs.to_string()])
        .args(["--window-ms", &arguments.window_ms.to_string()])
        .args(["--flows", &join(&arguments.flows)])
        .env("MARCHPROXY_BENCH_JSON", &path);
    if !arguments.cases.is_empty() {
        command.args(["--cases", &arguments.cases.join(",")]);
    }
    workspace::run(&mut command)?;
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let report: Report = serde_json::from_slice(&text).context("reading what was measured")?;
    let comparison = Comparison::of(&report);
    println!("\n{comparison}");
    let mut whole: serde_json::Value = serde_json::from_slice(&text)?;
    whole["comparison"] = serde_json::to_value(&comparison)?;
    fs::write(&path, serde_json::to_vec_pretty(&whole)?)?;
    println!("\nwritten to {}", path.display());
    Ok(if comparison.all_held() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn join(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}
