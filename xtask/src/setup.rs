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
    /// Also installs nginx, haproxy and wrk, beside which `bench l7` measures
    #[arg(long)]
    with_peers: bool,
    /// Only says what is missing
    #[arg(long)]
    dry_run: bool,
    /// Leaves out the test runner, some minutes to build: a demo and a measurement run no test.
    #[arg(skip)]
    without_nextest: bool,
}

impl Arguments {
    /// What a demo or a measurement needs.
    pub(crate) fn without_tests() -> Self {
        Self { without_nextest: true, ..Self::default() }
    }

    /// What a measurement beside other proxies needs.
    pub(crate) fn for_peers() -> Self {
        Self { with_peers: true, ..Self::without_tests() }
    }
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
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    if install(arguments) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Installs what is missing; false when something is missing that needs another hand. What fails
/// is told with the command that failed, and does not keep the rest from being installed.
pub(crate) fn install(arguments: &Arguments) -> bool {
    let dry = arguments.dry_run;
    let mut complete = true;
    let mut take = |what: &str, work: &dyn Fn() -> Result<Outcome>| {
        let step = Step::begin(what);
        let (there, text) = judge(work());
        if there {
            step.done(text);
        } else {
            step.fell_short(text);
        }
        complete &= there;
    };
    take("system packages", &|| packages::install(packages::NEEDED, dry));
    if arguments.with_peers {
        take("other proxies", &|| packages::install(packages::PEERS, dry));
    }
    take("bpf-linker", &|| tools::bpf_linker(dry));
    if !arguments.without_nextest {
        take("cargo-nextest", &|| tools::nextest(dry));
    }
    take("Envoy", &|| envoy::install(dry));
    if arguments.with_deny {
        take("cargo-deny", &|| tools::deny(dry));
    }
    complete
}

/// Whether a thing is there after its step, and what to tell.
fn judge(outcome: Result<Outcome>) -> (bool, String) {
    match outcome {
        Ok(Outcome::Present(text)) => (true, text),
        Ok(Outcome::Installed(text)) => (true, format!("installed {text}")),
        Ok(Outcome::Missing(how)) => (false, format!("missing; {how}")),
        Err(error) => (false, format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn what_cannot_be_installed_is_told_with_the_command_and_counts_as_missing() {
        let check = |outcome, there: bool, text: &str| {
            assert_eq!(judge(outcome), (there, text.to_owned()));
        };
        check(Ok(Outcome::Present("1.0".into())), true, "1.0");
        check(Ok(Outcome::Installed("1.0".into())), true, "installed 1.0");
        check(Ok(Outcome::Missing("run: this".into())), false, "missing; run: this");
        let failed = anyhow!("no network").context("run: cargo install x");
        check(Err(failed), false, "run: cargo install x: no network");
    }
}
