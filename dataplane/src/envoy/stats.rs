//! Envoy's counters, as metrics of the data plane.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::{overload, series};

/// What is asked of an Envoy that drains.
pub(super) const OPEN: &str = "/stats?usedonly&filter=^http\\..*\\.downstream_rq_active$";

/// Returns what is asked for: the sums, and what there are series of.
pub(super) fn target() -> String {
    format!("/stats?usedonly&filter=^({SUMS}|{})$", series::NAMES)
}

const SUMS: &str = "listener_manager\\.(lds\\.update_rejected\
|total_listeners_active)|cluster_manager\\.(cds\\.update_rejected|active_clusters)\
|http\\..*\\.(downstream_rq_total|downstream_rq_5xx|downstream_cx_active|downstream_rq_active\
|downstream_rq_overload_close)|listener\\..*\\.(downstream_global_cx_overflow|downstream_cx_overload_reject)\
|overload\\..*\\.(pressure|scale_percent)\
|tcp\\..*\\.downstream_cx_active|.*scoped_rds.*update_rejected|server\\.memory_allocated";

/// Says once what each metric is.
pub(super) fn describe() {
    describe_counter!(
        "marchproxy_envoy_requests_total",
        Unit::Count,
        "HTTP requests that Envoy took"
    );
    describe_counter!(
        "marchproxy_envoy_responses_5xx_total",
        Unit::Count,
        "HTTP responses of status 5xx"
    );
    describe_counter!(
        "marchproxy_envoy_updates_rejected_total",
        Unit::Count,
        "Configuration updates that Envoy refused, late ones included"
    );
    describe_gauge!(
        "marchproxy_envoy_connections_active",
        Unit::Count,
        "Open HTTP connections of clients"
    );
    describe_gauge!(
        "marchproxy_envoy_requests_active",
        Unit::Count,
        "HTTP requests being answered"
    );
    describe_gauge!(
        "marchproxy_envoy_memory_bytes",
        Unit::Bytes,
        "Memory that Envoy has allocated"
    );
    describe_gauge!("marchproxy_envoy_listeners", Unit::Count, "Listeners that Envoy runs");
    describe_gauge!("marchproxy_envoy_clusters", Unit::Count, "Clusters that Envoy knows");
    describe_counter!(
        "marchproxy_envoy_requests_shed_total",
        Unit::Count,
        "HTTP requests that Envoy answered by 503 because its memory runs out"
    );
    describe_counter!(
        "marchproxy_envoy_connections_shed_total",
        Unit::Count,
        "Connections that Envoy closed at once because it has too many, or its memory runs out"
    );
    describe_gauge!(
        "marchproxy_envoy_memory_pressure_ratio",
        "The share of the memory that Envoy may allocate which it has allocated"
    );
    describe_gauge!(
        "marchproxy_envoy_overload_action_ratio",
        "How far Envoy goes in what it does against overload, by action, 0 to 1"
    );
    describe_gauge!("marchproxy_envoy_ready", "1 while Envoy runs and takes traffic");
}

/// Sums of one reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) requests: u64,
    pub(super) responses_5xx: u64,
    pub(super) connections_active: u64,
    pub(super) requests_active: u64,
    pub(super) updates_rejected: u64,
    pub(super) memory_bytes: u64,
    pub(super) listeners: u64,
    pub(super) clusters: u64,
    pub(super) requests_shed: u64,
    pub(super) connections_shed: u64,
    /// How much of its memory is used, in percent.
    pub(super) pressure: u64,
    /// How far each of [`overload::ACTIONS`] goes, in percent.
    pub(super) actions: [u64; overload::ACTIONS.len()],
}

