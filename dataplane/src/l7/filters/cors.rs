//! CORS: the policy stands in the route's action, where the filter finds it.
//!
//! The filter looks for a policy under its own name in the settings of the route, and inside a
//! composite that name is the composite's. So the policy is given by the older field of the action,
//! which the filter reads when it finds none there.

use model::route::Cors;

use super::extension;
use crate::l7::pb::{self, core, cors, matcher, route};

/// Makes the filter.
pub(super) fn filter() -> core::TypedExtensionConfig {
    extension("marchproxy.cors", &cors::Cors {})
}

/// Translates the policy.
pub(in crate::l7) fn policy(wanted: &Cors) -> route::CorsPolicy {
    let origins = wanted.allow_origins.iter().map(|origin| origin_of(origin));
    let regexes = wanted.allow_origin_regexes.iter().map(|regex| by_regex(regex));
    route::CorsPolicy {
        allow_origin_string_match: origins.chain(regexes).collect(),
        allow_methods: wanted.allow_methods.join(", "),
        allow_headers: wanted.allow_headers.join(", "),
        expose_headers: wanted.expose_headers.join(", "),
        max_age: wanted.max_age.map(|age| age.as_secs().to_string()).unwrap_or_default(),
        allow_credentials: Some(pb::boolean(wanted.allow_credentials)),
        // The service is not asked about origins that are refused here.
        forward_not_matching_preflights: Some(pb::boolean(false)),
        ..Default::default()
    }
}

/// Matches an origin: any for `*`, one or more labels for the star of `https://*.shop.example`.
fn origin_of(origin: &str) -> matcher::StringMatcher {
    use matcher::string_matcher::MatchPattern;
    let pattern = match origin.split_once("*.") {
        None if origin == "*" => MatchPattern::SafeRegex(pb::regex(".*")),
        None => MatchPattern::Exact(origin.to_owned()),
        Some((scheme, host)) => {
            let host = host.replace('.', r"\.");
            MatchPattern::SafeRegex(pb::regex(&format!("{scheme}[a-z0-9.-]+\\.{host}")))
        }
    };
    matcher::StringMatcher { match_pattern: Some(pattern), ..Default::default() }
}

fn by_regex(regex: &str) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::SafeRegex(pb::regex(regex))),
        ..Default::default()
    }
}
