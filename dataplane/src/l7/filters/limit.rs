//! How many requests pass, counted by this Envoy in buckets of tokens.
//!
//! Each match of a rule has a filter, and with it buckets, of its own. Tokens come back evenly over the
//! interval. Requests that are counted by a value have a bucket for each value, of which Envoy keeps
//! those that were used last; all that have none share the default bucket.

use std::time::Duration;

use model::{qos_policy::LimitScope, rate_limit::LimitedPer};

use super::{Limit, extension};
use crate::l7::{
    names,
    pb::{self, core, kind, limit, limit_common, route},
};
use route::rate_limit::action::{ActionSpecifier, MaskedRemoteAddress, RequestHeaders};

/// Before the name of a policy in the names of Envoy's counters.
const STAT_PREFIX: &str = "limit.";
/// Values of a key that are counted at once by one filter, at some 300 bytes: enough for the clients
/// of a busy minute, and 3 MB where somebody makes up values.
const VALUES_MAX: u32 = 10_000;

/// Before that of one that all nodes count together.
const CEILING_PREFIX: &str = "ceiling.";
/// So many times a limit of all nodes together one Envoy lets through that cannot ask: the twofold, since
/// the limit itself would be in the way of what was leased at once.
const CEILING: u32 = 2;

/// Makes the filter of a policy. Of one that all nodes count together, it is a ceiling, which counts
/// while the data plane is not there to say how many may pass.
pub(super) fn filter(limit: &Limit<'_>) -> core::TypedExtensionConfig {
    let Limit { key, limit: wanted, .. } = limit;
    let (times, prefix) = match wanted.scope {
        LimitScope::Node => (1, STAT_PREFIX),
        LimitScope::Cluster => (CEILING, CEILING_PREFIX),
    };
    let bucket = kind::TokenBucket {
        max_tokens: wanted.burst * times,
        tokens_per_fill: Some(pb::uint32(wanted.requests * times)),
        fill_interval: Some(pb::duration(wanted.interval)),
    };
    let counted = counted_by(&wanted.per);
    let descriptors = counted.iter().map(|(name, _)| limit_common::LocalRateLimitDescriptor {
        entries: vec![limit_common::rate_limit_descriptor::Entry {
            key: (*name).to_owned(),
            // Any: each has a bucket of its own.
            value: String::new(),
        }],
        token_bucket: Some(bucket),
        ..Default::default()
    });
    let descriptors = descriptors.collect();
    let rate_limits = counted.map(|(_, action)| route::RateLimit {
        actions: vec![route::rate_limit::Action { action_specifier: Some(action) }],
        ..Default::default()
    });
    let headers = match wanted.scope {
        LimitScope::Node => limit_common::XRateLimitHeadersRfcVersion::DraftVersion03,
        LimitScope::Cluster => limit_common::XRateLimitHeadersRfcVersion::Off,
    };
    let filter = limit::LocalRateLimit {
        stat_prefix: format!("{prefix}{}", names::plain(key)),
        token_bucket: Some(bucket),
        filter_enabled: Some(always()),
        filter_enforced: Some(always()),
        response_headers_to_add: vec![retry_after(wanted.pause())],
        descriptors,
        rate_limits: rate_limits.into_iter().collect(),
        enable_x_ratelimit_headers: headers as i32,
        // It is for those that no other bucket is for.
        always_consume_default_token_bucket: Some(pb::boolean(false)),
        rate_limited_as_resource_exhausted: true,
        max_dynamic_descriptors: Some(pb::uint32(VALUES_MAX)),
        ..Default::default()
    };
    extension("marchproxy.limit", &filter)
}

/// Returns the key of the values that are counted by themselves, and where a request has its own.
fn counted_by(per: &LimitedPer) -> Option<(&'static str, ActionSpecifier)> {
    match per {
        LimitedPer::Route => None,
        LimitedPer::Client => Some(("masked_remote_address", client())),
        LimitedPer::Header(name) => Some(("header", header(name))),
    }
}

/// Takes the address of the client: of IPv6 the network that a household or a host gets (RFC 6177).
pub(super) fn client() -> ActionSpecifier {
    ActionSpecifier::MaskedRemoteAddress(MaskedRemoteAddress {
        v4_prefix_mask_len: None,
        v6_prefix_mask_len: Some(pb::uint32(64)),
    })
}

/// Takes the value of a header; nothing where there is none.
pub(super) fn header(name: &str) -> ActionSpecifier {
    ActionSpecifier::RequestHeaders(RequestHeaders {
        header_name: name.to_owned(),
        descriptor_key: "header".to_owned(),
        skip_if_absent: false,
    })
}

/// Says after how many seconds, rounded up, a refused client may come again.
fn retry_after(pause: Duration) -> core::HeaderValueOption {
    use core::header_value_option::HeaderAppendAction;
    let seconds = pause.as_millis().div_ceil(1_000).max(1);
    core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: "retry-after".to_owned(),
            value: seconds.to_string(),
            ..Default::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
        ..Default::default()
    }
}

fn always() -> core::RuntimeFractionalPercent {
    core::RuntimeFractionalPercent { default_value: Some(pb::percent(100)), ..Default::default() }
}
