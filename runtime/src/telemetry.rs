//! Logs and metrics of a process.
//!
//! Logs go to standard error, as text for people or as one JSON object a line. Metrics are recorded
//! through the `metrics` facade and rendered in Prometheus' text format on demand.

use std::{fmt, io::IsTerminal, str::FromStr, time::SystemTime};

use metrics::{Unit, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::identity::NodeIdentity;

/// Upper bounds of histograms of seconds: from 0.1 ms (a map update) to 10 s (a time-out).
const SECONDS_BUCKETS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

const CERTIFICATE_EXPIRY: &str = "marchproxy_certificate_expiry_timestamp_seconds";

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is malformed.
    #[error("log filter {filter:?} is not of the form `info,marchproxy=debug`")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process has a log already.
    #[error("logging is already set up")]
    Logging(#[source] tracing_subscriber::util::TryInitError),
    /// The process has a recorder already, or its settings are invalid.
    #[error("metrics cannot be set up")]
    Metrics(#[source] metrics_exporter_prometheus::BuildError),
    /// Neither `text` nor `json`.
    #[error("log format {found:?} is neither `text` nor `json`")]
    Format {
        /// What was found.
        found: String,
    },
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(TelemetryError::Format { found: text.to_owned() }),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Sets up the process's log on standard error.
///
/// `filter` is of the form `info,marchproxy=debug`
/// (<https://docs.rs/tracing-subscriber/0.3/tracing_subscriber/filter/struct.EnvFilter.html>).
///
/// # Errors
/// The filter is malformed, or a log is set up already.
pub fn start_logging(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_writer(std::io::stderr),
            )
            .try_init(),
        LogFormat::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
    };
    started.map_err(TelemetryError::Logging)
}

/// The process's metrics.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Installs the process's recorder and records what was built and when it started.
    ///
    /// `process` is `control` or `dataplane`; `version` is the program's.
    ///
    /// # Errors
    /// A recorder is installed already.
    pub fn install(process: &'static str, version: &'static str) -> Result<Self, TelemetryError> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(TelemetryError::Metrics)?;
        describe_gauge!("marchproxy_build_info", "Always 1; what runs is in the labels");
        gauge!("marchproxy_build_info", "version" => version, "process" => process).set(1.0);
        describe_gauge!(
            "process_start_time_seconds",
            Unit::Seconds,
            "Start of the process, in seconds since 1970"
        );
        gauge!("process_start_time_seconds").set(since_1970(SystemTime::now()));
        describe_counter!(
            "marchproxy_actor_restarts_total",
            Unit::Count,
            "Restarts of supervised actors after a failure, by name"
        );
        describe_gauge!(
            CERTIFICATE_EXPIRY,
            Unit::Seconds,
            "End of the validity of this process's certificate (node) and of the cluster's CA (ca), \
             in seconds since 1970"
        );
        Ok(Self { handle })
    }

    /// All metrics in Prometheus' text format
    /// (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
    #[must_use]
    pub fn render(&self) -> String {
        // Folds in what histograms have gathered; there is no background task that does.
        self.handle.run_upkeep();
        self.handle.render()
    }
}

/// Shows until when the certificate that this process uses, and its CA's, are valid.
pub fn show_certificates(identity: &NodeIdentity) {
    gauge!(CERTIFICATE_EXPIRY, "certificate" => "node").set(since_1970(identity.expires()));
    gauge!(CERTIFICATE_EXPIRY, "certificate" => "ca").set(since_1970(identity.ca_expires()));
}

fn since_1970(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::identity::{Authority, ClusterId, KeyPair, NodeId, PeerIdentity, Role, Validity};

    fn identity() -> NodeIdentity {
        let ca = Authority::create(ClusterId::random()).unwrap();
        let cluster = ca.cluster().clone();
        let peer = PeerIdentity { cluster, node: NodeId(1), role: Role::Control };
        let from = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
        let validity = Validity { from, lifetime: Duration::from_secs(60) };
        let key = KeyPair::generate().unwrap();
        let pem = ca.issue(&key.csr().unwrap().0, &peer, validity).unwrap();
        NodeIdentity::new(ca.certificate_pem(), &pem, key).unwrap()
    }

    #[test]
    fn metrics_have_help_and_buckets() {
        let metrics = Metrics::install("control", "0.1.0").unwrap();
        show_certificates(&identity());
        metrics::histogram!("marchproxy_test_seconds").record(0.003);
        let text = metrics.render();
        for line in [
            "# HELP marchproxy_build_info Always 1; what runs is in the labels",
            "marchproxy_build_info{version=\"0.1.0\",process=\"control\"} 1",
            "marchproxy_test_seconds_bucket{le=\"0.005\"} 1",
            "# HELP marchproxy_certificate_expiry_timestamp_seconds End of the validity",
            "marchproxy_certificate_expiry_timestamp_seconds{certificate=\"node\"} 1900000060",
            "marchproxy_certificate_expiry_timestamp_seconds{certificate=\"ca\"} ",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(matches!(Metrics::install("control", "0"), Err(TelemetryError::Metrics(_))));
    }

    #[test]
    fn wrong_formats_and_filters_are_named() {
        assert!("yaml".parse::<LogFormat>().unwrap_err().to_string().contains("yaml"));
        let error = start_logging(LogFormat::Text, "a=b=c").unwrap_err();
        assert!(error.to_string().contains("a=b=c"), "{error}");
    }
}
