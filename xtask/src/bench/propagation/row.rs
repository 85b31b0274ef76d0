//! One line of the table, and the samples that it is made of.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;
use lab::latency::{Latencies, Percentiles};
use serde::Serialize;

use super::{Change, POLL, cost::Cost, site::Site};

/// The most CPU time of a data plane, in milliseconds, and the most bytes to its Envoy for a change.
const CPU_MAX_MS: f64 = 2.0;
const BYTES_MAX: f64 = 1_024.0;

/// One line of the table.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) change: Change,
    pub(super) services: usize,
    pub(super) trials: usize,
    /// From sending the apply to the first request that sees it; one sample a trial and node.
    pub(super) seen: Percentiles,
    /// The same, the last of the nodes in each trial.
    pub(super) seen_everywhere: Percentiles,
    /// From sending the apply to its answer, when all engines of all nodes have answered.
    pub(super) acknowledged: Percentiles,
    /// Real distance of two polls of one connection.
    pub(super) poll: Percentiles,
    /// HTTP answers by status.
    pub(super) statuses: BTreeMap<u16, u64>,
    /// Answers other than 200 and 404, and requests without an answer.
    pub(super) other: u64,
    /// What a change cost each data plane.
    pub(super) cost: Cost,
    /// Resources that a change sends to each Envoy when nothing is sent in vain.
    pub(super) resources_needed: Option<f64>,
    /// Which engine carried it, as the nodes report.
    pub(super) engines: Vec<String>,
    /// The bar for p99 of `seen`, in milliseconds.
    pub(super) bar_ms: Option<f64>,
    pub(super) held: bool,
}

/// The bar for p99 from sending an apply to the first request that sees it.
fn bar(change: Change, services: usize) -> Option<f64> {
    match (change, services) {
        (Change::Host, 0..=10_000) => Some(30.0),
        (Change::Endpoint, 0..=10_000) => Some(20.0),
        (Change::L4, 0..=1_000) => Some(50.0),
        (Change::L4, 0..=10_000) => Some(100.0),
        _ => None,
    }
}

#[derive(Debug, Default)]
pub(super) struct Samples {
    nodes: Latencies,
    last: Latencies,
    acknowledged: Latencies,
}

impl Samples {
    pub(super) fn add(&mut self, sent: Instant, answered: Instant, seen: &[Instant]) {
        self.acknowledged.add(answered - sent);
        let since = |seen: &Instant| seen.saturating_duration_since(sent);
        for seen in seen {
            self.nodes.add(since(seen));
        }
        self.last.add(seen.iter().map(since).max().unwrap_or_default());
    }

    pub(super) fn row(
        self,
        (change, services, trials): (Change, usize, usize),
        site: &Site,
        cost: Cost,
        fill: impl FnOnce(&mut Row),
    ) -> Result<Row> {
        let status = site.cluster.status(0)?;
        let engines = status
            .engines()
            .map(|(node, engine, report)| {
                format!("node {node}: {engine} {} {}", report["state"], report["notes"])
            })
            .collect();
        let mut row = Row {
            change,
            services,
            trials,
            seen: self.nodes.percentiles(),
            seen_everywhere: self.last.percentiles(),
            acknowledged: self.acknowledged.percentiles(),
            poll: Percentiles::default(),
            statuses: BTreeMap::new(),
            other: 0,
            cost,
            resources_needed: None,
            engines,
            bar_ms: bar(change, services),
            held: false,
        };
        fill(&mut row);
        row.held = row.misses().is_empty();
        Ok(row)
    }
}

impl Row {
    /// The bars that are not held.
    fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        if self.other > 0 {
            misses.push(format!("{} answers other than 200 and 404", self.other));
        }
        if let Some(bar) = self.bar_ms.filter(|bar| self.seen.p99_ms > *bar) {
            misses.push(format!("seen p99 over {bar:.0} ms"));
        }
        let Some(needed) = self.resources_needed else { return misses };
        if self.cost.cpu_ms > CPU_MAX_MS {
            misses.push(format!("CPU over {CPU_MAX_MS} ms a change"));
        }
        if self.cost.bytes > BYTES_MAX {
            misses.push(format!("over {BYTES_MAX:.0} bytes a change"));
        }
        if (self.cost.resources - needed).abs() > f64::EPSILON {
            misses.push(format!("{needed} resources a change were needed"));
        }
        misses
    }
}

pub(super) fn print(rows: &[Row], root: bool) {
    println!(
        "\nfrom sending an apply to a follower, {}; polled every {} ms\n",
        if root { "in network namespaces" } else { "on loopback" },
        POLL.as_millis()
    );
    println!(
        "{:<12} {:>8} {:>6} {:>24} {:>17} {:>17} {:>7} {:>7} {:>9}  bars",
        "change",
        "services",
        "trials",
        "seen p50/p99/max ms",
        "all nodes p50/p99",
        "acked p50/p99",
        "CPU ms",
        "bytes",
        "resources"
    );
    for row in rows {
        let misses = row.misses();
        println!(
            "{:<12} {:>8} {:>6} {:>24} {:>17} {:>17} {:>7.2} {:>7.0} {:>9.2}  {}",
            format!("{:?}", row.change),
            row.services,
            row.trials,
            format!("{:.1} / {:.1} / {:.1}", row.seen.p50_ms, row.seen.p99_ms, row.seen.max_ms),
            format!("{:.1} / {:.1}", row.seen_everywhere.p50_ms, row.seen_everywhere.p99_ms),
            format!("{:.1} / {:.1}", row.acknowledged.p50_ms, row.acknowledged.p99_ms),
            row.cost.cpu_ms,
            row.cost.bytes,
            row.cost.resources,
            if misses.is_empty() {
                "held".to_owned()
            } else {
                format!("MISSED: {}", misses.join(", "))
            }
        );
    }
}
