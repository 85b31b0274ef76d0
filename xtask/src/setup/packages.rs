//! System packages. On Debian they are installed when root; elsewhere the tools that must be
//! there are looked for by name.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use anyhow::{Context, Result};

use super::Outcome;
use crate::workspace;

/// What the eBPF build needs: Debian's second toolchain has a `core` for the BPF target and the
/// sources of the standard library; bpf-linker needs LLVM. Then the laboratory's tools.
pub(super) const NEEDED: &[&str] = &[
    "rustc-web",
    "libstd-rust-web-dev-bpf",
    "rust-web-src",
    "lld-22",
    "llvm-22-dev",
    "clang-22",
    "libelf-dev",
    "zlib1g-dev",
    "iproute2",
    "nftables",
    "ethtool",
    "curl",
    "iperf3",
    "faketime",
    "pebble",
    "gcc",
];

/// What measurements of other proxies need.
pub(super) const PEERS: &[&str] = &["nginx-light", "haproxy", "wrk"];

/// What must be on PATH where packages have other names.
const COMMANDS: [&str; 5] = ["ip", "nft", "ethtool", "curl", "iperf3"];
const PEER_COMMANDS: [&str; 3] = ["nginx", "haproxy", "wrk"];

/// Installs the packages of a list that are missing.
pub(super) fn install(packages: &[&'static str], dry: bool) -> Result<Outcome> {
    if !super::tools::on_path("apt-get") {
        return Ok(elsewhere(packages));
    }
    let mut missing = missing_packages(packages);
    if !super::envoy::is_installed() && !super::tools::runs("python3", &["-m", "pip", "--version"])
    {
        missing.push("python3-pip");
    }
    if missing.is_empty() {
        return Ok(Outcome::Present(format!("all {} are there", packages.len())));
    }
    let list = missing.join(" ");
    if dry || !nix::unistd::geteuid().is_root() {
        return Ok(Outcome::Missing(format!(
            "run: sudo apt-get update && sudo apt-get install -y --no-install-recommends {list}"
        )));
    }
    let _policy = NoServices::begin()?;
    workspace::read(Command::new("apt-get").args(["update", "-q"]))?;
    workspace::read(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(&missing),
    )?;
    Ok(Outcome::Installed(list))
}

/// Keeps packages from starting what they bring (invoke-rc.d asks this file): a web server that is
/// installed for a measurement must not take port 80 of the machine.
struct NoServices(Option<&'static str>);

impl NoServices {
    const FILE: &str = "/usr/sbin/policy-rc.d";
    const DENY: &str = "#!/bin/sh\nexit 101\n";

    fn begin() -> Result<Self> {
        let mut options = OpenOptions::new();
        match options.write(true).create_new(true).mode(0o755).open(Self::FILE) {
            Ok(mut file) => {
                file.write_all(Self::DENY.as_bytes())?;
                Ok(Self(Some(Self::FILE)))
            }
            // The machine has a policy of its own.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Self(None)),
            Err(error) => Err(error).context(Self::FILE),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(file) = self.0 {
            // Left behind it keeps services from starting until somebody reads it.
            if let Err(error) = fs::remove_file(file) {
                eprintln!("remove {file} by hand: {error}");
            }
        }
    }
}

fn missing_packages(packages: &[&'static str]) -> Vec<&'static str> {
    let installed = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(packages)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    absent(packages, &installed)
}

fn absent(packages: &[&'static str], installed: &str) -> Vec<&'static str> {
    packages
        .iter()
        .copied()
        .filter(|package| !installed.lines().any(|line| line == format!("{package} installed")))
        .collect()
}

fn elsewhere(packages: &[&str]) -> Outcome {
    let commands: &[&str] = if packages == PEERS { &PEER_COMMANDS } else { &COMMANDS };
    let missing: Vec<&str> =
        commands.iter().copied().filter(|command| !super::tools::on_path(command)).collect();
    if missing.is_empty() {
        return Outcome::Present(
            "no apt here; the laboratory's tools are on PATH, and the eBPF build takes \
             `rustup toolchain install nightly --component rust-src`"
                .into(),
        );
    }
    Outcome::Missing(format!("install with your package manager: {}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_package_counts_as_absent() {
        let mut lines: Vec<String> =
            NEEDED.iter().map(|package| format!("{package} installed")).collect();
        assert_eq!(absent(NEEDED, &lines.join("\n")), Vec::<&str>::new());
        lines[3] = "lld-22 config-files".into();
        assert_eq!(absent(NEEDED, &lines.join("\n")), vec!["lld-22"]);
    }
}
