//! Strategies for valid services.

use std::collections::BTreeMap;

use proptest::{
    collection::btree_map,
    option,
    prelude::*,
    sample::{Index, select, subsequence},
};
use serde_json::{Value, json};

use crate::generate::{Optional, Raw, address, duration, object, path, with};

pub(crate) fn service() -> Raw {
    let locality = (option::of("[a-z0-9-]{0,8}"), option::of("\\PC{0,4}")).prop_map(|(r, z)| {
        with(json!({}), [("region", r.map(Value::from)), ("zone", z.map(Value::from))])
    });
    let endpoint = (option::of(0..=1_000u32), option::of(locality));
    let endpoints = btree_map((address(), 1..=u16::MAX), endpoint, 0..5).prop_map(endpoints);
    let balancing =
        option::of(select(vec!["RoundRobin", "LeastRequest", "Random", "Maglev", "RingHash"]));
    let slow_start =
        (duration(1_000..3_600_000), option::of(10..=1_000u32), option::of(1..=100u32)).prop_map(
            |(window, aggression, least)| {
                with(
                    json!({ "window": window }),
                    [
                        ("aggressionPercent", aggression.map(Value::from)),
                        ("minWeightPercent", least.map(Value::from)),
                    ],
                )
            },
        );
    let spec = (
        endpoints,
        balancing,
        option::of(duration(1..600_000)),
        option::of(slow_start),
        any::<bool>(),
        option::of(health_check()),
        extras(),
    )
        .prop_map(
            |(endpoints, balancing, timeout, slow_start, proxy, health_check, extras)| {
                // Probes by HTTP do not reach what waits for a PROXY header.
                let proxy = proxy && health_check.is_none();
                // Envoy has slow start with the first two.
                let slow_start = slow_start
                    .filter(|_| matches!(balancing, None | Some("RoundRobin" | "LeastRequest")));
                let options = match balancing {
                    Some("Maglev") => Some(("maglev", json!({ "tableSize": 257 }))),
                    Some("RingHash") => Some(("ringHash", json!({ "minimumRingSize": 64 }))),
                    Some("LeastRequest") => Some(("leastRequest", json!({ "choiceCount": 3 }))),
                    _ => None,
                };
                let spec = with(
                    json!({ "endpoints": endpoints }),
                    [
                        ("loadBalancing", balancing.map(Value::from)),
                        ("connectTimeout", timeout),
                        ("slowStart", slow_start),
                        ("proxyProtocol", proxy.then(|| Value::from("V2"))),
                        ("healthCheck", health_check),
                    ],
                );
                with(with(spec, options.map(|(name, value)| (name, Some(value)))), extras)
            },
        );
    object("Service", spec)
}

fn endpoints(map: BTreeMap<(String, u16), (Option<u32>, Option<Value>)>) -> Vec<Value> {
    let endpoint = |((address, port), (weight, locality)): (_, (Option<u32>, _))| {
        let weight = weight.map(Value::from);
        let endpoint = json!({ "address": address, "port": port });
        with(endpoint, [("weight", weight), ("locality", locality)])
    };
    map.into_iter().map(endpoint).collect()
}

fn health_check() -> Raw {
    let statuses = subsequence(vec![200, 204, 301, 404, 503], 1..5);
    let http = (path(), option::of("[a-z]{1,5}\\.example"), option::of(statuses)).prop_map(
        |(path, host, statuses)| {
            let http = with(
                json!({ "path": path }),
                [
                    ("host", host.map(Value::from)),
                    ("expectedStatuses", statuses.map(|statuses| json!(statuses))),
                ],
            );
            json!({ "http": http })
        },
    );
    let probe = prop_oneof![Just(json!({ "tcp": {} })), http];
    let times = option::of((100..10_000u64, any::<Index>(), any::<bool>()));
    let thresholds = (option::of(1..=100u32), option::of(1..=100u32));
    (probe, option::of(1..=u16::MAX), times, thresholds)
        .prop_map(|(probe, port, times, (unhealthy, healthy))| {
            let interval = times.map(|(ms, ..)| json!(format!("{ms}ms")));
            let timeout = times.filter(|(.., given)| *given).map(|(ms, share, _)| {
                json!(format!("{}us", 1_000 + share.index((ms as usize - 1) * 1_000)))
            });
            with(
                probe,
                [
                    ("port", port.map(Value::from)),
                    ("interval", interval),
                    ("timeout", timeout),
                    ("unhealthyThreshold", unhealthy.map(Value::from)),
                    ("healthyThreshold", healthy.map(Value::from)),
                ],
            )
        })
        .boxed()
}

/// What goes with everything else.
fn extras() -> BoxedStrategy<Vec<Optional>> {
    let breakers = prop_oneof![
        Just(json!({})),
        (1..100u32).prop_map(|max| json!({ "maxConnections": max, "maxRetries": max })),
        (1..=100u32).prop_map(|percent| json!({ "retryBudget": { "percent": percent } })),
    ];
    let outliers = prop_oneof![
        Just(json!({})),
        (1..9u32, duration(1_000..9_000)).prop_map(|(count, time)| json!({
            "consecutiveGatewayErrors": count, "baseEjectionTime": time, "successRate": {},
        })),
        (1..=100u32).prop_map(|threshold| json!({
            "failurePercentage": { "threshold": threshold }, "maxEjectionPercent": threshold,
        })),
    ];
    let failover = (0..=100u32, 100..=1_000u32).prop_map(|(panic, factor)| {
        json!({
            "panicThresholdPercent": panic, "overprovisioningPercent": factor,
        })
    });
    let connections = (duration(1_000..9_000), option::of(Just(json!({ "probes": 2 })))).prop_map(
        |(time, keepalive)| with(json!({ "idleTimeout": time }), [("tcpKeepalive", keepalive)]),
    );
    (option::of(breakers), option::of(outliers), option::of(failover), option::of(connections))
        .prop_map(|(breakers, outliers, failover, connections)| {
            vec![
                ("circuitBreakers", breakers),
                ("outlierDetection", outliers),
                ("failover", failover),
                ("connections", connections),
            ]
        })
        .boxed()
}
