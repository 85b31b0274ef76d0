//! How many requests pass, counted by all nodes together: Envoy asks the data plane once for all such
//! limits of a route.
//!
//! Envoy cannot make this filter in the chain of a route. It stands in the listener, and counts what the settings
//! of a route say.
//!
//! Without the data plane requests pass, up to the ceiling of the filters in the chain ([`super::limit`]):
//! it is away for a second when it is replaced, and nobody's request should fail for that.

use std::time::Duration;

use model::{qos_policy::LimitScope, quotas::QuotaLimit, rate_limit::LimitedPer};

use super::{Limit, limit};
use crate::{
    l7::{
        names,
        pb::{self, Any, core, hcm, matcher, rate_limit, rate_limit_config, route},
    },
    quotas::{LIMIT, POLICY, TARGET, limit_text},
};
use route::{
    header_matcher::HeaderMatchSpecifier,
    rate_limit::action::{ActionSpecifier, GenericKey, HeaderValueMatch},
};

/// The data plane is on this host, and decides within a fifth of this.
const TIMEOUT: Duration = Duration::from_millis(250);

/// The name of the filter, and of its settings in routes.
pub(super) const NAME: &str = "marchproxy.cluster_limits";

/// Makes the filter of a listener.
pub(super) fn of_listener() -> hcm::HttpFilter {
    super::filter(NAME, pb::any(&filter()))
}

fn filter() -> rate_limit::RateLimit {
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    use rate_limit::rate_limit::XRateLimitHeadersRfcVersion;
    let target = EnvoyGrpc { cluster_name: pb::QUOTAS_CLUSTER.into(), ..Default::default() };
    let service = core::GrpcService {
        timeout: Some(pb::duration(TIMEOUT)),
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(target)),
        ..Default::default()
    };
    rate_limit::RateLimit {
        domain: "marchproxy".to_owned(),
        timeout: Some(pb::duration(TIMEOUT)),
        failure_mode_deny: false,
        rate_limited_as_resource_exhausted: true,
        rate_limit_service: Some(rate_limit_config::RateLimitServiceConfig {
            grpc_service: Some(service),
            transport_api_version: core::ApiVersion::V3 as i32,
        }),
        enable_x_ratelimit_headers: XRateLimitHeadersRfcVersion::DraftVersion03 as i32,
        disable_x_envoy_ratelimited_header: true,
        ..Default::default()
    }
}

/// Makes the settings of a route that has such limits, with or without `preflights` of CORS.
pub(super) fn of_route(limits: &[Limit<'_>], preflights: bool) -> Option<Any> {
    let together = limits.iter().filter(|limit| limit.limit.scope == LimitScope::Cluster);
    let rate_limits = together.flat_map(|limit| descriptors(limit, preflights)).collect();
    let settings = rate_limit::RateLimitPerRoute { rate_limits, ..Default::default() };
    (!settings.rate_limits.is_empty()).then(|| super::on(pb::any(&settings)))
}

/// Makes what Envoy tells of a request for a limit: one of these, by what the request has.
fn descriptors(limit: &Limit<'_>, preflights: bool) -> Vec<route::RateLimit> {
    let fixed = [
        (POLICY, names::plain(limit.key)),
        (LIMIT, limit_text(QuotaLimit::from(limit.limit))),
        (TARGET, limit.target.to_string()),
    ];
    let fixed = fixed.map(|(key, value)| {
        ActionSpecifier::GenericKey(GenericKey {
            descriptor_key: key.to_owned(),
            descriptor_value: value,
            ..Default::default()
        })
    });
    let values = match &limit.limit.per {
        LimitedPer::Route => vec![None],
        LimitedPer::Client => vec![Some(limit::client())],
        LimitedPer::Header(name) => vec![Some(limit::header(name)), Some(without(name))],
    };
    let all = values.into_iter().map(|value| {
        let action = |specifier| route::rate_limit::Action { action_specifier: Some(specifier) };
        let others = (!preflights).then(no_preflight);
        let actions = fixed.iter().cloned().chain(value).chain(others).map(action).collect();
        route::RateLimit { actions, ..Default::default() }
    });
    all.collect()
}

/// Is there for requests without a header.
fn without(name: &str) -> ActionSpecifier {
    unless("without", name, vec![header(name, HeaderMatchSpecifier::PresentMatch(true))])
}

/// Is there for what is no preflight of CORS, as Envoy tells them.
fn no_preflight() -> ActionSpecifier {
    use matcher::string_matcher::MatchPattern;
    let options = matcher::StringMatcher {
        match_pattern: Some(MatchPattern::Exact("OPTIONS".to_owned())),
        ..Default::default()
    };
    let marks = ["origin", "access-control-request-method"];
    let marks = marks.map(|name| header(name, HeaderMatchSpecifier::PresentMatch(true)));
    let method = header(":method", HeaderMatchSpecifier::StringMatch(options));
    unless("preflight", "no", marks.into_iter().chain([method]).collect())
}

fn header(name: &str, matches: HeaderMatchSpecifier) -> route::HeaderMatcher {
    route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(matches),
        ..Default::default()
    }
}

/// Is there, always with the same value, unless all these match.
fn unless(key: &str, value: &str, headers: Vec<route::HeaderMatcher>) -> ActionSpecifier {
    ActionSpecifier::HeaderValueMatch(HeaderValueMatch {
        descriptor_key: key.to_owned(),
        descriptor_value: value.to_owned(),
        expect_match: Some(pb::boolean(false)),
        headers,
        ..Default::default()
    })
}
