//! `cargo xtask test`: every test, by kinds, counted. Nothing is left out in silence: what cannot
//! run here is named, and in CI that is a failure.

mod long;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::junit::{self, Counts};
use crate::progress::step;
use crate::workspace::{cargo, read, status, target};
use crate::{build, setup, wasm};

/// nextest ends with this when a test failed; anything else is a fault of the run itself.
const NEXTEST_TESTS_FAILED: i32 = 100;

/// Where tests find the sample filter.
const FILTER: &str = "MARCHPROXY_WASM_FILTER";

/// What to test.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Runs one kind of test only
    #[arg(long, value_name = "KIND")]
    only: Option<Kind>,
    /// Lists the tests of each kind and runs none
    #[arg(long)]
    list: bool,
    /// Runs the proofs of the packet path at full size instead, for half an hour; needs root
    #[arg(long, conflicts_with_all = ["only", "list"])]
    long: bool,
}

/// Kinds of test, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Kind {
    /// Unit and property tests: no privileges, no other program
    Unit,
    /// The examples in the documentation
    Doc,
    /// The model builds for wasm32
    Wasm,
    /// The L7 data plane: tests with the real Envoy and real traffic (`envoy_…`)
    #[value(alias = "envoy")]
    L7,
    /// Tests that make network namespaces and load BPF programs (`root_…`); need root
    Root,
    /// Whole clusters of real processes (`cluster_…`)
    Cluster,
}

