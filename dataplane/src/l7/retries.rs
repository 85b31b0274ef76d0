//! Retries, as Envoy's retry policies.

use std::time::Duration;

use model::route::Retries;

use super::pb::{self, previous_hosts, route};

/// Other endpoints that a retry looks for before it takes one that was tried.
const OTHER_HOST_ATTEMPTS: i64 = 3;
/// The longest pause between tries, in first pauses; Envoy's own default.
const LONGEST_BACKOFF: u32 = 10;

/// Translates when and how often a request is tried again.
pub(super) fn policy(retries: &Retries) -> route::RetryPolicy {
    use route::retry_policy::{RetryBackOff, RetryHostPredicate, retry_host_predicate::ConfigType};
    let mut on: Vec<&str> = retries.on.iter().map(|on| on.as_str()).collect();
    if !retries.statuses.is_empty() {
        on.push("retriable-status-codes");
    }
    // Envoy refuses pauses under a millisecond.
    let base = retries.backoff.max(Duration::from_millis(1));
    route::RetryPolicy {
        retry_on: on.join(","),
        num_retries: Some(pb::uint32(retries.attempts)),
        per_try_timeout: retries.per_try_timeout.map(pb::duration),
        per_try_idle_timeout: retries.per_try_idle_timeout.map(pb::duration),
        retriable_status_codes: retries.statuses.iter().copied().map(u32::from).collect(),
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(pb::duration(base)),
            max_interval: Some(pb::duration(retries.max_backoff.unwrap_or(base * LONGEST_BACKOFF))),
        }),
        rate_limited_retry_back_off: retries.retry_after_max.map(as_told),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".into(),
            config_type: Some(ConfigType::TypedConfig(pb::any(
                &previous_hosts::PreviousHostsPredicate {},
            ))),
        }],
        host_selection_retry_max_attempts: OTHER_HOST_ATTEMPTS,
        ..Default::default()
    }
}

/// Pauses as long as an answer says (RFC 9110, section 10.2.3), up to a bound.
fn as_told(most: Duration) -> route::retry_policy::RateLimitedRetryBackOff {
    use route::retry_policy::{RateLimitedRetryBackOff, ResetHeader, ResetHeaderFormat};
    RateLimitedRetryBackOff {
        reset_headers: vec![ResetHeader {
            name: "retry-after".into(),
            format: ResetHeaderFormat::Seconds as i32,
        }],
        max_interval: Some(pb::duration(most)),
    }
}
