//! A change reaches one node first. What does harm there is taken back and never seen elsewhere; what
//! does not goes on, step by step.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chaos_tests::{Fixture, HOST, LIMIT, scenario};
use lab::load::{Load, Plan, Report};
use lab::waiting::{wait_for, wait_until};
use lab::{Place, documents};
use serde_json::Value;

/// The node that is first, as the others see it.
const CANARY: usize = 1;
/// The bar: a bad change is gone everywhere by then.
const TAKEN_BACK: Duration = Duration::from_secs(10);

#[test]
fn cluster_a_change_that_fails_requests_never_leaves_the_canary_and_a_good_one_does() {
    scenario(Fixture::serving(3), |fixture| {
        fixture.cluster.apply(0, &policy(fixture, "3s"))?;
        a_bad_change(fixture)?;
        a_good_change(fixture)?;
        a_write_to_all_at_once(fixture)
    });
}

fn a_bad_change(fixture: &Fixture) -> Result<()> {
    let canary = load(fixture, |node| node == CANARY, HOST)?;
    let others = load(fixture, |node| node != CANARY, HOST)?;
    let before = fixture.cluster.status(0)?.revision();
    let begun = Instant::now();
    let bad = documents::http_route("shop", "web", HOST, "shop")
        .replace("rules: [{ ", "rules: [{ fault: { abort: { status: 503, percent: 5 } }, ");
    ensure!(bad.contains("fault"), "the document is another one: {bad}");
    apply(fixture, &bad, &[])?;
    let rollout = wait_phase(fixture, "aborted")?;
    let took = begun.elapsed();
    println!("taken back after {took:?}: {}", rollout["reason"]);
    ensure!(took < TAKEN_BACK, "{took:?} until it was taken back");
    let reason = rollout["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("responses are 5xx, more than 1 %"), "{rollout}");
    ensure!(rollout["base"] == before, "{rollout}");
    // All engines have what was before, as a new revision.
    let revision = fixture.cluster.status(0)?.revision();
    ensure!(revision > before + 1, "revision {revision} after {before}");
    fixture.cluster.wait_applied(revision, begun, LIMIT)?;
    let harmed = canary.stop();
    ensure!(harmed.with_status(&[503]) > 0, "the canary has not seen it: {harmed}");
    let unharmed = others.stop();
    ensure!(clean(&unharmed), "others have: {unharmed}");
    let again = load(fixture, |_| true, HOST)?;
    again.wait_answered(300, LIMIT)?;
    let report = again.stop();
    ensure!(clean(&report), "it is not gone: {report}");
    let history = fixture.cluster.api(2)?.get("/v1/history?limit=1")?.to_string();
    ensure!(history.contains("taken back"), "{history}");
    Ok(())
}

fn a_good_change(fixture: &mut Fixture) -> Result<()> {
    let others = load(fixture, |node| node != CANARY, HOST)?;
    apply(fixture, &documents::http_route("new", "web", "new.example", "shop"), &[])?;
    wait_for_rollout(fixture, "its first step", |rollout| {
        rollout["nodes"].as_array().is_some_and(|nodes| nodes.len() == 1)
    })?;
    run(fixture, &["rollout", "pause"])?;
    wait_until("the canary to serve it", LIMIT, || {
        let report = ask(fixture, |node| node == CANARY)?;
        ensure!(report.with_status(&[200]) > 0, "{report}");
        Ok(())
    })?;
    let elsewhere = ask(fixture, |node| node != CANARY)?;
    ensure!(elsewhere.with_status(&[404]) == elsewhere.sent, "it is held back: {elsewhere}");
    // Who begins anew is not told of it either.
    for node in [0, 2] {
        let member = &fixture.cluster.members[node];
        nix::sys::signal::kill(member.dataplane_pid()?, nix::sys::signal::Signal::SIGKILL)?;
    }
    wait_until("the data planes to be back", LIMIT, || {
        let status = fixture.cluster.status(1)?;
        let connected = status.0["reports"].as_array().context("reports")?;
        let all = connected.iter().all(|report| report["connected"] == true);
        ensure!(all && connected.len() == 3, "{connected:?}");
        Ok(())
    })?;
    let elsewhere = ask(fixture, |node| node != CANARY)?;
    ensure!(elsewhere.with_status(&[404]) == elsewhere.sent, "it leaked: {elsewhere}");
    // Who leads next knows where it stands.
    let leader = fixture.cluster.leader()?;
    fixture.cluster.members[leader].kill_control();
    run(fixture, &["rollout", "resume"])?;
    fixture.cluster.members[leader].spawn_again()?;
    wait_phase(fixture, "completed")?;
    wait_until("all to serve it", LIMIT, || {
        let report = ask(fixture, |_| true)?;
        ensure!(report.with_status(&[200]) == report.sent, "{report}");
        Ok(())
    })?;
    let report = others.stop();
    ensure!(clean(&report), "{report}");
    Ok(())
}

fn a_write_to_all_at_once(fixture: &Fixture) -> Result<()> {
    // It would take a day.
    apply(fixture, &policy(fixture, "24h"), &["--all-at-once"])?;
    let slow = documents::http_route("slow", "web", "slow.example", "shop");
    apply(fixture, &slow, &[])?;
    let urgent = documents::http_route("urgent", "web", "urgent.example", "shop");
    apply(fixture, &urgent, &["--all-at-once", "--wait"])?;
    let rollout = wait_phase(fixture, "completed")?;
    ensure!(rollout["reason"] == "a write to all at once", "{rollout}");
    // A refusal is not worth waiting for, either.
    apply(fixture, &slow.replace("slow.example", "other.example"), &[])?;
    run(fixture, &["rollout", "abort", "-m", "a mistake"])?;
    let rollout = wait_phase(fixture, "aborted")?;
    ensure!(rollout["reason"] == "a mistake", "{rollout}");
    let route = fixture.cluster.api(0)?.get("/v1/objects/httproutes/default/slow")?.to_string();
    ensure!(route.contains("slow.example"), "{route}");
    Ok(())
}

fn policy(fixture: &Fixture, hold: &str) -> String {
    let name = &fixture.cluster.members[CANARY].settings().name;
    format!(
        "kind: RolloutPolicy\nmetadata: {{ name: careful }}\nspec:\n  steps: [{{ nodes: [{name}], hold: \
         {hold} }}, {{ percent: 60, hold: 1s }}]\n  gates: {{ errors: {{ maxPercent: 1, minRequests: 50 \
         }} }}\n"
    )
}

fn apply(fixture: &Fixture, document: &str, further: &[&str]) -> Result<()> {
    let words = [&["apply", "-f", "-"], further].concat();
    let output = fixture.cluster.members[0].run_with(&words, document)?;
    ensure!(output.success(), "{}", output.stderr);
    Ok(())
}

fn run(fixture: &Fixture, words: &[&str]) -> Result<()> {
    wait_until(words.join(" "), LIMIT, || {
        let mut said = String::new();
        for member in &fixture.cluster.members {
            let output = member.run(words)?;
            if output.success() {
                return Ok(());
            }
            said += &output.stderr;
        }
        bail!("{said}")
    })
}

fn wait_phase(fixture: &Fixture, phase: &str) -> Result<Value> {
    wait_for_rollout(fixture, phase, |rollout| rollout["phase"] == phase)
}

fn wait_for_rollout(
    fixture: &Fixture,
    what: &str,
    is_so: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let mut found = Value::Null;
    let looked = wait_for(format!("the rollout: {what}"), LIMIT, || {
        let ask = |node| fixture.cluster.api(node).and_then(|mut api| api.get("/v1/rollout"));
        let answer = (0..fixture.cluster.members.len()).find_map(|node| ask(node).ok());
        found = answer.map(|answer| answer["rollout"].clone()).unwrap_or_default();
        is_so(&found)
    });
    looked.with_context(|| found.to_string())?;
    Ok(found)
}

/// Steady requests to some of the nodes.
fn load(fixture: &Fixture, which: impl Fn(usize) -> bool, host: &str) -> Result<Load> {
    let web = fixture.web();
    let targets: Vec<_> =
        web.iter().enumerate().filter(|(node, _)| which(*node)).map(|(_, it)| *it).collect();
    let plan = Plan { interval: Duration::from_millis(5), ..Plan::new(&Place::Here, &targets) };
    let load = plan.http(host, "/")?;
    load.wait_answered(20, LIMIT)?;
    Ok(load)
}

fn ask(fixture: &Fixture, which: impl Fn(usize) -> bool) -> Result<Report> {
    let load = load(fixture, which, "new.example")?;
    load.wait_answered(40, LIMIT)?;
    Ok(load.stop())
}

fn clean(report: &Report) -> bool {
    report.broken == 0 && report.with_status(&[200]) == report.sent
}
