//! Faults that are put into requests on purpose.

use model::route::{Fault, FaultAnswer};

use super::extension;
use crate::l7::pb::{self, core, fault, fault_common, matcher, route};

/// The content types of gRPC, as Envoy takes them.
const GRPC: &str = r"application/grpc(\+.*)?";

/// Makes the filters of a rule's faults: one, or where callers of gRPC are answered in another way
/// than others, one for each of both.
pub(super) fn filters(wanted: &Fault) -> Vec<core::TypedExtensionConfig> {
    use fault::fault_abort::ErrorType;
    let answer = wanted.abort.map(|abort| abort.answer);
    match answer {
        None => vec![extension("marchproxy.fault", &filter(wanted, None, Vec::new()))],
        Some(FaultAnswer::Status(status)) => {
            let error = ErrorType::HttpStatus(status.into());
            vec![extension("marchproxy.fault", &filter(wanted, Some(error), Vec::new()))]
        }
        Some(FaultAnswer::GrpcStatus(status)) => {
            // By itself, Envoy would answer others by 200.
            let other = ErrorType::HttpStatus(http_status(status));
            let grpc = ErrorType::GrpcStatus(status.into());
            vec![
                extension("marchproxy.fault", &filter(wanted, Some(other), vec![callers(false)])),
                extension(
                    "marchproxy.fault_grpc",
                    &filter(wanted, Some(grpc), vec![callers(true)]),
                ),
            ]
        }
    }
}

fn filter(
    wanted: &Fault,
    error: Option<fault::fault_abort::ErrorType>,
    headers: Vec<route::HeaderMatcher>,
) -> fault::HttpFault {
    use fault_common::fault_delay::FaultDelaySecifier;
    let delay = wanted.delay.map(|delay| fault_common::FaultDelay {
        percentage: Some(pb::percent(delay.percent)),
        fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(pb::duration(delay.duration))),
    });
    let abort = wanted.abort.map(|abort| fault::FaultAbort {
        response_body: String::new(),
        percentage: Some(pb::percent(abort.percent)),
        error_type: error,
    });
    fault::HttpFault { delay, abort, headers, ..Default::default() }
}

/// Matches requests that speak gRPC, or those that do not.
fn callers(speak_grpc: bool) -> route::HeaderMatcher {
    use matcher::string_matcher::MatchPattern;
    use route::header_matcher::HeaderMatchSpecifier;
    let pattern = matcher::StringMatcher {
        match_pattern: Some(MatchPattern::SafeRegex(pb::regex(GRPC))),
        ..Default::default()
    };
    route::HeaderMatcher {
        name: "content-type".into(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(pattern)),
        invert_match: !speak_grpc,
        // One without a type does not speak it.
        treat_missing_header_as_empty: true,
    }
}

/// Returns the HTTP status that stands for a gRPC status (google/rpc/code.proto).
fn http_status(grpc: u16) -> u32 {
    match grpc {
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        // Unknown, internal, data loss.
        _ => 500,
    }
}
