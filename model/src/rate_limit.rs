//! `RateLimit`: how many requests a listener or route lets through.

use std::time::Duration;

use serde::Serialize;

use crate::{
    key::{Kind, ObjectKey},
    object::serialize_duration,
    qos_policy::LimitScope,
    route::Reference,
};

/// A policy for the requests of listeners and routes. What exceeds it is answered by 429.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// What it is for; at least one, none twice.
    pub target_refs: Vec<TargetRef>,
    /// The requests that an interval lets through, evenly over its time.
    pub requests: u32,
    /// The interval, 1 s to 24 h.
    #[serde(serialize_with = "serialize_duration")]
    pub interval: Duration,
    /// The requests that may come at once after a pause; as many as `requests` by default.
    pub burst: u32,
    /// What is counted by itself.
    pub per: LimitedPer,
    /// Whose requests are counted together, `Node` by default.
    pub scope: LimitScope,
}

/// A listener, for all routes of which the limit is, or a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TargetRef {
    /// `Listener`, `HTTPRoute` or `GRPCRoute`.
    pub kind: Kind,
    /// Which one.
    #[serde(flatten)]
    pub object: Reference,
}

/// What is counted by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LimitedPer {
    /// All requests together, written as `Route`.
    #[default]
    #[serde(rename = "Route")]
    Route,
    /// Those of each client by its address, IPv6 by its /64, written as `Client`.
    #[serde(rename = "Client")]
    Client,
    /// Those with each value of a header (its name, lower case), and those without it.
    Header(String),
}

impl TargetRef {
    /// Returns the key of what it is for.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.kind, &self.object.namespace, &self.object.name)
    }
}

impl RateLimit {
    /// Returns the longest time until one more request may pass, when nobody else sends one.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.interval / self.requests
    }
}
