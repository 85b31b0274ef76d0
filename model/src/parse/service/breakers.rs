//! Reads `circuitBreakers`.

use crate::{
    limits::MAX_BREAKER,
    parse::{
        reader::{Node, Read},
        scalar::whole,
    },
    service::{CircuitBreakers, RetryBudget, RetryLimit},
};

/// What the built-in budget is too.
const DEFAULT_RETRY_PERCENT: u32 = 20;
const DEFAULT_RETRIES_MIN: u32 = 10;

pub(super) fn circuit_breakers(node: &Node<'_>) -> Read<CircuitBreakers> {
    let fields = node.fields()?;
    let limit = |name| fields.optional(name, |node| whole(node, 1..=MAX_BREAKER));
    let connections = limit("maxConnections");
    let per_endpoint = limit("maxConnectionsPerEndpoint");
    let pending = limit("maxPendingRequests");
    let requests = limit("maxRequests");
    let per_connection = limit("maxRequestsPerConnection");
    let count = fields.optional("maxRetries", |node| whole(node, 0..=MAX_BREAKER));
    let budget = fields.optional("retryBudget", retry_budget);
    let retries = match (count, budget) {
        (Ok(Some(_)), Ok(Some(_))) => {
            Err(fields.error("maxRetries", "stands beside retryBudget", "keep one of them"))
        }
        (Ok(count), Ok(budget)) => {
            Ok(budget.map(RetryLimit::Budget).or(count.map(RetryLimit::Count)))
        }
        (Err(reported), _) | (_, Err(reported)) => Err(reported),
    };
    let known = fields.finish();
    let breakers = CircuitBreakers {
        max_connections: connections?,
        max_connections_per_endpoint: per_endpoint?,
        max_pending_requests: pending?,
        max_requests: requests?,
        max_requests_per_connection: per_connection?,
        retries: retries?,
    };
    known.map(|()| breakers)
}

fn retry_budget(node: &Node<'_>) -> Read<RetryBudget> {
    let fields = node.fields()?;
    let percent = fields.or("percent", DEFAULT_RETRY_PERCENT, |node| whole(node, 1..=100));
    let least =
        fields.or("minRetryConcurrency", DEFAULT_RETRIES_MIN, |node| whole(node, 0..=MAX_BREAKER));
    let known = fields.finish();
    let budget = RetryBudget { percent: percent?, min_retry_concurrency: least? };
    known.map(|()| budget)
}
