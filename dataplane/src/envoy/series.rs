//! What Envoy counts of each listener, service, limit of requests and module, as series of Prometheus' text format (pure).
//!
//! They are no metrics of the recorder, which would keep those of objects that are gone for ever.
//! Counters are Envoy's own: one that takes over goes on with those of the one before, one that
//! starts from nothing begins again, as counters do.

use std::{collections::BTreeMap, fmt::Write as _};

/// Listeners, and services, that have series: the first by their names, as for XDP's endpoints.
pub(super) const SERIES_MAX: usize = 1_000;

/// What is asked for besides the sums, as alternatives of a regular expression.
pub(super) const NAMES: &str = "http\\.[^.]*/[^.]*\\.downstream_(rq_[1-5]xx|rq_time)\
|tcp\\.[^.]*/[^.]*\\.downstream_cx_total\
|cluster\\.[^.]*/[^.]*\\.(upstream_rq_([1-5]xx|active|timeout|retry|pending_overflow|time)\
|upstream_cx_(active|connect_fail|overflow)|outlier_detection\\.ejections_active\
|membership_(healthy|total))\
|limit\\..*\\.http_local_rate_limit\\.(ok|rate_limited)\
|wasm\\.[^.]*/.*\\.vm_reload_(success|failure|backoff)";

/// One family of series: those of listeners or of services.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    /// The end of Envoy's name, with the label that tells it from others of the family.
    members: &'static [(&'static str, &'static str)],
}

const LISTENERS: [Family; 4] = [
    Family {
        name: "marchproxy_envoy_listener_responses_total",
        help: "Responses of an HTTP listener, by class of their status",
        kind: "counter",
        members: &[
            ("downstream_rq_1xx", ",class=\"1xx\""),
            ("downstream_rq_2xx", ",class=\"2xx\""),
            ("downstream_rq_3xx", ",class=\"3xx\""),
            ("downstream_rq_4xx", ",class=\"4xx\""),
            ("downstream_rq_5xx", ",class=\"5xx\""),
        ],
    },
    Family {
        name: "marchproxy_envoy_listener_requests_active",
        help: "Requests of an HTTP listener being answered",
        kind: "gauge",
        members: &[("downstream_rq_active", "")],
    },
    Family {
        name: "marchproxy_envoy_listener_connections_active",
        help: "Open connections of a listener's clients",
        kind: "gauge",
        members: &[("downstream_cx_active", "")],
    },
    Family {
        name: "marchproxy_envoy_listener_connections_total",
        help: "Connections of a TCP or TLS listener's clients that Envoy took",
        kind: "counter",
        members: &[("downstream_cx_total", "")],
    },
];

const SERVICES: [Family; 8] = [
    Family {
        name: "marchproxy_envoy_service_responses_total",
        help: "Responses of a service's endpoints, by class of their status",
        kind: "counter",
        members: &[
            ("upstream_rq_1xx", ",class=\"1xx\""),
            ("upstream_rq_2xx", ",class=\"2xx\""),
            ("upstream_rq_3xx", ",class=\"3xx\""),
            ("upstream_rq_4xx", ",class=\"4xx\""),
            ("upstream_rq_5xx", ",class=\"5xx\""),
        ],
    },
    Family {
        name: "marchproxy_envoy_service_requests_active",
        help: "Requests that a service's endpoints are answering",
        kind: "gauge",
        members: &[("upstream_rq_active", "")],
    },
    Family {
        name: "marchproxy_envoy_service_connections_active",
        help: "Open connections to a service's endpoints",
        kind: "gauge",
        members: &[("upstream_cx_active", "")],
    },
    Family {
        name: "marchproxy_envoy_service_failures_total",
        help: "What failed on the way to a service, by reason: no connection to an endpoint (connect), \
               no answer in time (timeout), over a limit of connections or waiting requests (overflow)",
        kind: "counter",
        members: &[
            ("upstream_cx_connect_fail", ",reason=\"connect\""),
            ("upstream_rq_timeout", ",reason=\"timeout\""),
            ("upstream_cx_overflow", ",reason=\"overflow_connections\""),
            ("upstream_rq_pending_overflow", ",reason=\"overflow_requests\""),
        ],
    },
    Family {
        name: "marchproxy_envoy_service_retries_total",
        help: "Requests to a service that were tried again",
        kind: "counter",
        members: &[("upstream_rq_retry", "")],
    },
    Family {
        name: "marchproxy_envoy_service_endpoints",
        help: "Endpoints of a service",
        kind: "gauge",
        members: &[("membership_total", "")],
    },
    Family {
        name: "marchproxy_envoy_service_endpoints_healthy",
        help: "Endpoints of a service that get traffic",
        kind: "gauge",
        members: &[("membership_healthy", "")],
    },
    Family {
        name: "marchproxy_envoy_service_endpoints_ejected",
        help: "Endpoints of a service that outlier detection has ejected for a time",
        kind: "gauge",
        members: &[("outlier_detection.ejections_active", "")],
    },
];

