//! New UDP ports that XDP carries.

use std::time::Instant;

use anyhow::Result;
use lab::latency::Percentiles;

use super::{
    Arguments, Change, POLL, SEEN_MAX,
    cost::Meter,
    row::{Row, Samples},
    site::{self, Site},
};
use crate::bench::watch_udp::UdpWatch;
use crate::progress::Step;

pub(super) fn measure(
    arguments: &Arguments,
    site: &Site,
    services: usize,
    step: &Step,
) -> Result<Row> {
    let mut api = site.follower()?;
    let watch = UdpWatch::start(&site.client, &site.addresses(), POLL)?;
    let meter = Meter::begin(site)?;
    let mut samples = Samples::default();
    for trial in 0..arguments.trials {
        let index = services + trial;
        watch.expect(site::l4_port(index)?);
        let documents = site::one_port(index, site.backends[0])?;
        let sent = Instant::now();
        let answered = api.apply_everywhere(&documents)?;
        samples.add(sent, answered, &watch.seen(SEEN_MAX)?);
        step.note(trial + 1);
    }
    let cost = meter.end(site, arguments.trials)?;
    samples.row((Change::L4, services, arguments.trials), site, cost, |row| {
        let milliseconds = POLL.as_secs_f64() * 1e3;
        row.poll = Percentiles { p50_ms: milliseconds, ..Percentiles::default() };
    })
}
