//! Asks the data plane for the answer to a challenge of ACME; what it has none to goes on.

use std::time::Duration;

use super::{extension, hcm, pb, run};
use crate::{
    acme,
    l7::pb::{composite, core, ext_proc, matcher, xds_core, xds_matcher},
};

/// The data plane is on this host.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Makes the filter.
pub(super) fn filter() -> hcm::HttpFilter {
    let matcher = of_path(acme::PATH, run(vec![ask()]));
    let composite = composite::Composite { matcher: Some(matcher), ..Default::default() };
    super::filter("marchproxy.challenge", pb::any(&composite))
}

fn ask() -> core::TypedExtensionConfig {
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    use ext_proc::processing_mode::HeaderSendMode;
    let target = EnvoyGrpc { cluster_name: pb::CHALLENGES_CLUSTER.into(), ..Default::default() };
    let service = core::GrpcService {
        timeout: Some(pb::duration(TIMEOUT)),
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(target)),
        ..Default::default()
    };
    let filter = ext_proc::ExternalProcessor {
        grpc_service: Some(service),
        // Without the data plane the request goes to the routes, as it does without a challenge.
        failure_mode_allow: true,
        message_timeout: Some(pb::duration(TIMEOUT)),
        processing_mode: Some(ext_proc::ProcessingMode {
            request_header_mode: HeaderSendMode::Send as i32,
            response_header_mode: HeaderSendMode::Skip as i32,
            ..Default::default()
        }),
        ..Default::default()
    };
    extension("marchproxy.challenge", &filter)
}

/// Takes an action for paths that start so.
fn of_path(start: &str, action: xds_core::TypedExtensionConfig) -> xds_matcher::Matcher {
    use xds_matcher::matcher::{
        MatcherList, MatcherType, OnMatch,
        matcher_list::{
            FieldMatcher, Predicate,
            predicate::{MatchType, SinglePredicate, single_predicate::Matcher},
        },
        on_match,
    };
    let input = matcher::HttpRequestHeaderMatchInput { header_name: ":path".into() };
    let single = SinglePredicate {
        input: Some(xds_core::TypedExtensionConfig {
            name: "path".into(),
            typed_config: Some(pb::any(&input)),
        }),
        matcher: Some(Matcher::ValueMatch(xds_matcher::StringMatcher {
            match_pattern: Some(xds_matcher::string_matcher::MatchPattern::Prefix(start.into())),
            ..Default::default()
        })),
    };
    let taken = OnMatch { on_match: Some(on_match::OnMatch::Action(action)), ..Default::default() };
    let field = FieldMatcher {
        predicate: Some(Predicate { match_type: Some(MatchType::SinglePredicate(single)) }),
        on_match: Some(taken),
    };
    xds_matcher::Matcher {
        matcher_type: Some(MatcherType::MatcherList(MatcherList { matchers: vec![field] })),
        ..Default::default()
    }
}