const LIMITS: [Family; 1] = [Family {
    name: "marchproxy_envoy_rate_limit_requests_total",
    help: "Requests that a limit of requests let through (passed) or refused (limited)",
    kind: "counter",
    members: &[("ok", ",outcome=\"passed\""), ("rate_limited", ",outcome=\"limited\"")],
}];

const MODULES: [Family; 1] = [Family {
    name: "marchproxy_envoy_module_reloads_total",
    help: "Machines that were made in place of one that failed (success), could not be (failure), or were \
           to wait, while requests were refused (backoff)",
    kind: "counter",
    members: &[
        ("success", ",outcome=\"success\""),
        ("failure", ",outcome=\"failure\""),
        ("backoff", ",outcome=\"backoff\""),
    ],
}];

/// What stands between the name of a limit and what is counted of it.
const LIMIT_INFIX: &str = ".http_local_rate_limit.";
/// The same of a module.
const MODULE_INFIX: &str = ".vm_reload_";

/// The percentiles that are told, as Envoy writes them and as a quantile.
const QUANTILES: [(&str, &str); 3] = [("P50(", "0.5"), ("P90(", "0.9"), ("P99(", "0.99")];

/// What was counted of one listener, service, limit or module, by the end of Envoy's name.
#[derive(Clone, Debug, Default, PartialEq)]
struct Counted<'a> {
    values: BTreeMap<&'a str, u64>,
    /// Milliseconds since the last reading; none where nothing was answered since.
    times: [Option<f64>; QUANTILES.len()],
}

/// Makes the series of Envoy's answer; what is not understood is passed over.
pub(super) fn of(text: &str) -> String {
    let (mut listeners, mut services) = (BTreeMap::new(), BTreeMap::new());
    let (mut limits, mut modules) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        let Some((kind, rest)) = name.split_once('.') else { continue };
        let infix = match kind {
            "limit" => LIMIT_INFIX,
            "wasm" => MODULE_INFIX,
            _ => ".",
        };
        let Some((object, counted)) = rest.split_once(infix) else { continue };
        let objects = match kind {
            "http" | "tcp" => &mut listeners,
            "cluster" => &mut services,
            "limit" => &mut limits,
            "wasm" => &mut modules,
            _ => continue,
        };
        // Envoy's own have no namespace.
        if !object.contains('/') {
            continue;
        }
        let entry: &mut Counted<'_> = objects.entry(object).or_default();
        if let Ok(value) = value.parse() {
            entry.values.insert(counted, value);
        } else if matches!(counted, "downstream_rq_time" | "upstream_rq_time") {
            entry.times = times(value);
        }
    }
    let mut series = String::new();
    write(&mut series, "listener", &listeners, &LISTENERS);
    write_times(&mut series, "listener", &listeners);
    write(&mut series, "service", &services, &SERVICES);
    write_times(&mut series, "service", &services);
    write(&mut series, "policy", &limits, &LIMITS);
    write(&mut series, "module", &modules, &MODULES);
    let without: usize = [listeners.len(), services.len(), limits.len(), modules.len()]
        .into_iter()
        .map(|objects| objects.saturating_sub(SERIES_MAX))
        .sum();
    let name = "marchproxy_envoy_objects_without_series";
    // Writing to a string does not fail.
    let _ = writeln!(
        series,
        "# HELP {name} Listeners, services, limits of requests and modules that have no series of \
         their own, being more than {SERIES_MAX} of a kind\n# TYPE {name} gauge\n{name} {without}"
    );
    series
}

