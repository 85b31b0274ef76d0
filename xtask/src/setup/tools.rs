//! Tools that cargo installs.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::Outcome;
use crate::workspace::{self, cargo};

const BPF_LINKER: &str = "0.13.0";
const NEXTEST: &str = "0.9.143";
const DENY: &str = "0.20.2";
const LLVM: &str = "/usr/lib/llvm-22";

/// The linker of the eBPF target.
pub(super) fn bpf_linker(dry: bool) -> Result<Outcome> {
    if let Some(version) = version("bpf-linker", &["--version"]) {
        return Ok(Outcome::Present(version));
    }
    let arguments = [
        "install",
        "bpf-linker",
        "--version",
        BPF_LINKER,
        "--no-default-features",
        "--features",
        "llvm-22",
    ];
    let command = format!("run: LLVM_PREFIX={LLVM} cargo {}", arguments.join(" "));
    if dry || !Path::new(LLVM).is_dir() {
        return Ok(Outcome::Missing(format!("with LLVM 22, {command}")));
    }
    workspace::read(cargo().env("LLVM_PREFIX", LLVM).args(arguments)).context(command)?;
    Ok(Outcome::Installed(BPF_LINKER.into()))
}

/// The test runner.
pub(super) fn nextest(dry: bool) -> Result<Outcome> {
    install("cargo-nextest", &["nextest", "--version"], NEXTEST, dry)
}

/// The dependency linter, which `check` runs when it is there.
pub(super) fn deny(dry: bool) -> Result<Outcome> {
    install("cargo-deny", &["deny", "--version"], DENY, dry)
}

fn install(name: &str, probe: &[&str], wanted: &str, dry: bool) -> Result<Outcome> {
    let found = cargo().args(probe).output().ok().filter(|output| output.status.success());
    if let Some(output) = found {
        let text = String::from_utf8_lossy(&output.stdout);
        return Ok(Outcome::Present(text.lines().next().unwrap_or_default().to_owned()));
    }
    let command = format!("run: cargo install --locked {name} --version {wanted}");
    if dry {
        return Ok(Outcome::Missing(command));
    }
    workspace::read(cargo().args(["install", "--locked", name, "--version", wanted]))
        .context(command)?;
    Ok(Outcome::Installed(wanted.into()))
}

/// Whether a program of this name is on PATH.
pub(super) fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}

/// Whether a command succeeds.
pub(super) fn runs(program: &str, arguments: &[&str]) -> bool {
    version(program, arguments).is_some()
}

fn version(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}
