//! The limits of requests that a request has to pass. What was counted is not known here, so it is taken
//! to pass.

use super::{incoming::Incoming, made_by, routes::Found};
use crate::{
    explain::Decision,
    key::ObjectKey,
    object::format_duration,
    qos_policy::LimitScope,
    rate_limit::{LimitedPer, RateLimit},
    snapshot::Snapshot,
};

/// Tells of the limits of the listener, then of those of the route.
pub(super) fn tell(
    config: &Snapshot,
    listener: &ObjectKey,
    found: &Found<'_>,
    request: &Incoming,
    decisions: &mut Vec<Decision>,
) {
    for target in [listener, found.route] {
        for (key, limit) in config.rate_limits() {
            let own = limit.target_refs.iter().position(|one| one.key() == *target);
            let Some(index) = own else { continue };
            let field = format!("spec.targetRefs[{index}]");
            decisions.push(made_by("limit", said(limit, request), key, &field));
        }
    }
}

fn said(limit: &RateLimit, request: &Incoming) -> String {
    let RateLimit { requests, burst, interval, .. } = limit;
    let counted = match &limit.per {
        LimitedPer::Route => "of all together".to_owned(),
        LimitedPer::Client => "of its client".to_owned(),
        LimitedPer::Header(name) => match request.header(name) {
            // It may be a key.
            Some(_) => format!("with its {name}"),
            None => format!("without {name}"),
        },
    };
    let by = match limit.scope {
        LimitScope::Node => "",
        LimitScope::Cluster => ", on all nodes together",
    };
    format!(
        "it goes on within {requests} requests in {} (at once: {burst}) {counted}{by}, else 429",
        format_duration(*interval)
    )
}
