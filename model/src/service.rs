//! `Service`: endpoints, load balancing and a health check.

use std::{net::IpAddr, time::Duration};

use serde::Serialize;

use crate::object::serialize_duration;

/// Where an endpoint runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Locality {
    /// The cloud region, such as `aws-eu-central-1`; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// The zone within the region; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
}

impl Locality {
    /// Tells whether nothing is known about the place.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty()
    }
}

/// One address that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// The IP address.
    pub address: IpAddr,
    /// The port, 1 to 65535.
    pub port: u16,
    /// The share of new traffic, 0 (none: what is established goes on) to 1000; 1 by default.
    pub weight: u32,
    /// Where it runs.
    #[serde(skip_serializing_if = "Locality::is_empty")]
    pub locality: Locality,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum LoadBalancing {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The one of two random ones that has fewer requests open.
    LeastRequest,
    /// At random, by weight.
    Random,
    /// By Maglev's consistent hash of the flow; what XDP always uses.
    Maglev,
}

/// What tells an endpoint of a TCP connection who its client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ProxyProtocol {
    /// A binary header before the first byte (HAProxy's proxy-protocol.txt, section 2.2).
    V2,
}

/// How traffic to an endpoint that comes into use grows, in Envoy's terms: over the window its weight
/// is `weight * max(min_weight_percent, (age / window) ^ (1 / aggression))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SlowStart {
    /// The time until it has its whole weight, 1 s to 1 h.
    #[serde(serialize_with = "serialize_duration")]
    pub window: Duration,
    /// The exponent's divisor, in percent, 10 to 1000: 100 grows evenly, more faster at first.
    pub aggression_percent: u32,
    /// The percentage of its weight that it begins with, 1 to 100; 10 by default.
    pub min_weight_percent: u32,
}

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
}

/// How the health of a service's endpoints is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
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
}

/// A set of endpoints that serve the same thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// The endpoints; may be empty.
    pub endpoints: Vec<Endpoint>,
    /// How one is chosen, `RoundRobin` by default.
    pub load_balancing: LoadBalancing,
    /// The time to open a connection to an endpoint; 5 s by default.
    #[serde(serialize_with = "serialize_duration")]
    pub connect_timeout: Duration,
    /// How traffic to endpoints that come into use grows; at once when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStart>,
    /// What connections to endpoints begin with; nothing of ours when absent. Envoy alone can do it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How health is watched; endpoints count as healthy when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}
