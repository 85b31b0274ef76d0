//! `doctor`: looks at this host and says what helps and what hinders its data plane. It asks no
//! cluster.

use dataplane::doctor::{self, Finding, Level, Wishes, facts::Gap};
use serde::Serialize;

use super::{arguments::DoctorArgs, exit::Failure, plane, print, view};
use crate::settings::{DATA_DIR, Settings, SettingsError};

/// The answer in JSON; documented in `docs/cli.md`.
#[derive(Debug, Serialize)]
struct Answer {
    version: &'static str,
    worst: Level,
    findings: Vec<Finding>,
}

pub(super) fn run(arguments: DoctorArgs) -> Result<(), Failure> {
    let format = arguments.output.format;
    let findings = doctor::judge(&doctor::gather(&wishes(arguments)));
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    let problems = findings.iter().filter(|finding| finding.level == Level::Problem).count();
    let answer = Answer { version: env!("CARGO_PKG_VERSION"), worst, findings };
    print::answer(format, &answer, |answer| view::doctor::findings(&answer.findings))?;
    if problems > 0 { Err(Failure::Found { problems }) } else { Ok(()) }
}

/// What is to be looked at: what was typed, over what the node of this host keeps, over defaults.
fn wishes(arguments: DoctorArgs) -> Wishes {
    let DoctorArgs { interface, to, data_dir, run_dir, envoy, output: _ } = arguments;
    let data_dir = data_dir.unwrap_or_else(|| DATA_DIR.into());
    let kept = Settings::load(&data_dir);
    let (kept, node) = match kept {
        Ok(kept) => {
            let node = Ok(kept.is_some());
            (kept, node)
        }
        Err(SettingsError::Read { source, .. }) => (None, Err(Gap::of(&source))),
        Err(error) => (None, Err(Gap::Failed(error.to_string()))),
    };
    let mut config = plane::of_node(&data_dir, run_dir, kept.as_ref());
    config.envoy = envoy.or(config.envoy);
    Wishes { interfaces: interface, to, node, config }
}
