//! How the health of endpoints is told.

use std::time::Duration;

use serde::Serialize;

use crate::object::serialize_duration;

/// What a health probe sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    /// A GET request; healthy on an expected status.
    #[serde(rename_all = "camelCase")]
    Http {
        /// The path, beginning with `/`.
        path: String,
        /// The `Host` header; the endpoint's address when absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// The statuses that mean healthy; 200 by default.
        expected_statuses: Vec<u16>,
    },
    /// A TCP connection; healthy when it opens.
    Tcp {},
    /// A call of `grpc.health.v1.Health/Check`; healthy when the answer is `SERVING`.
    #[serde(rename_all = "camelCase")]
    Grpc {
        /// The service asked about; the server as a whole when absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// The `:authority`; the cluster's name when absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        authority: Option<String>,
    },
}

/// Who asks endpoints whether they are well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum CheckedBy {
    /// The probes of the control nodes, for Envoy and XDP alike.
    #[default]
    Probes,
    /// Each Envoy for itself, over connections such as its requests take.
    Envoy,
}

impl CheckedBy {
    fn is_probes(&self) -> bool {
        *self == Self::Probes
    }
}

/// How the health of a service's endpoints is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Who sends it.
    #[serde(skip_serializing_if = "CheckedBy::is_probes")]
    pub by: CheckedBy,
    /// What is sent.
    #[serde(flatten)]
    pub probe: Probe,
    /// The port probed; the endpoint's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The time between probes, 100 ms to 1 h; 5 s by default.
    #[serde(serialize_with = "serialize_duration")]
    pub interval: Duration,
    /// The time a probe may take, at most the interval; 2 s, or the interval if that is shorter.
    #[serde(serialize_with = "serialize_duration")]
    pub timeout: Duration,
    /// Failures in a row that make an endpoint unhealthy, 1 to 100; 3 by default.
    pub unhealthy_threshold: u32,
    /// Successes in a row that make it healthy again, 1 to 100; 2 by default.
    pub healthy_threshold: u32,
    /// How much longer an interval may be by chance, in percent of it; Envoy's checks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_percent: Option<u32>,
}
