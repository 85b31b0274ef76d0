//! Three nodes form a cluster by themselves and agree.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use chaos_tests::{Fixture, LIMIT, scenario};
use lab::waiting::wait_until;

#[test]
fn cluster_three_nodes_form_and_agree_on_what_a_follower_took() {
    scenario(Fixture::new(3), |fixture| {
        fixture.cluster.form()?;
        let context = fixture.cluster.members[0].context_file();
        let mode = fs::metadata(&context)?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "the context file has mode {mode:o}");
        let follower = (fixture.cluster.leader()? + 1) % 3;
        let revision = fixture.cluster.apply(follower, &fixture.base())?;
        for index in 0..3 {
            let mut api = fixture.cluster.api(index)?;
            for object in ["Listener/default/web", "Service/default/shop", "HTTPRoute/default/shop"]
            {
                api.get(&format!("/v1/objects/{object}"))?;
            }
            let seen = fixture.cluster.status(index)?.revision();
            ensure!(seen >= revision, "node {} is at {seen}, not {revision}", index + 1);
        }
        let report = fixture.traffic()?.stop();
        ensure!(report.faults() == 0, "{report}");
        ensure!(report.by_server.contains_key("backend"), "{report}");
        Ok(())
    });
}

#[test]
fn cluster_the_same_command_on_every_host_forms_one_cluster() {
    scenario(Fixture::new(3), |fixture| {
        let secret = fixture.instance.directory().join("secret");
        fs::write(&secret, "a-secret-of-more-than-thirty-two-characters")?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
        let secret = secret.display().to_string();
        let peers: Vec<String> = fixture
            .cluster
            .members
            .iter()
            .map(|member| member.settings().address.to_string())
            .collect();
        let peers = peers.join(",");
        let further = ["--expect", "3", "--peers", &peers, "--cluster-secret-file", &secret];
        for member in &mut fixture.cluster.members {
            member.spawn(&["up"], &further)?;
        }
        for member in &mut fixture.cluster.members {
            member.wait_serving()?;
        }
        wait_until("a context file", LIMIT, || fixture.cluster.context().map(drop))?;
        one_cluster(fixture)
    });
}

fn one_cluster(fixture: &Fixture) -> Result<()> {
    fixture.cluster.wait_voters(3, LIMIT)?;
    let leader = fixture.cluster.leader()?;
    for index in 0..3 {
        let seen = wait_until("the same leader", LIMIT, || fixture.cluster.leader_seen_by(index))?;
        ensure!(seen == leader, "node {} sees leader {}, not {}", index + 1, seen + 1, leader + 1);
    }
    Ok(())
}
