//! `doctor`: looks at this host and says what helps and what hinders its data plane. It asks no
//! cluster.

use dataplane::{
    Config,
    doctor::{self, Finding, Level, Wishes, facts::Gap},
};
use serde::Serialize;

use super::{arguments::DoctorArgs, exit::Failure, print, view};
use crate::settings::{DATA_DIR, RUN_DIR, Settings, SettingsError};

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
    let state_dir = data_dir.join("dataplane");
    let run_dir = run_dir
        .or_else(|| kept.as_ref().map(|kept| kept.run_dir.clone()))
        .unwrap_or_else(|| RUN_DIR.into());
    let mut config = Config::new(Vec::new(), state_dir.join("identity"), state_dir, run_dir);
    config.envoy = envoy.or_else(|| kept.as_ref().and_then(|kept| kept.envoy.clone()));
    if let Some(kept) = kept {
        config.interfaces = kept.xdp;
        config.listen_address = kept.listen_address;
    }
    Wishes { interfaces: interface, to, node, config }
}
