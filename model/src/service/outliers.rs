//! Outlier detection: endpoints that Envoy leaves out for a time because of how they answer.
//!
//! Each Envoy judges by its own traffic, beside health checks and not in their place. XDP, which
//! sees no answers, has none of it.

use std::time::Duration;

use serde::Serialize;

use crate::object::serialize_duration;

/// When an endpoint is left out, and for how long. What is absent is not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// Answers of 5xx in a row; 5 by default when nothing else is looked at. Connections that fail
    /// and requests that time out count too, unless `consecutive_local_origin_failures` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_5xx: Option<u32>,
    /// Answers of 502, 503 and 504 in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_gateway_errors: Option<u32>,
    /// Failures in a row that are no answers: connections that fail, resets, timeouts. With it they
    /// count here alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_local_origin_failures: Option<u32>,
    /// A success rate far below the others'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<SuccessRate>,
    /// A share of failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_percentage: Option<FailurePercentage>,
    /// The time between looks at rates, and at who may come back; 10 s by default.
    #[serde(serialize_with = "serialize_duration")]
    pub interval: Duration,
    /// The time that an endpoint is left out, times how often in a row it was; 30 s by default.
    #[serde(serialize_with = "serialize_duration")]
    pub base_ejection_time: Duration,
    /// The most that this may become; 5 m, or the base time where that is longer.
    #[serde(serialize_with = "serialize_duration")]
    pub max_ejection_time: Duration,
    /// The endpoints that may be left out at a time, 1 to 100 percent; 50 by default.
    pub max_ejection_percent: u32,
}

/// Looks at each endpoint's rate of success beside the others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SuccessRate {
    /// The endpoints with enough requests, below which nobody is judged; 5 by default.
    pub minimum_hosts: u32,
    /// The requests in an interval that are enough; 100 by default.
    pub request_volume: u32,
    /// How many thousandths of a standard deviation below the mean are too low; 1900 by default.
    pub stdev_factor: u32,
}

/// Looks at each endpoint's share of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailurePercentage {
    /// The share in percent that is too much; 85 by default.
    pub threshold: u32,
    /// The endpoints with enough requests, below which nobody is judged; 5 by default.
    pub minimum_hosts: u32,
    /// The requests in an interval that are enough; 50 by default.
    pub request_volume: u32,
}
