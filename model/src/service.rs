//! `Service`: endpoints, how one of them is chosen, how it is reached, and how its health is told.

mod balancing;
mod breakers;
mod dns;
mod failover;
mod health;
mod outliers;
mod tls;
mod upstream;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::Serialize;

pub use self::{
    balancing::{
        BalancingOptions, HashFunction, LeastRequest, LoadBalancing, MaglevTable, RingHash,
    },
    breakers::{CircuitBreakers, RetryBudget, RetryLimit},
    dns::{Dns, DnsDiscovery, LookupFamily},
    failover::{Failover, LocalityWeight},
    health::{CheckedBy, HealthCheck, Probe},
    outliers::{FailurePercentage, OutlierDetection, SuccessRate},
    tls::{SubjectAltName, UpstreamTls},
    upstream::{Connections, Http2, HttpProtocol, TcpKeepalive, Upstream},
};
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
    /// Whether it is used while others are well: 0 (the default) first; the next ones when those of
    /// before fail.
    #[serde(skip_serializing_if = "is_first")]
    pub priority: u32,
    /// Where it runs.
    #[serde(skip_serializing_if = "Locality::is_empty")]
    pub locality: Locality,
}

fn is_first(priority: &u32) -> bool {
    *priority == 0
}

impl Endpoint {
    /// Makes an endpoint with everything else as it is by default.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let (address, port) = (address.ip(), address.port());
        Self { address, port, weight: 1, priority: 0, locality: Locality::default() }
    }

    /// Returns the address with its port.
    #[must_use]
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
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

/// A set of endpoints that serve the same thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// The endpoints; may be empty, and is where they are found by name.
    pub endpoints: Vec<Endpoint>,
    /// The name whose addresses are the endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// How one is chosen, `RoundRobin` by default.
    pub load_balancing: LoadBalancing,
    /// The particulars of that.
    #[serde(flatten)]
    pub balancing: BalancingOptions,
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
    /// How much Envoy may have open to all endpoints together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breakers: Option<CircuitBreakers>,
    /// When Envoy leaves an endpoint out for its answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// Who gets the traffic of endpoints that fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover: Option<Failover>,
    /// What is spoken on connections to endpoints.
    #[serde(flatten)]
    pub upstream: Upstream,
}

/// The time to open a connection where nothing else is said.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Service {
    /// Makes a service with everything else as it is by default.
    #[must_use]
    pub fn of(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            dns: None,
            load_balancing: LoadBalancing::default(),
            balancing: BalancingOptions::default(),
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            slow_start: None,
            proxy_protocol: None,
            health_check: None,
            circuit_breakers: None,
            outlier_detection: None,
            failover: None,
            upstream: Upstream::default(),
        }
    }

    /// Tells whether Envoy itself checks the health of endpoints.
    #[must_use]
    pub fn is_checked_by_envoy(&self) -> bool {
        self.health_check.as_ref().is_some_and(|check| check.by == CheckedBy::Envoy)
    }

    /// Returns the share of endpoints, in percent, below which health counts no more: 0 for never,
    /// nothing where that is so when none is healthy.
    #[must_use]
    pub fn panic_threshold_percent(&self) -> Option<u32> {
        self.failover.as_ref()?.panic_threshold_percent
    }

    /// Tells whether nothing but the endpoints would change: none of the other settings, and none
    /// that are found by name.
    #[must_use]
    pub fn differs_only_in_endpoints(&self, other: &Self) -> bool {
        let others = Self { endpoints: self.endpoints.clone(), ..other.clone() };
        self.dns.is_none() && *self == others
    }

    /// Tells what of it only Envoy can do, so that XDP does not carry a listener that leads to it.
    #[must_use]
    pub fn needs_envoy(&self) -> Option<NeedsEnvoy> {
        let needs = [
            (NeedsEnvoy::ProxyProtocol, self.proxy_protocol.is_some()),
            (NeedsEnvoy::Tls, self.upstream.tls.is_some()),
            (NeedsEnvoy::Dns, self.dns.is_some()),
            (NeedsEnvoy::HealthCheck, self.is_checked_by_envoy()),
        ];
        needs.into_iter().find_map(|(need, is)| is.then_some(need))
    }
}

/// What of a service only Envoy can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeedsEnvoy {
    /// A header before the first byte.
    ProxyProtocol,
    /// TLS to the endpoints.
    Tls,
    /// Endpoints that are found by name.
    Dns,
    /// Health checks of its own.
    HealthCheck,
}

impl NeedsEnvoy {
    /// Returns the field that asks for it.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::ProxyProtocol => "spec.proxyProtocol",
            Self::Tls => "spec.tls",
            Self::Dns => "spec.dns",
            Self::HealthCheck => "spec.healthCheck.by",
        }
    }
}
