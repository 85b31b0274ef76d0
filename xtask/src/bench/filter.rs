//! `cargo xtask bench filter`: what the packet filter costs with a million prefixes.
//!
//! The measuring program is `dataplane/benches/filter.rs`; this builds it, runs it, and says where
//! the figures are. Needs root.

use std::process::ExitCode;

use anyhow::Result;

use super::xdp::measure;

/// Runs the command.
///
/// # Errors
/// When the measurement cannot be made.
pub(super) fn run() -> Result<ExitCode> {
    measure("filter")
}
