//! Child processes die; they come back without an operator.

use anyhow::{Result, ensure};
use chaos_tests::{Fixture, HOST, LIMIT, WEB_PORT, scenario};
use lab::Place;
use lab::load::Plan;
use lab::waiting::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

#[test]
fn cluster_a_killed_envoy_and_a_killed_data_plane_come_back_by_themselves() {
    scenario(Fixture::serving(1), |fixture| {
        let member = &fixture.cluster.members[0];
        let (plane, envoy) = (member.dataplane_pid()?, member.envoy_pid()?);
        kill(envoy, Signal::SIGKILL)?;
        let envoy = replaced(envoy, || member.envoy_pid())?;
        serves(fixture)?;
        ensure!(member.dataplane_pid()? == plane, "the data plane was replaced with its Envoy");

        // Envoy goes on, and the next data plane takes it over.
        let load = fixture.traffic()?;
        kill(plane, Signal::SIGKILL)?;
        let plane = replaced(plane, || member.dataplane_pid())?;
        load.wait_answered(200, LIMIT)?;
        let report = load.stop();
        ensure!(report.faults() == 0 && report.broken == 0, "without a data plane: {report}");
        ensure!(member.envoy_pid()? == envoy, "Envoy was replaced with its data plane");

        // A change reaches the new ones.
        fixture.cluster.apply(0, &fixture.base().replace(HOST, "other.example"))?;
        ensure!(member.dataplane_pid()? == plane, "the data plane was replaced once more");
        Ok(())
    });
}

#[test]
fn cluster_a_data_plane_and_its_envoy_are_replaced_on_demand_without_a_failed_request() {
    scenario(Fixture::serving(1), |fixture| {
        let member = &fixture.cluster.members[0];
        let (plane, envoy) = (member.dataplane_pid()?, member.envoy_pid()?);
        let load = fixture.traffic()?;
        let restarted = member.run(&["dataplane", "restart", "--node", "1"])?;
        ensure!(restarted.status.success(), "{restarted:?}");
        let plane = replaced(plane, || member.dataplane_pid())?;
        ensure!(member.envoy_pid()? == envoy, "Envoy was replaced with its data plane");
        // Envoy has to be adopted before it can be replaced.
        let envoy = wait_until("Envoy to hand over", LIMIT, || {
            let restarted = member.run(&["dataplane", "restart-envoy", "--node", "1"])?;
            ensure!(restarted.status.success(), "{restarted:?}");
            replaced(envoy, || member.envoy_pid())
        })?;
        fixture.cluster.apply(0, &fixture.base().replace(HOST, "other.example"))?;
        load.wait_answered(500, LIMIT)?;
        let report = load.stop();
        ensure!(report.faults() == 0 && report.broken == 0, "{report}");
        ensure!(member.envoy_pid()? == envoy && member.dataplane_pid()? == plane);
        Ok(())
    });
}

fn replaced(old: Pid, now: impl Fn() -> Result<Pid>) -> Result<Pid> {
    wait_until(format!("{old} to be replaced"), LIMIT, || {
        let pid = now()?;
        ensure!(pid != old && lab::process::alive(pid), "{pid}");
        Ok(pid)
    })
}

fn serves(fixture: &Fixture) -> Result<()> {
    let target = fixture.cluster.members[0].listener(WEB_PORT);
    wait_until("traffic", LIMIT, || {
        let load = Plan { senders: 1, ..Plan::new(&Place::Here, &[target]) }.http(HOST, "/")?;
        let answered = load.wait_answered(10, Duration::from_secs(1));
        let report = load.stop();
        answered?;
        ensure!(report.with_status(&[200]) == report.sent, "{report}");
        Ok(())
    })
}
