//! Clocks that are off: within the bound a node joins and serves, beyond it is refused and told of
//! both clocks. The clock is that of libfaketime, for the control process and the data plane.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use chaos_tests::{Fixture, HOST, LIMIT, scenario};
use lab::load::Plan;
use lab::waiting::wait_until;
use lab::{Member, Place};

/// Where Debian's package `libfaketime` puts it, below the directory of libraries.
const LIBRARY: &str = "faketime/libfaketime.so.1";

#[test]
fn cluster_a_clock_an_hour_off_joins_and_serves_three_hours_are_refused() {
    scenario(Fixture::new(5), |fixture| {
        fixture.cluster.members[0].up(&[])?;
        // Printed when the context file is written.
        fixture.cluster.members[0].join_line()?;
        for (index, offset) in [(1, "+1h"), (2, "-1h")] {
            set_clock(fixture, index, offset)?;
            let line = fixture.cluster.new_join_line()?;
            fixture.cluster.members[index].join(&line).context(offset)?;
        }
        for (index, offset, word) in [(3, "+3h", "ahead"), (4, "-3h", "one of the two clocks")] {
            set_clock(fixture, index, offset)?;
            let line = fixture.cluster.new_join_line()?;
            let member = &mut fixture.cluster.members[index];
            member.spawn(&["join", &line], &[])?;
            let status = wait_until(format!("a refusal of {offset}"), LIMIT, || {
                let log = member.log();
                member.control()?.ended().with_context(|| format!("it runs:\n{log}"))
            })?;
            let said = member.log();
            ensure!(status.code().is_some_and(|code| code != 0), "{status}:\n{said}");
            ensure!(said.contains(word) && said.contains("7200 s"), "{offset}:\n{said}");
            ensure!(clocks_in(&said) >= 2, "not both clocks are named:\n{said}");
            ensure!(!member.data().join("identity/node.pem").exists(), "it is half a member");
        }
        // The two that were refused play no part.
        fixture.cluster.members.truncate(3);
        fixture.cluster.wait_voters(3, LIMIT)?;
        fixture.cluster.settle()?;
        fixture.cluster.apply(1, &fixture.base())?;
        let load = Plan::new(&Place::Here, &fixture.web()).http(HOST, "/")?;
        load.wait_answered(30, LIMIT)?;
        let report = load.stop();
        ensure!(report.with_status(&[200]) == report.sent, "{report}");
        Ok(())
    });
}

/// Makes a member's program run with another clock. Timers stay as they are: only the time of day
/// is off.
fn set_clock(fixture: &mut Fixture, index: usize, offset: &str) -> Result<()> {
    let library = library()?;
    let mut settings = fixture.cluster.members[index].settings().clone();
    let script = fixture.instance.directory().join(format!("marchproxy{offset}"));
    fs::write(
        &script,
        format!(
            "#!/bin/sh\nexport LD_PRELOAD={} FAKETIME={offset} FAKETIME_DONT_FAKE_MONOTONIC=1 \
             FAKETIME_NO_CACHE=1\nexec {} \"$@\"\n",
            library.display(),
            settings.binary.display()
        ),
    )?;
    settings.binary = executable(script)?;
    // Envoy hangs in this library; its clock is not what is looked at.
    let envoy = fixture.instance.directory().join(format!("envoy{offset}"));
    let real = settings.envoy.display();
    fs::write(&envoy, format!("#!/bin/sh\nunset LD_PRELOAD FAKETIME\nexec {real} \"$@\"\n"))?;
    settings.envoy = executable(envoy)?;
    fixture.cluster.members[index] = Member::new(&fixture.instance, settings);
    Ok(())
}

fn executable(script: PathBuf) -> Result<PathBuf> {
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

fn library() -> Result<PathBuf> {
    let places = ["/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    places
        .iter()
        .map(|place| PathBuf::from(place).join(LIBRARY))
        .find(|path| path.is_file())
        .with_context(|| format!("{LIBRARY} is not installed: run `cargo xtask setup`"))
}

/// How many times of day are in a text, after the word for a clock.
fn clocks_in(text: &str) -> usize {
    let reason = text.lines().filter(|line| line.contains("clock"));
    reason
        .map(|line| line.split_whitespace().filter(|word| is_time(word)).count())
        .max()
        .unwrap_or(0)
}

/// `2026-01-31T12:34:56Z,` or `12:34:56.0`
fn is_time(word: &str) -> bool {
    let word = word.rsplit('T').next().unwrap_or(word);
    let parts: Vec<&str> = word.split(':').collect();
    parts.len() >= 3 && parts[..2].iter().all(|part| part.parse::<u8>().is_ok())
}