/// Reads `P50(1.0,2.0) P90(nan,3.0)`: of each pair the first, which is of the time since the last
/// reading.
fn times(text: &str) -> [Option<f64>; QUANTILES.len()] {
    QUANTILES.map(|(prefix, _)| {
        let pair = text.split(' ').find_map(|part| part.strip_prefix(prefix))?;
        let ms: f64 = pair.split_once(',')?.0.parse().ok()?;
        ms.is_finite().then_some(ms)
    })
}

fn write(
    series: &mut String,
    label: &str,
    objects: &BTreeMap<&str, Counted<'_>>,
    families: &[Family],
) {
    for Family { name, help, kind, members } in families {
        let _ = writeln!(series, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (object, counted) in objects.iter().take(SERIES_MAX) {
            for (member, labels) in *members {
                if let Some(value) = counted.values.get(member) {
                    let _ = writeln!(series, "{name}{{{label}=\"{object}\"{labels}}} {value}");
                }
            }
        }
    }
}

fn write_times(series: &mut String, label: &str, objects: &BTreeMap<&str, Counted<'_>>) {
    let name = format!("marchproxy_envoy_{label}_request_seconds");
    let _ = writeln!(
        series,
        "# HELP {name} Time of the requests of the last 15 s, by quantile\n# TYPE {name} gauge"
    );
    for (object, counted) in objects.iter().take(SERIES_MAX) {
        for ((_, quantile), ms) in QUANTILES.iter().zip(counted.times) {
            if let Some(ms) = ms {
                let seconds = ms / 1_000.0;
                let labels = format!("{label}=\"{object}\",quantile=\"{quantile}\"");
                let _ = writeln!(series, "{name}{{{labels}}} {seconds}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_of_objects_and_name_what_was_counted() {
        let series =
            of("http.default/web.downstream_rq_2xx: 7\nhttp.default/web.downstream_rq_active: 1\n\
            http.admin.downstream_rq_2xx: 9\ncluster.xds.upstream_rq_2xx: 9\nserver.live: 1\n\
            cluster.a/b.upstream_rq_5xx: 3\ncluster.a/b.upstream_cx_connect_fail: 2\n\
            cluster.a/b.outlier_detection.ejections_active: 1\ntcp.a/l4.downstream_cx_total: 5\n\
            cluster.a/b.upstream_rq_time: P0(nan,0.0) P50(1.5,2.0) P90(nan,9.0) P99(20.5,30.0)\n\
            limit.a/b.c.http_local_rate_limit.ok: 6\n\
            limit.a/b.c.http_local_rate_limit.rate_limited: 2\nwasm.a/b.c.vm_reload_success: 3\n\
            wasm.envoy.wasm.runtime.v8.created: 4\nwasm.a/b.c.vm_reload: 4\n");
        let lines: Vec<&str> = series.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "marchproxy_envoy_listener_responses_total{listener=\"default/web\",class=\"2xx\"} 7",
                "marchproxy_envoy_listener_requests_active{listener=\"default/web\"} 1",
                "marchproxy_envoy_listener_connections_total{listener=\"a/l4\"} 5",
                "marchproxy_envoy_service_responses_total{service=\"a/b\",class=\"5xx\"} 3",
                "marchproxy_envoy_service_failures_total{service=\"a/b\",reason=\"connect\"} 2",
                "marchproxy_envoy_service_endpoints_ejected{service=\"a/b\"} 1",
                "marchproxy_envoy_service_request_seconds{service=\"a/b\",quantile=\"0.5\"} 0.0015",
                "marchproxy_envoy_service_request_seconds{service=\"a/b\",quantile=\"0.99\"} 0.0205",
                "marchproxy_envoy_rate_limit_requests_total{policy=\"a/b.c\",outcome=\"passed\"} 6",
                "marchproxy_envoy_rate_limit_requests_total{policy=\"a/b.c\",outcome=\"limited\"} 2",
                "marchproxy_envoy_module_reloads_total{module=\"a/b.c\",outcome=\"success\"} 3",
                "marchproxy_envoy_objects_without_series 0",
            ]
        );
    }

    #[test]
    fn objects_past_the_bound_are_counted_and_nothing_else() {
        let text: String = (0..SERIES_MAX + 5)
            .map(|i| format!("cluster.ns/s{i:05}.membership_total: 1\n"))
            .collect();
        let series = of(&text);
        assert_eq!(series.lines().filter(|line| line.contains("{service=")).count(), SERIES_MAX);
        assert!(series.ends_with("marchproxy_envoy_objects_without_series 5\n"));
    }
}
