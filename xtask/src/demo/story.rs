//! The steps of the demo, each with its measurement.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::documents;
use lab::latency::Latencies;
use lab::load::{Load, Plan};
use lab::status;
use lab::waiting::{wait_for, wait_until};

use super::scene::{ORDERS_PORT, Scene, TICKS_PORT, WEB_PORT};
use super::verdict::Verdict;
use crate::bench::HttpWatch;
use crate::progress::{Step, step};

const HOST: &str = "shop.example";
/// Changes whose way to the traffic is timed.
const CHANGES: usize = 20;
/// The bar: writes go on within this after the leader's death.
const FAILOVER_MAX: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(30);

/// The traffic that runs through the whole story.
struct Traffic {
    http: Load,
    tcp: Load,
    udp: Load,
}

/// Plays all steps.
///
/// # Errors
/// When a step cannot go on. What merely falls short is in the verdict.
pub(super) fn tell(scene: &mut Scene) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let start = Instant::now();
    step("`marchproxy up`, and `marchproxy join` twice", |_| scene.cluster.form())?;
    verdict.note(format_args!("three voters after {:.1} s", start.elapsed().as_secs_f64()));
    let engines = if scene.xdp { "Envoy and XDP" } else { "Envoy" };
    step(format!("{engines} of every node took its first configuration"), |_| {
        scene.cluster.settle()
    })?;
    apply_shop(scene, &mut verdict)?;
    check_engines(scene, &mut verdict)?;
    let traffic =
        step("traffic: HTTP, TCP flows, UDP, to all three nodes", |_| start_traffic(scene))?;
    propagation(scene, &mut verdict)?;
    let killed = kill_leader(scene, &traffic, &mut verdict)?;
    restart(scene, killed, &traffic, &mut verdict)?;
    sick_backend(scene, &traffic, &mut verdict)?;
    let Traffic { http, tcp, udp } = traffic;
    let (http, tcp, udp) = (http.stop(), tcp.stop(), udp.stop());
    verdict.bar(http.faults() == 0, format_args!("HTTP: {http}"));
    verdict.note(format_args!("HTTP by backend: {:?}", http.by_server));
    verdict.bar(
        tcp.broken == 0 && tcp.failed == 0,
        format_args!(
            "TCP: {} established flows kept of {}; {tcp}",
            tcp.opened - tcp.broken,
            tcp.opened
        ),
    );
    verdict.bar(udp.failed == 0, format_args!("UDP: {udp}"));
    let packets = 2 * (tcp.answered + udp.answered);
    let carrier = if scene.xdp { "XDP" } else { "Envoy" };
    verdict.note(format_args!("at least {packets} payload packets through {carrier}, both ways"));
    Ok(verdict)
}

fn apply_shop(scene: &Scene, verdict: &mut Verdict) -> Result<()> {
    let follower = (scene.cluster.leader()? + 1) % scene.cluster.members.len();
    let start = Instant::now();
    let revision = step("`apply -f examples/shop.yaml --wait` through a follower", |_| {
        scene.cluster.apply(follower, &scene.shop)
    })?;
    verdict.note(format_args!(
        "revision {revision} ran on every engine of every node after {:.0} ms",
        start.elapsed().as_secs_f64() * 1e3
    ));
    Ok(())
}

/// As root, XDP must carry L4 on every node; what each engine says is shown.
fn check_engines(scene: &Scene, verdict: &mut Verdict) -> Result<()> {
    let status = scene.cluster.status(0)?;
    for (node, engine, report) in status.engines() {
        let node = status.name(node).unwrap_or("a node that left");
        verdict.note(format_args!("{node}, {engine}: {}", status::words(report)));
    }
    if scene.xdp {
        let running = status
            .engines()
            .filter(|(_, engine, report)| *engine == "xdp" && report["state"] == "applied")
            .count();
        verdict.bar(running == 3, format_args!("XDP runs the revision on {running} of 3 nodes"));
    }
    Ok(())
}

fn start_traffic(scene: &Scene) -> Result<Traffic> {
    let plan = |port, senders, interval| Plan {
        senders,
        interval: Duration::from_millis(interval),
        ..Plan::new(&scene.client, &scene.targets(port))
    };
    let traffic = Traffic {
        http: plan(WEB_PORT, 3, 20).http(HOST, "/")?,
        tcp: plan(ORDERS_PORT, 4, 20).tcp()?,
        udp: plan(TICKS_PORT, 3, 20).udp()?,
    };
    traffic.http.wait_answered(500, LIMIT).context("HTTP")?;
    traffic.tcp.wait_answered(300, LIMIT).context("TCP")?;
    traffic.udp.wait_answered(300, LIMIT).context("UDP")?;
    Ok(traffic)
}

