//! What changes cost a data plane: its CPU time, and what it sends to its Envoy.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::waiting::pause;
use nix::unistd::Pid;
use serde::Serialize;

use super::site::Site;

/// How long the data planes are watched without changes, to know what they use all the same.
const IDLE: Duration = Duration::from_secs(2);
/// The kernel's unit of `utime` and `stime` (proc_pid_stat(5), USER_HZ).
const TICK_MS: f64 = 10.0;

/// What one change cost one data plane, on average.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Cost {
    /// CPU time of the process, without what it uses anyway.
    pub(super) cpu_ms: f64,
    /// Bytes of the responses to its Envoy.
    pub(super) bytes: f64,
    /// Resources in them.
    pub(super) resources: f64,
}

/// Counters of all data planes at one moment.
pub(super) struct Meter {
    at: Instant,
    /// CPU time that all of them use in a millisecond without changes.
    idle: f64,
    sums: Sums,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    cpu_ms: f64,
    bytes: f64,
    resources: f64,
}

impl Meter {
    /// Watches for a moment in which nothing changes, then begins to count.
    pub(super) fn begin(site: &Site) -> Result<Self> {
        let before = read(site)?;
        let begin = Instant::now();
        pause(IDLE);
        let sums = read(site)?;
        let idle = (sums.cpu_ms - before.cpu_ms) / (begin.elapsed().as_secs_f64() * 1e3);
        Ok(Self { at: Instant::now(), idle, sums })
    }

    /// What each of `changes` cost each data plane since.
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    pub(super) fn end(self, site: &Site, changes: usize) -> Result<Cost> {
        let now = read(site)?;
        let each = (changes * site.cluster.members.len()) as f64;
        let idle = self.idle * self.at.elapsed().as_secs_f64() * 1e3;
        Ok(Cost {
            cpu_ms: ((now.cpu_ms - self.sums.cpu_ms - idle) / each).max(0.0),
            bytes: (now.bytes - self.sums.bytes) / each,
            resources: (now.resources - self.sums.resources) / each,
        })
    }
}

fn read(site: &Site) -> Result<Sums> {
    let mut sums = Sums::default();
    for (index, member) in site.cluster.members.iter().enumerate() {
        sums.cpu_ms += cpu_ms(member.dataplane_pid()?)?;
        let answer = site.cluster.api(index)?.send("GET", "/metrics/dataplane", "")?;
        let text = answer.text();
        sums.bytes += sum(&text, "marchproxy_xds_bytes_total");
        sums.resources += sum(&text, "marchproxy_xds_resources_total");
    }
    Ok(sums)
}

/// The sum of a counter over its labels, in Prometheus' text format.
fn sum(text: &str, name: &str) -> f64 {
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

fn cpu_ms(pid: Pid) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The name, in parentheses, may hold blanks; utime and stime are fields 14 and 15.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    Ok(ticks * TICK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_their_labels_and_no_other_names() {
        let text = "# HELP a_total x\na_total{type=\"x\"} 3\na_total{type=\"y\"} 4.5\na_total_more 9\nb 1\n";
        assert!((sum(text, "a_total") - 7.5).abs() < f64::EPSILON);
    }
}
