//! How much may be open to a service.

use model::service::{CircuitBreakers, RetryBudget, RetryLimit};

use super::pb::{self, cluster};

/// Envoy's own limits (1,024 connections and requests, 3 retries) are for a sidecar; at an edge
/// they answer 503 under ordinary load. These only stop a runaway.
const CONNECTIONS_MAX: u32 = 100_000;
/// Retries in flight, in percent of the requests in flight, and how many are always allowed.
const RETRIES: RetryBudget = RetryBudget { percent: 20, min_retry_concurrency: 10 };

/// Makes the limits of a service; those that it does not name are built in.
pub(super) fn limits(breakers: Option<&CircuitBreakers>) -> cluster::CircuitBreakers {
    use cluster::circuit_breakers::{Thresholds, thresholds};
    let none = CircuitBreakers::default();
    let breakers = breakers.unwrap_or(&none);
    let limit = |limit: Option<u32>| Some(pb::uint32(limit.unwrap_or(CONNECTIONS_MAX)));
    let budget = |budget: RetryBudget| thresholds::RetryBudget {
        budget_percent: Some(pb::kind::Percent { value: budget.percent.into() }),
        min_retry_concurrency: Some(pb::uint32(budget.min_retry_concurrency)),
        ..Default::default()
    };
    let (max_retries, retry_budget) = match breakers.retries {
        Some(RetryLimit::Count(count)) => (Some(pb::uint32(count)), None),
        Some(RetryLimit::Budget(own)) => (None, Some(budget(own))),
        None => (None, Some(budget(RETRIES))),
    };
    let per_endpoint = breakers
        .max_connections_per_endpoint
        .map(|limit| Thresholds { max_connections: Some(pb::uint32(limit)), ..Default::default() });
    cluster::CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: limit(breakers.max_connections),
            max_pending_requests: limit(breakers.max_pending_requests),
            max_requests: limit(breakers.max_requests),
            max_retries,
            retry_budget,
            ..Default::default()
        }],
        per_host_thresholds: per_endpoint.into_iter().collect(),
    }
}
