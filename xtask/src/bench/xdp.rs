//! `cargo xtask bench xdp`: what a packet costs in the XDP program, on this machine.
//!
//! The measuring program is `dataplane/benches/xdp.rs`; this builds it, runs it, and says where the
//! figures are. Needs root.

use std::fs;
use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::setup;
use crate::workspace::{self, cargo, target};

/// Runs the command.
///
/// # Errors
/// When the measurement cannot be made.
pub(super) fn run() -> Result<ExitCode> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "test runs of XDP programs need root: run `sudo -E cargo xtask bench xdp`"
    );
    setup::install(&setup::Arguments::without_tests());
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join("xdp.json");
    let mut command = cargo();
    command
        .args(["bench", "--package", "dataplane", "--bench", "xdp"])
        .env("MARCHPROXY_BENCH_JSON", &path);
    workspace::run(&mut command)?;
    println!("\nwritten to {}", path.display());
    Ok(ExitCode::SUCCESS)
}
