//! Changes that Envoy carries: a new host, another endpoint, another service, another certificate.

use std::time::Instant;

use anyhow::{Result, ensure};
use lab::documents;

use super::{
    Arguments, Change, POLL, SEEN_MAX,
    cost::Meter,
    row::{Row, Samples},
    site::{self, Site},
};
use crate::bench::{watch_http::HttpWatch, watch_tls::TlsWatch};
use crate::progress::Step;

pub(super) fn measure(
    arguments: &Arguments,
    site: &Site,
    change: Change,
    services: usize,
    step: &Step,
) -> Result<Row> {
    if change == Change::Certificate {
        return certificates(arguments, site, services, step);
    }
    let mut api = site.follower()?;
    if change == Change::Route {
        for (name, backend) in ["left", "right"].into_iter().zip(&site.backends) {
            api.apply(&documents::service(name, &[*backend]))?;
        }
        api.apply(&repointed(0))?;
    }
    let targets = site.listeners(site::WEB_PORT);
    let watch = HttpWatch::start(&site.client, &targets, arguments.connections, POLL)?;
    let meter = Meter::begin(site)?;
    let mut samples = Samples::default();
    for trial in 0..arguments.trials {
        let odd = (trial + 1) % 2;
        let (host, server, documents) = match change {
            Change::Host => {
                let index = services + trial;
                (site::host(index), None, site::one_host(index, site.backends[0]))
            }
            Change::Endpoint => (
                site::host(0),
                Some(site::BACKENDS[odd]),
                documents::service("s0", &[site.backends[odd]]),
            ),
            _ => (REPOINTED.to_owned(), Some(site::BACKENDS[odd]), repointed(odd)),
        };
        watch.expect(&host, server)?;
        let sent = Instant::now();
        let answered = api.apply_everywhere(&documents)?;
        samples.add(sent, answered, &watch.seen(SEEN_MAX)?);
        step.note(trial + 1);
    }
    let cost = meter.end(site, arguments.trials)?;
    let (statuses, failures, poll) = watch.counts();
    let good: u64 = [200, 404].iter().filter_map(|status| statuses.get(status)).sum();
    let other = statuses.values().sum::<u64>() - good + failures;
    samples.row((change, services, arguments.trials), site, cost, |row| {
        row.statuses = statuses;
        row.other = other;
        row.poll = poll;
        // A host: its cluster, the endpoints, the scope with its routes.
        row.resources_needed = Some(if change == Change::Host { 3.0 } else { 1.0 });
    })
}

/// The host of the route that changes.
const REPOINTED: &str = "repointed.bench.example";

/// A route to one of two services.
fn repointed(to: usize) -> String {
    documents::http_route("repointed", "web", REPOINTED, ["left", "right"][to % 2])
}

fn certificates(arguments: &Arguments, site: &Site, services: usize, step: &Step) -> Result<Row> {
    let mut api = site.follower()?;
    let targets = site.listeners(site::SECURE_PORT);
    let watch = TlsWatch::start(&site.client, &targets, &site::host(0), POLL)?;
    let meter = Meter::begin(site)?;
    let mut samples = Samples::default();
    for trial in 0..arguments.trials {
        let certificate = &site.certificates[(trial + 1) % 2];
        watch.expect(&certificate.der)?;
        let documents = documents::https_listener("secure", site::SECURE_PORT, certificate);
        let sent = Instant::now();
        let answered = api.apply_everywhere(&documents)?;
        samples.add(sent, answered, &watch.seen(SEEN_MAX)?);
        step.note(trial + 1);
    }
    let cost = meter.end(site, arguments.trials)?;
    let failures = watch.failures();
    ensure!(failures == 0, "{failures} handshakes failed");
    samples.row((Change::Certificate, services, arguments.trials), site, cost, |row| {
        row.resources_needed = Some(1.0);
    })
}
