//! One run of wrk: as many requests as the connections get answered.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Instance, Launch, Place};
use serde::Deserialize;

use super::cores;

/// Prints the figures as one line of JSON, times in microseconds.
const SCRIPT: &str = r#"
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"duration_us":%d,"p50_us":%.0f,"p99_us":%.0f,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"#;
/// Longer than a run takes to end after its time.
const SLACK: Duration = Duration::from_secs(20);

/// What is asked of whom.
pub(super) struct Load<'a> {
    pub(super) address: SocketAddr,
    pub(super) tls: bool,
    pub(super) host: &'a str,
    pub(super) connections: usize,
}

/// What came of it.
pub(super) struct Run {
    pub(super) requests: f64,
    pub(super) rate: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Answers above 399, and connections and requests that failed.
    pub(super) errors: u64,
}

#[derive(Deserialize)]
struct Line {
    requests: f64,
    duration_us: f64,
    p50_us: f64,
    p99_us: f64,
    errors: u64,
}

impl Load<'_> {
    pub(super) fn run(&self, instance: &Instance, seconds: u64) -> Result<Run> {
        let script = instance.directory().join("wrk.lua");
        std::fs::write(&script, SCRIPT)?;
        let scheme = if self.tls { "https" } else { "http" };
        let launch = Launch::new(instance.name(), &Place::Here, "wrk").args([
            "--threads=1".to_owned(),
            format!("--connections={}", self.connections),
            format!("--duration={seconds}s"),
            format!("--script={}", script.display()),
            format!("--header=Host: {}", self.host),
            format!("{scheme}://{}/", self.address),
        ]);
        let limit = Duration::from_secs(seconds) + SLACK;
        let text = cores::on(cores::REST, || launch.output(limit)?.ok())?;
        let line = text.lines().rev().find(|line| line.starts_with('{'));
        let line = line.with_context(|| format!("wrk printed no figures: {text}"))?;
        let line: Line = serde_json::from_str(line)?;
        ensure!(line.requests > 0.0, "{scheme}://{}/ answered no request", self.address);
        Ok(Run {
            requests: line.requests,
            rate: line.requests / line.duration_us * 1e6,
            p50_us: line.p50_us,
            p99_us: line.p99_us,
            errors: line.errors,
        })
    }
}
