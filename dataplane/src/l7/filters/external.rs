//! The consent of a service that is asked about each request.

use model::auth_policy::{External, ExternalProtocol, OnFailure};

use super::{extension, removal};
use crate::l7::{
    names,
    pb::{self, core, ext_authz, matcher},
};

/// What a service that is asked over gRPC sees of the headers, as it does over HTTP.
const CREDENTIALS: &str = "authorization";

/// Makes the filters that ask. What the service says of a request, clients must not say themselves: it is
/// taken off before, also where the answer has nothing to put in its place.
pub(super) fn filters(wanted: &External) -> impl Iterator<Item = core::TypedExtensionConfig> {
    let said = wanted.upstream_headers.iter().map(String::as_str);
    let mut said = said.filter(|header| *header != CREDENTIALS).peekable();
    let cleaned = said.peek().is_some().then(|| removal::filter("marchproxy.said", said));
    cleaned.into_iter().chain([filter(wanted)])
}

fn filter(wanted: &External) -> core::TypedExtensionConfig {
    use ext_authz::ext_authz::Services;
    let (services, allowed_headers) = match wanted.protocol {
        ExternalProtocol::Http => {
            (Services::HttpService(over_http(wanted)), named(&wanted.request_headers))
        }
        ExternalProtocol::Grpc => {
            // Where none are named Envoy would show all.
            let seen = [&[CREDENTIALS.to_owned()], wanted.request_headers.as_slice()].concat();
            (Services::GrpcService(over_grpc(wanted)), named(&seen))
        }
    };
    let filter = ext_authz::ExtAuthz {
        transport_api_version: core::ApiVersion::V3 as i32,
        failure_mode_allow: wanted.on_failure == OnFailure::Allow,
        allowed_headers,
        services: Some(services),
        ..Default::default()
    };
    extension("marchproxy.external", &filter)
}

fn over_http(wanted: &External) -> ext_authz::HttpService {
    let cluster = names::reference(&wanted.service).to_string();
    ext_authz::HttpService {
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
    }
}

fn over_grpc(wanted: &External) -> core::GrpcService {
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    let cluster_name = names::reference(&wanted.service).to_string();
    // Else it would be the cluster's name, whose slash stands in no authority.
    let authority = wanted.service.name.clone();
    let target = EnvoyGrpc { cluster_name, authority, ..Default::default() };
    core::GrpcService {
        timeout: Some(pb::duration(wanted.timeout)),
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(target)),
        ..Default::default()
    }
}

fn named(headers: &[String]) -> Option<matcher::ListStringMatcher> {
    let exactly = |name: &String| matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(name.clone())),
        ..Default::default()
    };
    (!headers.is_empty())
        .then(|| matcher::ListStringMatcher { patterns: headers.iter().map(exactly).collect() })
}
