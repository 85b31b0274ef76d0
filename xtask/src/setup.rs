//! `cargo xtask setup`: what building and testing need. Quick when all is there; every step says
//! what it found. What it may not do itself it prints as the exact command.

mod envoy;
mod packages;
mod tools;

use std::process::ExitCode;

use anyhow::Result;

use crate::progress::Step;

pub(crate) use envoy::binary as envoy_binary;

/// What to install.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Also installs cargo-deny (some minutes), which `check` then runs
    #[arg(long)]
    with_deny: bool,
    /// Only says what is missing
    #[arg(long)]
    dry_run: bool,
}

/// What one step of the set-up comes to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It was there.
    Present(String),
    /// It was installed.
    Installed(String),
    /// It is missing, and this is how to get it.
    Missing(String),
}

/// Runs the command.
///
/// # Errors
/// When an installation fails.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let complete = install(arguments)?;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Installs what is missing; false when something is missing that needs another hand.
///
/// # Errors
/// When an installation fails.
pub(crate) fn install(arguments: &Arguments) -> Result<bool> {
    let dry = arguments.dry_run;
    let mut complete = true;
    let mut take = |what: &str, work: &dyn Fn() -> Result<Outcome>| -> Result<()> {
        let step = Step::begin(what);
        match work() {
            Ok(Outcome::Present(text)) => step.done(text),
            Ok(Outcome::Installed(text)) => step.done(format!("installed {text}")),
            Ok(Outcome::Missing(how)) => {
                step.fell_short(format!("missing; {how}"));
                complete = false;
            }
            Err(error) => {
                step.fell_short(format!("{error:#}"));
                return Err(error);
            }
        }
        Ok(())
    };
    take("system packages", &|| packages::install(dry))?;
    take("bpf-linker", &|| tools::bpf_linker(dry))?;
    take("cargo-nextest", &|| tools::nextest(dry))?;
    take("Envoy", &|| envoy::install(dry))?;
    if arguments.with_deny {
        take("cargo-deny", &|| tools::deny(dry))?;
    }
    Ok(complete)
}
