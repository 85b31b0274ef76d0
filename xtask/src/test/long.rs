//! `cargo xtask test --long`: the proofs of the packet path at full size, which the suite runs smaller.
//!
//! Each test takes its size from the environment; the sizes of the whole proofs stand here. Needs root.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    setup,
    workspace::{cargo, status},
};

/// The tests, as nextest filters them.
const TESTS: &str = "test(root_kernel_host_and_model_agree_on_every_frame) \
    or test(root_no_flow_moves_and_no_packet_is_lost_in_swaps_and_replacements_under_load) \
    or test(root_a_syn_flood_)";
/// How large they are.
const SIZES: [(&str, &str); 5] = [
    ("MARCHPROXY_AGREEMENT_FRAMES", "1_000_000"),
    ("MARCHPROXY_REPLACEMENT_FLOWS", "100_000"),
    ("MARCHPROXY_REPLACEMENT_SWAPS", "1_000"),
    ("MARCHPROXY_REPLACEMENT_PROGRAMS", "50"),
    ("MARCHPROXY_FLOOD_SOURCES", "4_194_304"),
];

/// Runs them, one at a time, and shows what they print. What the environment already says of a size
/// or a seed holds.
///
/// # Errors
/// When they cannot be run; a failing test is no error of the command.
pub(super) fn run() -> Result<ExitCode> {
    setup::install(&setup::Arguments::default());
    let mut command = cargo();
    command
        .args(["nextest", "run", "--package", "dataplane", "--test", "root_xdp", "--no-fail-fast"])
        .args(["--config-file", "xtask/nextest.toml", "--profile", "long", "--no-capture"])
        .args(["--filterset", TESTS]);
    for (name, size) in SIZES.iter().filter(|(name, _)| std::env::var_os(name).is_none()) {
        command.env(name, size);
    }
    let passed = status(&mut command)?.success();
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
