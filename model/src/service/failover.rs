//! Who gets the traffic of endpoints that fail.

use serde::Serialize;

use super::Locality;

/// How traffic moves between priorities and places, in Envoy's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// The percentage of healthy endpoints below which health counts no more, 0 (never) to 100. When
    /// absent that is so when none is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panic_threshold_percent: Option<u32>,
    /// How much more than its share the healthy part of a priority or place is trusted with, 100 to
    /// 1000 percent; 140 by default: the next one gets traffic when less than 1 / 1.4 is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overprovisioning_percent: Option<u32>,
    /// The shares of places; by their endpoints' weights when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locality_weights: Vec<LocalityWeight>,
}

/// The share of a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalityWeight {
    /// The place.
    #[serde(flatten)]
    pub locality: Locality,
    /// Its share of the traffic, 1 to 1000.
    pub weight: u32,
}
