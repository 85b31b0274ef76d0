//! Many changes as fast as they are taken, while requests pass: new hosts, and a route that is
//! pointed back and forth between two services of which one is then removed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::documents;
use lab::load::{Load, Plan, Report};
use serde::Serialize;

use super::{
    Arguments,
    site::{self, Site},
};
use crate::progress::{Step, step};

/// Requests a second to all nodes while a route changes.
const REQUESTS_PER_SECOND: usize = 5_000;
/// What one connection of the generator sends in a second.
const PER_SENDER: usize = 100;
const LIMIT: Duration = Duration::from_secs(60);
const HOST: &str = "moving.bench.example";

/// What came of one of them.
#[derive(Debug, Serialize)]
pub(super) struct Loaded {
    what: String,
    changes: usize,
    seconds: f64,
    /// Answers a second meanwhile.
    answers: f64,
    /// Requests that failed, and answers that a path without changes would not give.
    faults: u64,
    report: Report,
}

impl Loaded {
    pub(super) fn held(&self) -> bool {
        self.faults == 0
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of one run")]
    fn of(what: &str, changes: usize, begin: Instant, load: Load, good: &[u16]) -> Self {
        let seconds = begin.elapsed().as_secs_f64();
        let report = load.stop();
        Self {
            what: what.to_owned(),
            changes,
            seconds,
            answers: report.answered as f64 / seconds,
            faults: report.failed + report.answered - report.with_status(good),
            report,
        }
    }
}

pub(super) fn measure(arguments: &Arguments, site: &Site) -> Result<Vec<Loaded>> {
    let mut all = Vec::new();
    if arguments.adds > 0 {
        all.push(step(format!("{} hosts added under load", arguments.adds), |step| {
            adds(arguments.adds, site, step)
        })?);
    }
    if arguments.repoints > 0 {
        all.push(step(format!("{} repoints under load", arguments.repoints), |step| {
            repoints(arguments.repoints, site, step)
        })?);
    }
    Ok(all)
}

/// Adds hosts; the requests are for one that is there all the time, and for one that comes late.
fn adds(count: usize, site: &Site, step: &Step) -> Result<Loaded> {
    let mut api = site.follower()?;
    let plan = Plan {
        senders: 2,
        interval: Duration::from_millis(5),
        ..Plan::new(&site.client, &site.listeners(site::WEB_PORT))
    };
    let load = plan.http(&format!("add{}.bench.example", count / 2), "/")?;
    load.wait_answered(100, LIMIT)?;
    let begin = Instant::now();
    let mut revision = 0;
    for index in 0..count {
        let name = format!("add{index}");
        let host = format!("{name}.bench.example");
        let documents = documents::service(&name, &site.backends[..1])
            + &documents::http_route(&name, "web", &host, &name);
        revision = api.apply(&documents)?.0;
        step.note(format!("{} of {count}", index + 1));
    }
    site.cluster.wait_applied(revision, begin, LIMIT)?;
    Ok(Loaded::of("hosts added", count, begin, load, &[200, 404]))
}

/// Points a route back and forth, then removes the service that it does not lead to.
fn repoints(count: usize, site: &Site, step: &Step) -> Result<Loaded> {
    let mut api = site.follower()?;
    let services = ["old", "new"];
    for (name, backend) in services.into_iter().zip(&site.backends) {
        api.apply(&documents::service(name, &[*backend]))?;
    }
    let route = |to: usize| documents::http_route("moving", "web", HOST, services[to % 2]);
    api.apply_everywhere(&route(0))?;
    let targets = site.listeners(site::WEB_PORT);
    let plan = Plan {
        senders: REQUESTS_PER_SECOND.div_ceil(PER_SENDER * targets.len()),
        interval: Duration::from_millis(1_000 / PER_SENDER as u64),
        ..Plan::new(&site.client, &targets)
    };
    let load = plan.http(HOST, "/")?;
    load.wait_answered(REQUESTS_PER_SECOND as u64, LIMIT)?;
    let begin = Instant::now();
    for turn in 1..=count {
        api.apply(&route(turn))?;
        step.note(format!("{turn} of {count}"));
    }
    let left = services[(count + 1) % 2];
    let answer = api.send("DELETE", &format!("/v1/objects/services/default/{left}"), "")?;
    let revision: u64 = answer
        .head
        .header("x-marchproxy-revision")
        .and_then(|text| text.parse().ok())
        .with_context(|| format!("removing {left}: {}", answer.text()))?;
    site.cluster.wait_applied(revision, begin, LIMIT)?;
    load.wait_answered(REQUESTS_PER_SECOND as u64, LIMIT)?;
    Ok(Loaded::of("repoints", count, begin, load, &[200]))
}

pub(super) fn print(all: &[Loaded]) {
    for one in all {
        println!(
            "\n{} {} in {:.1} s, {:.0} answers a second, {} faults: {}\n  {}",
            one.changes,
            one.what,
            one.seconds,
            one.answers,
            one.faults,
            if one.held() { "held" } else { "MISSED" },
            one.report
        );
    }
}
