//! The consent of a service that is asked about each request.

use model::auth_policy::{External, OnFailure};

use super::extension;
use crate::l7::{
    names,
    pb::{self, core, ext_authz, matcher},
};

/// Makes the filter that asks.
pub(super) fn filter(wanted: &External) -> core::TypedExtensionConfig {
    let cluster = names::reference(&wanted.service).to_string();
    let service = ext_authz::HttpService {
        server_uri: Some(core::HttpUri {
            uri: format!("http://{}", wanted.service.name),
            timeout: Some(pb::duration(wanted.timeout)),
            http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(cluster)),
        }),
        path_prefix: wanted.path_prefix.clone(),
        authorization_response: Some(ext_authz::AuthorizationResponse {
            allowed_upstream_headers: named(&wanted.upstream_headers),
            ..Default::default()
        }),
        ..Default::default()
    };
    let filter = ext_authz::ExtAuthz {
        transport_api_version: core::ApiVersion::V3 as i32,
        failure_mode_allow: wanted.on_failure == OnFailure::Allow,
        allowed_headers: named(&wanted.request_headers),
        services: Some(ext_authz::ext_authz::Services::HttpService(service)),
        ..Default::default()
    };
    extension("marchproxy.external", &filter)
}

fn named(headers: &[String]) -> Option<matcher::ListStringMatcher> {
    let exactly = |name: &String| matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(name.clone())),
        ..Default::default()
    };
    (!headers.is_empty())
        .then(|| matcher::ListStringMatcher { patterns: headers.iter().map(exactly).collect() })
}