impl Kind {
    /// The nextest filter of the kinds that nextest runs.
    fn filter(self) -> Option<&'static str> {
        match self {
            Self::Unit => Some("not test(/(^|::)(envoy|root|cluster)_/)"),
            Self::L7 => Some("test(/(^|::)envoy_/)"),
            Self::Root => Some("test(/(^|::)root_/)"),
            Self::Cluster => Some("test(/(^|::)cluster_/)"),
            Self::Doc | Self::Wasm => None,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When the tests cannot be built or run; a failing test is no error of the command.
pub(crate) fn run_kinds(arguments: &Arguments) -> Result<(Counts, bool)> {
    let complete = setup::install(&setup::Arguments::default());
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    if !complete && in_ci {
        bail!("the set-up is not complete (see above)");
    }
    let binary = build::marchproxy(build::Profile::Dev)?;
    let kinds: Vec<Kind> = Kind::value_variants()
        .iter()
        .copied()
        .filter(|kind| arguments.only.is_none_or(|only| only == *kind))
        .collect();
    let mut built = vec![("MARCHPROXY_BIN", binary)];
    if kinds.iter().any(|kind| matches!(kind, Kind::L7 | Kind::Cluster)) {
        built.push((FILTER, wasm::filter()?));
    }
    let mut table: BTreeMap<Kind, Counts> = BTreeMap::new();
    let mut left_out = Vec::new();
    let mut unsteady = Vec::new();
    for kind in kinds {
        if kind == Kind::Root && !nix::unistd::geteuid().is_root() {
            let count = step(format!("counting the {kind:?} tests, which builds them"), |_| {
                count_listed(kind)
            })?;
            left_out.push(format!("{count} {kind:?} tests: they need root"));
            continue;
        }
        eprintln!("\n== {kind:?} ==");
        let counts = match kind {
            Kind::Doc => doc()?,
            Kind::Wasm => wasm_model(),
            _ => nextest(kind, &built, &mut unsteady)?,
        };
        table.insert(kind, counts);
    }
    let mut total = Counts::default();
    eprintln!();
    for (kind, counts) in table {
        eprintln!(
            "{:<8} {:>5} passed {:>4} failed",
            format!("{kind:?}"),
            counts.passed,
            counts.failed
        );
        total += counts;
    }
    for line in &unsteady {
        eprintln!("{line}");
    }
    for what in &left_out {
        eprintln!("left out: {what}");
    }
    Ok((total, left_out.is_empty() || !in_ci))
}

/// Runs the command and prints the totals as the last line.
///
/// # Errors
/// As [`run_kinds`].
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.list {
        return list(arguments.only);
    }
    if arguments.long {
        return long::run();
    }
    let (total, complete) = run_kinds(arguments)?;
    if !complete {
        eprintln!("CI=true and tests were left out: this run does not count as passed");
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    let good = complete && total.failed == 0 && total.passed > 0;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(only: Option<Kind>) -> Result<ExitCode> {
    for kind in Kind::value_variants().iter().filter(|kind| only.is_none_or(|only| only == **kind))
    {
        println!("== {kind:?}");
        if kind.filter().is_some() {
            println!("{}", listed(*kind)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(kind: Kind) -> Result<String> {
    let filter = kind.filter().context("not a kind that nextest runs")?;
    read(cargo().args([
        "nextest",
        "list",
        "--workspace",
        "--message-format",
        "oneline",
        "--filterset",
        filter,
    ]))
}

fn count_listed(kind: Kind) -> Result<usize> {
    Ok(listed(kind)?.lines().filter(|line| !line.trim().is_empty()).count())
}

/// Runs the tests of a kind; notes in `unsteady` those that fail, and those that failed at first.
fn nextest(kind: Kind, built: &[(&str, PathBuf)], unsteady: &mut Vec<String>) -> Result<Counts> {
    let filter = kind.filter().context("not a kind that nextest runs")?;
    let report = target().join("nextest").join("default").join("junit.xml");
    if report.exists() {
        fs::remove_file(&report)?;
    }
    let status = status(
        cargo()
            .args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests", "pass"])
            .args(["--config-file", "xtask/nextest.toml", "--filterset", filter])
            .envs(built.iter().map(|(name, path)| (name, path)))
            .env("MARCHPROXY_ENVOY", setup::envoy_binary()),
    )?;
    if !status.success() && status.code() != Some(NEXTEST_TESTS_FAILED) {
        bail!("the tests could not be run ({status})");
    }
    if status.success() && !report.exists() {
        return Ok(Counts::default());
    }
    let text =
        fs::read_to_string(&report).with_context(|| format!("reading {}", report.display()))?;
    let counts = junit::counts(&text)?;
    unsteady.extend(junit::failed(&text).iter().map(|test| format!("failed: {test}")));
    let flaky = junit::flaky(&text);
    unsteady.extend(flaky.iter().map(|test| format!("passed at the second try only: {test}")));
    anyhow::ensure!(
        status.success() || counts.failed > 0,
        "nextest failed, but its report names no failed test"
    );
    Ok(counts)
}

fn doc() -> Result<Counts> {
    let output = cargo().args(["test", "--doc", "--workspace", "--no-fail-fast"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    eprint!("{text}");
    let counts = doc_counts(&text);
    if !output.status.success() && counts.failed == 0 {
        bail!("the doc tests could not be run:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(counts)
}

/// Sums lines such as `test result: ok. 3 passed; 0 failed; …`.
fn doc_counts(text: &str) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        let number = |unit: &str| -> u64 {
            let part = line.split([';', '.']).map(str::trim).find(|part| part.ends_with(unit));
            part.and_then(|part| part.split(' ').next()?.parse().ok()).unwrap_or(0)
        };
        counts += Counts { passed: number(" passed"), failed: number(" failed") };
    }
    counts
}

fn wasm_model() -> Counts {
    match wasm::model() {
        Ok(()) => Counts { passed: 1, failed: 0 },
        Err(error) => {
            eprintln!("{error:#}");
            Counts { passed: 0, failed: 1 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doc_test_results_are_summed() {
        let text = "   Doc-tests model\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured\n\
                    test result: FAILED. 1 passed; 2 failed; 0 ignored\n";
        assert_eq!(doc_counts(text), Counts { passed: 4, failed: 2 });
    }
}
