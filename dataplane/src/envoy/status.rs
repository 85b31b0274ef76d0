//! How Envoy stands, for the data plane's status.

use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// How Envoy stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyStatus {
    /// What it is doing.
    pub state: EnvoyState,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How many Envoys have handed over since the last one that started from nothing.
    pub epoch: u32,
    /// Whether the Envoy before still finishes what it had.
    pub draining: bool,
    /// What came of the last restart that somebody or something asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_restart: Option<LastRestart>,
}

/// What Envoy is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EnvoyState {
    /// There is none.
    #[default]
    Absent,
    /// It runs and takes no traffic yet.
    Starting,
    /// It takes traffic.
    Ready,
    /// It takes traffic, and another one gets ready to take over.
    HandingOver,
}

/// What came of a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastRestart {
    /// When that was known.
    pub at: String,
    /// Why it was begun.
    pub reason: String,
    /// Why it failed; none when it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl LastRestart {
    /// Tells of a restart that has ended just so.
    pub(super) fn now(reason: String, error: Option<String>) -> Self {
        let at = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        Self { at, reason, error }
    }
}

/// Says once what each metric is.
pub(super) fn describe() {
    metrics::describe_counter!(
        "marchproxy_envoy_crashes_total",
        metrics::Unit::Count,
        "Envoys that ended while they served, without having been asked to"
    );
    metrics::describe_counter!(
        "marchproxy_envoy_replacements_total",
        metrics::Unit::Count,
        "Replacements of Envoy, by outcome: handed_over (no connection was refused), drained, failed"
    );
}

/// Counts a replacement.
pub(super) fn restarted(outcome: &'static str) {
    metrics::counter!("marchproxy_envoy_replacements_total", "outcome" => outcome).increment(1);
}
