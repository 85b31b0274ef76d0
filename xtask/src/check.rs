//! `cargo xtask check` (reads only) and `cargo xtask fix` (writes).

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::progress::Step;
use crate::workspace::{cargo, run};
use crate::{boundaries, house};

/// Runs every check, also after one has failed.
///
/// # Errors
/// When a check cannot be run at all.
pub(crate) fn run_all() -> Result<bool> {
    let mut good = true;
    let mut take = |what: &str, work: &dyn Fn() -> Result<()>| {
        let step = Step::begin(what);
        match work() {
            Ok(()) => step.done(""),
            Err(error) => {
                good = false;
                step.fell_short(format!("{error:#}"));
            }
        }
    };
    take("dependency boundaries", &boundaries::check);
    take("house rules", &house::check);
    take("formatting", &|| run(cargo().args(["fmt", "--all", "--check"])));
    take("clippy", &|| {
        run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
    take("documentation", &|| {
        run(cargo().env("RUSTDOCFLAGS", "-D warnings").args([
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ]))
    });
    if succeeds(cargo().args(["deny", "--version"])) {
        take("cargo-deny", &|| run(cargo().args(["deny", "check", "bans", "licenses", "sources"])));
    } else {
        eprintln!(
            "left out: cargo-deny (`cargo xtask setup --with-deny` installs it); the dependency boundaries above are checked without it"
        );
    }
    Ok(good)
}

/// Runs the command.
///
/// # Errors
/// As [`run_all`].
pub(crate) fn run_command() -> Result<ExitCode> {
    Ok(if run_all()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Formats, and applies what clippy can apply.
///
/// # Errors
/// When cargo fails.
pub(crate) fn fix() -> Result<ExitCode> {
    run(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
    ]))?;
    run(cargo().args(["fmt", "--all"]))?;
    Ok(ExitCode::SUCCESS)
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