impl Reading {
    /// Reads lines of `name: value`; others are passed over.
    pub(super) fn parse(text: &str) -> Self {
        let mut reading = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.rsplit_once(": ") else { continue };
            let Ok(value) = value.parse::<u64>() else { continue };
            // Envoy's own admin interface is an HTTP server too.
            if name.starts_with("http.admin.") {
                continue;
            }
            let sum = match name.rsplit('.').next().unwrap_or(name) {
                "downstream_rq_total" => &mut reading.requests,
                "downstream_rq_5xx" => &mut reading.responses_5xx,
                "downstream_cx_active" => &mut reading.connections_active,
                "downstream_rq_active" => &mut reading.requests_active,
                "update_rejected" => &mut reading.updates_rejected,
                "memory_allocated" => &mut reading.memory_bytes,
                "total_listeners_active" => &mut reading.listeners,
                "active_clusters" => &mut reading.clusters,
                "downstream_rq_overload_close" => &mut reading.requests_shed,
                "downstream_global_cx_overflow" | "downstream_cx_overload_reject" => {
                    &mut reading.connections_shed
                }
                "pressure" if name.ends_with("fixed_heap.pressure") => &mut reading.pressure,
                "scale_percent" => match overload::action(name) {
                    Some(index) => &mut reading.actions[index],
                    None => continue,
                },
                _ => continue,
            };
            *sum += value;
        }
        reading
    }

    /// Publishes it; counters begin again when Envoy does, and only grow here.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub(super) fn publish(self, before: Self) {
        let grown = |now: u64, before: u64| if now >= before { now - before } else { now };
        counter!("marchproxy_envoy_requests_total")
            .increment(grown(self.requests, before.requests));
        counter!("marchproxy_envoy_responses_5xx_total")
            .increment(grown(self.responses_5xx, before.responses_5xx));
        counter!("marchproxy_envoy_updates_rejected_total")
            .increment(grown(self.updates_rejected, before.updates_rejected));
        gauge!("marchproxy_envoy_connections_active").set(self.connections_active as f64);
        gauge!("marchproxy_envoy_requests_active").set(self.requests_active as f64);
        gauge!("marchproxy_envoy_memory_bytes").set(self.memory_bytes as f64);
        gauge!("marchproxy_envoy_listeners").set(self.listeners as f64);
        gauge!("marchproxy_envoy_clusters").set(self.clusters as f64);
        counter!("marchproxy_envoy_requests_shed_total")
            .increment(grown(self.requests_shed, before.requests_shed));
        counter!("marchproxy_envoy_connections_shed_total")
            .increment(grown(self.connections_shed, before.connections_shed));
        gauge!("marchproxy_envoy_memory_pressure_ratio").set(self.pressure as f64 / 100.0);
        for ((_, action), percent) in overload::ACTIONS.iter().zip(self.actions) {
            gauge!("marchproxy_envoy_overload_action_ratio", "action" => *action)
                .set(percent as f64 / 100.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_sum_over_listeners() {
        let text = "http.default/web.downstream_rq_total: 7\nhttp.default/b.downstream_rq_total: 5\n\
            http.admin.downstream_rq_total: 100\nlistener_manager.lds.update_rejected: 1\n\
            cluster_manager.cds.update_rejected: 2\nserver.version: 99\n\
            http.x.downstream_rq_time: P0(nan,1.0)\nnonsense\n\
            listener.default/web.downstream_global_cx_overflow: 2\n\
            listener.default/b.downstream_cx_overload_reject: 1\n\
            http.default/b.downstream_rq_overload_close: 4\n\
            overload.envoy.resource_monitors.fixed_heap.pressure: 96\n\
            overload.envoy.resource_monitors.other.pressure: 99\n\
            overload.envoy.overload_actions.reduce_timeouts.scale_percent: 50\n\
            overload.envoy.overload_actions.stop_accepting_requests.scale_percent: 100\n\
            overload.envoy.overload_actions.another.scale_percent: 100\n";
        let expected = Reading {
            requests: 12,
            updates_rejected: 3,
            requests_shed: 4,
            connections_shed: 3,
            pressure: 96,
            actions: [50, 0, 0, 0, 100, 0],
            ..Reading::default()
        };
        assert_eq!(Reading::parse(text), expected);
    }
}
