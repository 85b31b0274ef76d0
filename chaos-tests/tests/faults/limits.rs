//! A limit of requests that all nodes count together is one limit, whoever counts it goes away.

use std::net::TcpStream;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use chaos_tests::{Fixture, HOST, LIMIT, scenario};
use lab::Place;
use lab::http1::{Connection, Request};
use lab::load::{Load, Plan};
use lab::waiting::wait_until;
use nix::sys::signal::{Signal, kill};

/// The limit: requests a second, and how many may come at once.
const RATE: f64 = 200.0;
const BURST: f64 = 40.0;
/// What is sent to a node in a second: the limit itself, so that one node alone could use it up.
const EACH: u32 = 200;
/// How long is counted.
const WINDOW: Duration = Duration::from_secs(5);
/// What was leased is used for so long, in seconds.
const LEASE: f64 = 0.5;

#[test]
fn cluster_a_limit_of_all_nodes_is_one_and_no_request_fails_when_its_owner_is_killed() {
    scenario(Fixture::serving(3), |fixture| {
        values_are_counted_together(fixture)?;
        let policy = format!(
            "kind: RateLimit\nmetadata: {{ name: all }}\nspec: {{ targetRefs: [{{ kind: HTTPRoute, \
             name: shop }}], requests: {RATE}, interval: 1s, burst: {BURST}, scope: Cluster }}\n"
        );
        apply(fixture, &policy)?;
        let load = send(fixture, &[1])?;
        limited(&load, 0.9..=1.0, "one node may use all")?;
        drop(load.stop());
        let load = send(fixture, &[0, 1, 2])?;
        limited(&load, 0.97..=1.0, "three nodes share it")?;

        let owner = owner(fixture)?;
        fixture.cluster.members[owner].kill_control();
        // Until its death is noticed, nodes have their own shares; then it is counted by another. The data
        // plane beside it has nobody to ask, and a third for itself.
        limited(&load, 0.6..=4.0 / 3.0, "its owner is killed")?;
        limited(&load, 0.97..=4.0 / 3.0, "another one counts it")?;
        fixture.cluster.members[owner].restart()?;
        limited(&load, 0.8..=4.0 / 3.0, "the owner is back")?;
        limited(&load, 0.97..=1.0, "all ask it")?;

        no_request_failed(load)?;
        without_a_data_plane(fixture, owner)
    });
}

/// Its Envoy has nobody to ask, and lets through twice the limit.
fn without_a_data_plane(fixture: &mut Fixture, node: usize) -> Result<()> {
    fixture.cluster.members[node].kill_control();
    kill(fixture.cluster.members[node].dataplane_pid()?, Signal::SIGKILL)?;
    let loads: Vec<Load> = (0..5).map(|_| send(fixture, &[node])).collect::<Result<_>>()?;
    let passed =
        || -> f64 { loads.iter().map(|load| load.report().with_status(&[200]) as f64).sum() };
    let (before, start) = (passed(), Instant::now());
    wait(WINDOW);
    let share = (passed() - before) / (RATE * start.elapsed().as_secs_f64());
    println!("without a data plane: {share:.3} of the limit");
    // The burst is gone with the first answers, or comes on top.
    ensure!((1.9..=2.2).contains(&share), "{share:.3} of the limit without a data plane");
    loads.into_iter().try_for_each(no_request_failed)
}

fn no_request_failed(load: Load) -> Result<()> {
    let report = load.stop();
    let other = report.sent - report.with_status(&[200, 429]);
    ensure!(other == 0 && report.faults() == 0, "requests failed: {report}");
    Ok(())
}

/// What a value used up on one node is used up on the others.
fn values_are_counted_together(fixture: &Fixture) -> Result<()> {
    let policy = "kind: RateLimit\nmetadata: { name: keys }\nspec: { targetRefs: [{ kind: HTTPRoute, \
                  name: shop }], requests: 3, interval: 1h, per: { header: x-key }, scope: Cluster }\n";
    apply(fixture, policy)?;
    let ask = |node: usize, key: &str| -> Result<u16> {
        let stream = TcpStream::connect(fixture.web()[node])?;
        stream.set_read_timeout(Some(LIMIT))?;
        let request = Request { headers: &[("x-key", key)], ..Request::get(HOST, "/") };
        Ok(Connection::new(stream).send(&request)?.head.status)
    };
    // As soon as all nodes are linked; before, they let through what is theirs alone.
    wait_until("an exact count", LIMIT, || {
        for key in ["a", "b", "c", "d"].map(|key| format!("{key}{:?}", Instant::now())) {
            let answers = [0, 1, 2, 0, 1, 2].map(|node| ask(node, &key).unwrap_or(0));
            ensure!(answers == [200, 200, 200, 429, 429, 429], "{key}: {answers:?}");
        }
        Ok(())
    })?;
    let path = "/v1/objects/ratelimits/default/keys";
    let answer = fixture.cluster.api(0)?.send("DELETE", path, "")?;
    ensure!(answer.head.status == 200, "{}", answer.text());
    Ok(())
}

fn apply(fixture: &Fixture, documents: &str) -> Result<()> {
    let begun = Instant::now();
    let revision = fixture.cluster.apply(0, documents)?;
    fixture.cluster.wait_applied(revision, begun, LIMIT)?;
    Ok(())
}

/// Sends to some nodes, to each as much as the limit is.
fn send(fixture: &Fixture, nodes: &[usize]) -> Result<Load> {
    let web = fixture.web();
    let targets: Vec<_> = nodes.iter().map(|node| web[*node]).collect();
    let senders = 2;
    let interval = Duration::from_secs(1) * senders as u32 / EACH;
    let plan = Plan { senders, interval, ..Plan::new(&Place::Here, &targets) };
    let load = plan.http(HOST, "/")?;
    load.wait_answered(100, LIMIT)?;
    Ok(load)
}

/// Counts what passes for a while; returns how many, and in how many seconds.
fn passing(load: &Load) -> (f64, f64) {
    let passed = || load.report().with_status(&[200]) as f64;
    let (before, start) = (passed(), Instant::now());
    wait(WINDOW);
    (passed() - before, start.elapsed().as_secs_f64())
}

fn wait(time: Duration) {
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()) {
        // It may return early.
        std::thread::park_timeout(left);
    }
}

/// What passes is such a part of the limit.
fn limited(load: &Load, shares: RangeInclusive<f64>, when: &str) -> Result<()> {
    let (passed, seconds) = passing(load);
    let share = passed / (RATE * seconds);
    println!("{when}: {share:.3} of the limit");
    let most = shares.end() * RATE * seconds + LEASE * RATE + BURST;
    ensure!(passed <= most, "{when}: {passed} in {seconds} s");
    ensure!(share >= *shares.start(), "{when}: {passed} in {seconds} s");
    Ok(())
}

/// Finds the node that counts.
fn owner(fixture: &Fixture) -> Result<usize> {
    for node in 0..3 {
        let metrics = fixture.cluster.api(node)?.send("GET", "/metrics", "")?.text();
        let counts = |line: &str| {
            line.strip_prefix("marchproxy_quota_leased_total ").is_some_and(|count| count != "0")
        };
        // Of what was counted before this limit, little was leased.
        let leased = metrics.lines().find(|line| counts(line));
        println!("node {}: {leased:?}", node + 1);
        let count = leased.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        if count.is_some_and(|count| count > RATE) {
            return Ok(node);
        }
    }
    anyhow::bail!("nobody counts")
}
