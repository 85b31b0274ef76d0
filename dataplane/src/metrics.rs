//! The metrics of a data plane that no engine owns.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use model::Revision;

/// Says once what each metric is.
pub fn describe() {
    crate::quotas::describe();
    describe_gauge!(
        "marchproxy_push_connected",
        "1 while a control node pushes configuration to this data plane"
    );
    describe_gauge!("marchproxy_push_revision", "Revision of the desired configuration");
    describe_gauge!("marchproxy_push_objects", Unit::Count, "Objects of the configuration");
    describe_gauge!(
        "marchproxy_push_unhealthy_endpoints",
        Unit::Count,
        "Endpoints that should get no traffic"
    );
    describe_counter!(
        "marchproxy_push_sessions_total",
        Unit::Count,
        "Sessions with control nodes that were greeted"
    );
    describe_counter!(
        "marchproxy_push_failures_total",
        Unit::Count,
        "Connections to control nodes that failed or ended"
    );
    describe_gauge!("marchproxy_last_known_good_revision", "Revision that is saved on disk");
}

#[expect(clippy::cast_precision_loss, reason = "revisions stay far below 2^53")]
fn number(value: u64) -> f64 {
    value as f64
}

pub(crate) fn last_known_good(revision: Revision) {
    gauge!("marchproxy_last_known_good_revision").set(number(revision.0));
}

pub(crate) fn desired(revision: Revision, objects: usize, unhealthy: usize) {
    gauge!("marchproxy_push_revision").set(number(revision.0));
    gauge!("marchproxy_push_objects").set(number(objects as u64));
    gauge!("marchproxy_push_unhealthy_endpoints").set(number(unhealthy as u64));
}

pub(crate) fn connected(connected: bool) {
    gauge!("marchproxy_push_connected").set(if connected { 1.0 } else { 0.0 });
}

pub(crate) fn session() {
    counter!("marchproxy_push_sessions_total").increment(1);
}

pub(crate) fn failure() {
    counter!("marchproxy_push_failures_total").increment(1);
}
