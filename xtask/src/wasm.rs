//! Builds for WebAssembly: the sample filter, and the model as a browser runs it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::workspace::{cargo, root, run, target};

const TARGET: &str = "wasm32-unknown-unknown";
/// Debian's second compiler, which brings the sources of the standard library but no linker of its own.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "wasm-ld-22";

/// Builds the sample filter; returns where it is.
///
/// # Errors
/// When cargo fails.
pub(crate) fn filter() -> Result<PathBuf> {
    let folder = target().join("wasm-filter");
    let mut command = cargo();
    command
        .args(["build", "--release", "--locked", "--target", TARGET])
        .arg("--manifest-path")
        .arg(root().join("examples/wasm-filter/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder);
    with_toolchain(&mut command);
    run(&mut command)?;
    Ok(folder.join(TARGET).join("release/wasm_filter.wasm"))
}

/// Checks that the model builds without an operating system: the console runs it in a browser.
///
/// # Errors
/// When cargo fails.
pub(crate) fn model() -> Result<()> {
    let mut command = cargo();
    command
        .args(["check", "--package", "model", "--target", TARGET])
        .arg("--target-dir")
        .arg(target().join("wasm"));
    with_toolchain(&mut command);
    run(&mut command)
}

/// Builds with the usual toolchain where it brings the target (a machine with full rustup), or else the
/// standard library too.
fn with_toolchain(command: &mut Command) {
    if has_target() {
        return;
    }
    command
        .env("RUSTC", DEBIAN_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER)
        .arg("-Zbuild-std=std,panic_abort");
}

fn has_target() -> bool {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).current_dir(root()).output();
    sysroot.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        PathBuf::from(sysroot).join("lib/rustlib").join(TARGET).join("lib").is_dir()
    })
}
