//! The leader dies; writes go on and no request notices.

use std::time::{Duration, Instant};

use anyhow::ensure;
use chaos_tests::{Fixture, LIMIT, scenario};
use lab::documents;
use lab::waiting::wait_until;

/// The bar for writes after the leader's death.
const FAILOVER_MAX: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

#[test]
fn cluster_a_leader_killed_with_9_costs_no_request_and_writes_go_on_within_two_seconds() {
    scenario(Fixture::serving(3), |fixture| {
        let load = fixture.traffic()?;
        for round in 0..ROUNDS {
            let leader = fixture.cluster.leader()?;
            let other = (leader + 1) % 3;
            let plane = fixture.cluster.members[leader].dataplane_pid()?;
            fixture.cluster.members[leader].kill_control();
            let start = Instant::now();
            let mut api = fixture.cluster.api(other)?;
            let document =
                documents::service(&format!("after-{round}"), &[fixture.backend.address()]);
            wait_until("a write after the leader's death", LIMIT, || api.apply(&document))?;
            let took = start.elapsed();
            ensure!(took < FAILOVER_MAX, "round {round}: writes went on after {took:?}");
            load.wait_answered(100, LIMIT)?;
            fixture.cluster.members[leader].restart()?;
            fixture.cluster.wait_voters(3, LIMIT)?;
            let now = fixture.cluster.members[leader].dataplane_pid()?;
            ensure!(now == plane, "the data plane {plane} was replaced by {now}");
        }
        let report = load.stop();
        ensure!(report.faults() == 0 && report.broken == 0, "{report}");
        Ok(())
    });
}
