//! Short-lived system tools (`ip`, `nft`, `ethtool`): run, wait, and an error that holds the
//! command line and what it printed.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::place::Place;

/// Runs a tool in a place and returns what it wrote to stdout.
///
/// # Errors
/// When it cannot be started or exits with anything but 0.
pub fn run(place: &Place, program: &str, arguments: &[&str]) -> Result<String> {
    run_with_input(place, program, arguments, "")
}

/// As [`run`], with text on stdin.
///
/// # Errors
/// When it cannot be started or exits with anything but 0.
pub fn run_with_input(
    place: &Place,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> Result<String> {
    let line = format!("{program} {}", arguments.join(" "));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    place.prepare(&mut command)?;
    let mut child = command
        .spawn()
        .with_context(|| format!("starting `{line}` (is it installed? `cargo xtask setup`)"))?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    // A tool that does not read its input closes the pipe; its exit status is what counts.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().with_context(|| format!("waiting for `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}`: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
