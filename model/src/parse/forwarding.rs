//! Reads what rules of HTTPRoutes and GRPCRoutes alike say about the requests they forward.

use super::{
    affinity::{affinity, session_persistence},
    backend::mirrors,
    fault::fault,
    header::header_edits,
    reader::{Fields, Read},
    retries::retries,
    scalar::duration,
};
use crate::{
    limits::{MAX_TIMEOUT, MIN_TIMEOUT},
    object::format_duration,
    route::{Affinity, Fault, HeaderEdits, Mirror, Retries, SessionPersistence, Timeouts},
};

/// What both kinds have.
pub(super) struct Forwarding {
    pub(super) request_headers: HeaderEdits,
    pub(super) response_headers: HeaderEdits,
    pub(super) timeouts: Timeouts,
    pub(super) retries: Option<Retries>,
    pub(super) mirrors: Vec<Mirror>,
    pub(super) affinity: Option<Affinity>,
    pub(super) session_persistence: Option<SessionPersistence>,
    pub(super) fault: Option<Fault>,
}

/// Reads it from the fields of a rule.
pub(super) fn forwarding(fields: &Fields<'_>, namespace: &str) -> Read<Forwarding> {
    let request_headers = fields.or("requestHeaders", HeaderEdits::default(), header_edits);
    let response_headers = fields.or("responseHeaders", HeaderEdits::default(), header_edits);
    let timeouts = timeouts(fields);
    let retries = fields.optional("retries", |node| {
        let retries = retries(node)?;
        let timeout = timeouts.as_ref().ok().and_then(|timeouts| timeouts.timeout);
        match (timeout, retries.per_try_timeout) {
            (Some(timeout), Some(each)) if each > timeout => {
                let message = format!(
                    "has a perTryTimeout of {}, longer than the timeout of {}",
                    format_duration(each),
                    format_duration(timeout)
                );
                Err(node.error(message, "write at most the timeout of the rule"))
            }
            _ => Ok(retries),
        }
    });
    let mirrors = fields.or("mirrors", Vec::new(), |node| mirrors(node, namespace));
    let affinity = fields.optional("affinity", affinity);
    let session_persistence = fields.optional("sessionPersistence", session_persistence);
    let fault = fields.optional("fault", fault);
    Ok(Forwarding {
        request_headers: request_headers?,
        response_headers: response_headers?,
        timeouts: timeouts?,
        retries: retries?,
        mirrors: mirrors?,
        affinity: affinity?,
        session_persistence: session_persistence?,
        fault: fault?,
    })
}

fn timeouts(fields: &Fields<'_>) -> Read<Timeouts> {
    let read = |name| fields.optional(name, |node| duration(node, MIN_TIMEOUT, MAX_TIMEOUT));
    let timeout = read("timeout");
    let stream_idle_timeout = read("streamIdleTimeout");
    let max_stream_duration = read("maxStreamDuration");
    let grpc_timeout_header_max = read("grpcTimeoutHeaderMax");
    Ok(Timeouts {
        timeout: timeout?,
        stream_idle_timeout: stream_idle_timeout?,
        max_stream_duration: max_stream_duration?,
        grpc_timeout_header_max: grpc_timeout_header_max?,
    })
}
