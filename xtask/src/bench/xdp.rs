//! `cargo xtask bench xdp`: what a packet costs in the XDP program, on this machine.
//!
//! The measuring program is `dataplane/benches/xdp.rs`; this builds it, runs it, and says where the
//! figures are. With `--pin` it holds the program ready for another measuring program. Needs root.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::setup;
use crate::workspace::{self, cargo, target};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Measures nothing: pins the program and its maps in a folder of a BPF file system, serving TCP
    /// and UDP 10.200.1.1:80 and `[fc00:1::1]:80` with 100 endpoints, until it is stopped. Test runs
    /// from this network namespace then time it
    #[arg(long, value_name = "FOLDER")]
    pin: Option<PathBuf>,
    /// How the pinned program forwards
    #[arg(long, value_enum, default_value_t = Forwarding::Ipip, requires = "pin")]
    forwarding: Forwarding,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Forwarding {
    /// IP in IP, and its sisters for IPv6
    Ipip,
    /// Generic UDP encapsulation
    Gue,
    /// Another Ethernet address
    L2,
    /// Full NAT
    Nat,
}

/// Runs the command.
///
/// # Errors
/// When the measurement cannot be made.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(folder) = &arguments.pin {
        prepare("xdp")?;
        return pin(folder, arguments.forwarding);
    }
    measure("xdp")
}

fn prepare(bench: &str) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "test runs of XDP programs need root: run `sudo -E cargo xtask bench {bench}`"
    );
    setup::install(&setup::Arguments::without_tests());
    Ok(())
}

/// Builds and runs a measuring program of the data plane.
///
/// # Errors
/// When the measurement cannot be made.
pub(super) fn measure(bench: &str) -> Result<ExitCode> {
    prepare(bench)?;
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{bench}.json"));
    let mut command = cargo();
    command
        .args(["bench", "--package", "dataplane", "--bench", bench])
        .env("MARCHPROXY_BENCH_JSON", &path);
    workspace::run(&mut command)?;
    println!("\nwritten to {}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// Becomes the program that holds the pins, so that signals for this process are for it.
fn pin(folder: &Path, forwarding: Forwarding) -> Result<ExitCode> {
    let folder = std::path::absolute(folder)?;
    let artefacts = workspace::read(cargo().args([
        "bench",
        "--no-run",
        "--package",
        "dataplane",
        "--bench",
        "xdp",
        "--message-format",
        "json",
    ]))?;
    let program = executable(&artefacts, "xdp").context("cargo built no measuring program")?;
    let error = Command::new(&program)
        .arg("--pin")
        .arg(folder)
        .args(["--forwarding", &format!("{forwarding:?}")])
        .exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}

/// Finds the executable of a bench in what cargo tells of its artefacts.
fn executable(artefacts: &str, name: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        target: Target,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    artefacts
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.target.name == name && message.target.kind == ["bench"])
        .find_map(|message| message.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bench_is_found_among_other_artefacts() {
        let line = |name: &str, kind: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"kind":["{kind}"],"name":"{name}"}},"executable":{executable}}}"#
            )
        };
        let lines = [
            line("xdp", "lib", "null"),
            line("l4", "bench", r#""/t/l4-1""#),
            line("xdp", "test", r#""/t/xdp-0""#),
            line("xdp", "bench", r#""/t/xdp-1""#),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ]
        .join("\n");
        assert_eq!(executable(&lines, "xdp"), Some(PathBuf::from("/t/xdp-1")));
        assert_eq!(executable(&lines, "other"), None);
    }
}
