//! What callers of gRPC see of the proxy's own answers: a gRPC status behind the HTTP status 200.

use super::{RequestExplanation, RequestHeader, decision};

/// Tells whether a request speaks gRPC.
pub(super) fn is_caller(headers: &[RequestHeader]) -> bool {
    headers.iter().any(|header| {
        let rest = header.value.strip_prefix("application/grpc");
        header.name == "content-type"
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
    })
}

/// How an answer of the proxy's own is told to a caller of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    /// By the status that stands for the HTTP status.
    ByStatus,
    /// By a status that a rule names.
    Exactly(u16),
    /// As to anybody.
    Plainly,
}

/// Makes the proxy's own answer one of gRPC.
pub(super) fn translate(answer: &mut RequestExplanation, telling: Telling) {
    let Some(status) = answer.status else { return };
    let grpc = match telling {
        Telling::ByStatus => status_of(status),
        Telling::Exactly(status) => status,
        Telling::Plainly => return,
    };
    let said = format!("to a caller of gRPC 200, with grpc-status {grpc} for {status}");
    answer.decisions.push(decision("outcome", said));
    answer.status = Some(200);
    answer.grpc_status = Some(grpc);
    answer.body = None;
}

/// The gRPC status that stands for an HTTP status (gRPC's http-grpc-status-mapping.md).
fn status_of(http: u16) -> u16 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}
