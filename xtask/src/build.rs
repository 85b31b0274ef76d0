//! Builds the one program, for tests (dev profile) or measurements (release).

use std::path::PathBuf;

use anyhow::Result;

use crate::workspace::{cargo, run, target};

/// How to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build.
    Dev,
    /// What users run.
    Release,
}

/// Builds `marchproxy` and returns where it is.
///
/// # Errors
/// When cargo fails.
pub(crate) fn marchproxy(profile: Profile) -> Result<PathBuf> {
    let mut command = cargo();
    match profile {
        // With the features of the whole workspace, so that the tests use the same artefacts.
        Profile::Dev => command.args(["build", "--workspace", "--bin", "marchproxy"]),
        Profile::Release => command.args(["build", "--package", "node", "--release"]),
    };
    run(&mut command)?;
    let folder = if profile == Profile::Release { "release" } else { "debug" };
    Ok(target().join(folder).join("marchproxy"))
}