/// New hosts, one after the other: from the API's answer to the first request that sees it.
fn propagation(scene: &Scene, verdict: &mut Verdict) -> Result<()> {
    let step = Step::begin(format!("{CHANGES} new hosts, timed on each node"));
    let watch =
        HttpWatch::start(&scene.client, &scene.targets(WEB_PORT), 1, Duration::from_millis(1))?;
    let follower = (scene.cluster.leader()? + 1) % scene.cluster.members.len();
    let mut api = scene.cluster.api(follower)?;
    let mut latencies = Latencies::default();
    for change in 0..CHANGES {
        let host = format!("new-{change}.demo.example");
        watch.expect(&host, None)?;
        let route = documents::http_route(&format!("new-{change}"), "web", &host, "storefront");
        let (_, answered) = api.apply(&route)?;
        for seen in watch.seen(LIMIT)? {
            latencies.add(seen.saturating_duration_since(answered));
        }
        step.note(change + 1);
    }
    let percentiles = latencies.percentiles();
    let (statuses, failures, _) = watch.counts();
    let other = failures
        + statuses
            .iter()
            .filter(|(code, _)| !matches!(code, 200 | 404))
            .map(|(_, n)| n)
            .sum::<u64>();
    let text = format!(
        "API's answer to the first request that sees the change: p50 {:.1} ms, p99 {:.1} ms",
        percentiles.p50_ms, percentiles.p99_ms
    );
    step.done(&text);
    // The bar for this is in `bench propagation`, which measures the release build undisturbed.
    verdict.note(text);
    verdict.bar(other == 0, format_args!("answers other than 200 and 404 meanwhile: {other}"));
    Ok(())
}

/// Kills the leader's control process with -9 and writes through another node until it goes.
fn kill_leader(scene: &mut Scene, traffic: &Traffic, verdict: &mut Verdict) -> Result<usize> {
    let leader = scene.cluster.leader()?;
    let pid = scene.cluster.members[leader].control()?.pid();
    let step =
        Step::begin(format!("kill -9 {pid}: the leader's control process (node-{})", leader + 1));
    let other = (leader + 1) % scene.cluster.members.len();
    scene.cluster.members[leader].kill_control();
    let start = Instant::now();
    let mut api = scene.cluster.api(other)?;
    let new_leader = wait_until("a new leader", LIMIT, || {
        let seen = scene.cluster.leader_seen_by(other)?;
        ensure!(seen != leader, "the dead one is still named");
        Ok(seen)
    })?;
    let elected = start.elapsed();
    let document = documents::http_route("after", "web", "after.demo.example", "cart");
    wait_until("a write", LIMIT, || api.apply(&document))?;
    let written = start.elapsed();
    traffic.http.wait_answered(300, LIMIT).context("HTTP after the leader's death")?;
    traffic.tcp.wait_answered(200, LIMIT).context("TCP after the leader's death")?;
    traffic.udp.wait_answered(200, LIMIT).context("UDP after the leader's death")?;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let text = format!(
        "new leader (node-{}) after {:.0} ms, first write after {:.0} ms",
        new_leader + 1,
        milliseconds(elected),
        milliseconds(written)
    );
    step.done(&text);
    verdict.bar(written < FAILOVER_MAX, text);
    Ok(leader)
}

/// Starts the killed control process again, with no flags; it takes up the data plane that ran on.
fn restart(
    scene: &mut Scene,
    killed: usize,
    traffic: &Traffic,
    verdict: &mut Verdict,
) -> Result<()> {
    let plane = scene.cluster.members[killed].dataplane_pid()?;
    let revision = scene.cluster.status((killed + 1) % 3)?.revision();
    step(format!("`marchproxy up` on node-{} again", killed + 1), |_| {
        scene.cluster.members[killed].restart()?;
        wait_until("the restarted node to catch up", LIMIT, || {
            let seen = scene.cluster.status(killed)?.revision();
            ensure!(seen >= revision, "it is at {seen}, the others at {revision}");
            Ok(())
        })
    })?;
    let adopted = scene.cluster.members[killed].dataplane_pid()? == plane;
    verdict.bar(adopted, "the restarted control process took up the data plane that ran on");
    traffic.http.wait_answered(200, LIMIT)
}

/// A backend that answers its probe with 503 leaves Envoy on every node, without a failed request.
fn sick_backend(scene: &Scene, traffic: &Traffic, verdict: &mut Verdict) -> Result<()> {
    let (name, server) = &scene.web[0];
    let step = Step::begin(format!("{name} answers its health check with 503"));
    let served = || traffic.http.report().by_server.get(*name).copied().unwrap_or(0);
    server.set_healthy(false);
    let start = Instant::now();
    let mut last = (served(), Instant::now(), traffic.http.report().answered);
    let left = wait_for("it to get no more requests", LIMIT, || {
        let (served, answered) = (served(), traffic.http.report().answered);
        if served != last.0 {
            last = (served, Instant::now(), answered);
        }
        // Its share is above a third: 200 answers in a row from others are no chance.
        answered > last.2 + 200
    });
    let gone = last.1 - start;
    server.set_healthy(true);
    let text = match &left {
        Ok(()) => format!(
            "{name} left the balancing {:.0} ms after it fell sick",
            gone.as_secs_f64() * 1e3
        ),
        Err(error) => format!("{name} did not leave the balancing: {error:#}"),
    };
    step.done(&text);
    verdict.bar(left.is_ok(), text);
    Ok(())
}
