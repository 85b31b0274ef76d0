//! System packages. On Debian they are installed when root; elsewhere the tools that must be
//! there are looked for by name.

use std::process::Command;

use anyhow::Result;

use super::Outcome;
use crate::workspace;

/// What the eBPF build needs: Debian's second toolchain has a `core` for the BPF target and the
/// sources of the standard library; bpf-linker needs LLVM. Then the laboratory's tools.
const DEBIAN: [&str; 15] = [
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
    "gcc",
];

/// What must be on PATH where packages have other names.
const COMMANDS: [&str; 5] = ["ip", "nft", "ethtool", "curl", "iperf3"];

pub(super) fn install(dry: bool) -> Result<Outcome> {
    if !super::tools::on_path("apt-get") {
        return Ok(elsewhere());
    }
    let mut missing = missing_packages();
    if !super::envoy::is_installed() && !super::tools::runs("python3", &["-m", "pip", "--version"])
    {
        missing.push("python3-pip");
    }
    if missing.is_empty() {
        return Ok(Outcome::Present(format!("all {} are there", DEBIAN.len())));
    }
    let list = missing.join(" ");
    if dry || !nix::unistd::geteuid().is_root() {
        return Ok(Outcome::Missing(format!(
            "run: sudo apt-get update && sudo apt-get install -y --no-install-recommends {list}"
        )));
    }
    workspace::read(Command::new("apt-get").args(["update", "-q"]))?;
    workspace::read(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(&missing),
    )?;
    Ok(Outcome::Installed(list))
}

fn missing_packages() -> Vec<&'static str> {
    let installed = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(DEBIAN)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    absent(&installed)
}

fn absent(installed: &str) -> Vec<&'static str> {
    DEBIAN
        .into_iter()
        .filter(|package| !installed.lines().any(|line| line == format!("{package} installed")))
        .collect()
}

fn elsewhere() -> Outcome {
    let missing: Vec<&str> =
        COMMANDS.into_iter().filter(|command| !super::tools::on_path(command)).collect();
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
            DEBIAN.iter().map(|package| format!("{package} installed")).collect();
        assert_eq!(absent(&lines.join("\n")), Vec::<&str>::new());
        lines[3] = "lld-22 config-files".into();
        assert_eq!(absent(&lines.join("\n")), vec!["lld-22"]);
    }
}
