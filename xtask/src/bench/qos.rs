//! `cargo xtask bench qos`: each service's bandwidth under a limit, and the round trips of P0 beside a
//! P3 that sends more than it may.
//!
//! The measuring program is `dataplane/benches/qos`; this builds it, runs it, and says where the
//! figures are. It fails where a bar is missed. Needs root.

use std::process::ExitCode;

use anyhow::Result;

use super::xdp::measure;

/// Runs the command.
///
/// # Errors
/// When the measurement cannot be made, or a bar is missed.
pub(super) fn run() -> Result<ExitCode> {
    measure("qos")
}
