//! What concerns several objects: references, conflicts of listeners, duplicate matches.
//!
//! Errors are about changed objects and about what a change breaks; what was there before and is
//! untouched never stands in the way of a change. The work is the change and, where it
//! concerns objects that refer to what changed, a pass over these. The result depends on the set of objects only, not on the order of their arrival.

mod certificates;
mod compression;
mod concerned;
mod fault;
mod grpc_routes;
mod http_routes;
mod l4_routes;
mod listeners;
mod logins;
mod needs_envoy;
mod packet_filters;
mod qos_policies;
mod rate_limits;
mod references;
mod rollout_policies;
mod tls_routes;

use std::collections::BTreeSet;

use crate::{error::ConfigErrors, key::ObjectKey, parse, snapshot::Snapshot};

/// Checks a snapshot in which the objects `changed` have been added, replaced or removed.
///
/// [`ConfigError::document`](crate::ConfigError::document) is 0 in each error: a snapshot has no
/// documents.
///
/// # Errors
///
/// All that the change makes wrong, ordered by object and path.
pub fn validate_snapshot(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
) -> Result<(), ConfigErrors> {
    let mut errors = Vec::new();
    references::check(snapshot, changed, &mut errors);
    listeners::check(snapshot, changed, &mut errors);
    l4_routes::check(snapshot, changed, &mut errors);
    http_routes::check(snapshot, changed, &mut errors);
    grpc_routes::check(snapshot, changed, &mut errors);
    tls_routes::check(snapshot, changed, &mut errors);
    compression::check(snapshot, changed, &mut errors);
    needs_envoy::check(snapshot, changed, &mut errors);
    packet_filters::check(snapshot, changed, &mut errors);
    qos_policies::check(snapshot, changed, &mut errors);
    rate_limits::check(snapshot, changed, &mut errors);
    rollout_policies::check(snapshot, changed, &mut errors);
    certificates::check(snapshot, changed, &mut errors);
    logins::check(snapshot, changed, &mut errors);
    if errors.is_empty() {
        return Ok(());
    }
    errors.sort_by(|a, b| (&a.object, &a.path, &a.message).cmp(&(&b.object, &b.path, &b.message)));
    errors.dedup();
    Err(parse::bounded(errors))
}
