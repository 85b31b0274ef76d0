//! Without any control process traffic goes on, and a data plane that starts cold serves its last
//! accepted revision.

use anyhow::ensure;
use chaos_tests::{Fixture, HOST, LIMIT, WEB_PORT, scenario};
use lab::Place;
use lab::load::Plan;
use lab::waiting::wait_until;
use nix::sys::signal::{Signal, kill};

#[test]
fn cluster_data_planes_carry_on_and_start_cold_without_any_control() {
    scenario(Fixture::serving(3), |fixture| {
        let load = fixture.traffic()?;
        for member in &mut fixture.cluster.members {
            member.kill_control();
        }
        load.wait_answered(500, LIMIT)?;
        let report = load.stop();
        ensure!(report.faults() == 0 && report.broken == 0, "without control: {report}");

        let member = &fixture.cluster.members[0];
        let (plane, envoy) = (member.dataplane_pid()?, member.envoy_pid()?);
        kill(plane, Signal::SIGKILL)?;
        ensure!(member.envoy_pid()? == envoy, "Envoy ended with its data plane");
        kill(envoy, Signal::SIGKILL)?;
        wait_until("Envoy to end", LIMIT, || {
            ensure!(!lab::process::alive(envoy), "Envoy {envoy} lives");
            Ok(())
        })?;
        let _plane = member.spawn_dataplane()?;
        let target = member.listener(WEB_PORT);
        wait_until("the cold data plane to serve", LIMIT, || {
            let load = Plan { senders: 1, ..Plan::new(&Place::Here, &[target]) }.http(HOST, "/")?;
            let answered = load.wait_answered(20, std::time::Duration::from_secs(2));
            let report = load.stop();
            answered?;
            ensure!(report.with_status(&[200]) == report.sent, "{report}");
            ensure!(report.by_server.contains_key("backend"), "{report}");
            Ok(())
        })?;

        for member in &mut fixture.cluster.members {
            member.spawn_again()?;
        }
        for member in &mut fixture.cluster.members {
            member.wait_serving()?;
        }
        fixture.cluster.wait_voters(3, LIMIT)?;
        let revision = fixture.cluster.apply(0, &fixture.base().replace("shop", "again"))?;
        ensure!(revision > 0, "no revision after the return");
        Ok(())
    });
}
