//! Which endpoint of which service, and what is known of its health.

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};

use crate::key::ObjectKey;

/// Identifies an endpoint of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointId {
    /// The service (kind `Service`).
    pub service: ObjectKey,
    /// Its address and port.
    pub address: SocketAddr,
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.service, self.address)
    }
}

/// What the probes of one node know of one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointHealth {
    /// Which endpoint.
    pub endpoint: EndpointId,
    /// Whether it counts as healthy.
    pub healthy: bool,
    /// The round-trip time of the last successful probe, in microseconds.
    pub rtt_us: Option<u64>,
    /// Why the last probe failed; empty after a success.
    pub reason: String,
}
