//! What listeners carried by Envoy may have beside their address.

use std::collections::BTreeSet;

use proptest::{
    collection::{btree_map, btree_set, vec},
    option,
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::{Map, Value, json};

/// Fields for a listener of a protocol and engine; none where Envoy does not surely carry it.
pub(crate) fn fields(
    protocol: &str,
    engine: Option<&str>,
    all: Fields,
) -> Vec<(&'static str, Option<Value>)> {
    let http = protocol.starts_with("HTTP");
    let tcp = protocol == "TCP" && engine == Some("envoy");
    let connections = |value: Option<Value>| value.filter(|_| http || tcp);
    let http3 = protocol == "HTTPS"
        && all.proxy_protocol.is_none()
        && all.max_connections.is_none()
        && all.tls.get("clients").is_none()
        && all.tls.get("maxVersion").is_none_or(|version| version != "1.2");
    let options = all.http.map(|mut options| {
        if let Some(options) = options.as_object_mut().filter(|_| !http3) {
            options.remove("http3");
        }
        options
    });
    vec![
        ("maxConnections", connections(all.max_connections)),
        ("proxyProtocol", all.proxy_protocol.filter(|_| http || tcp || protocol == "TLS")),
        ("http", options.filter(|_| http)),
        ("tls", (protocol == "HTTPS").then_some(all.tls)),
        ("accessLogs", all.access_logs.filter(|_| http)),
    ]
}

/// All of them, whatever the protocol.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    max_connections: Option<Value>,
    proxy_protocol: Option<Value>,
    http: Option<Value>,
    tls: Value,
    access_logs: Option<Value>,
}

pub(crate) fn any_fields() -> impl Strategy<Value = Fields> {
    let proxy_protocol = option::of(select(vec!["Required", "Optional"]));
    let logs = option::of(vec(log(), 0..4));
    (option::of(1..=200_000u32), proxy_protocol, option::of(http()), tls(), logs).prop_map(
        |(max_connections, proxy_protocol, http, tls, logs)| Fields {
            max_connections: max_connections.map(Value::from),
            proxy_protocol: proxy_protocol.map(Value::from),
            http,
            tls,
            access_logs: logs.map(Value::from),
        },
    )
}

fn tls() -> impl Strategy<Value = Value> {
    let versions = select(vec![
        (None, None),
        (Some("1.2"), None),
        (Some("1.2"), Some("1.2")),
        (Some("1.3"), Some("1.3")),
        (None, Some("1.3")),
    ]);
    let parts = (btree_set("[a-z]{1,4}", 1..4), any::<bool>(), versions, option::of(clients()));
    parts.prop_map(|(names, files, (min, max), clients)| {
        let mut tls = if files { of_files(names) } else { named(names) };
        for (name, version) in [("minVersion", min), ("maxVersion", max)] {
            if let Some(version) = version {
                tls[name] = version.into();
            }
        }
        if let Some(clients) = clients {
            tls["clients"] = clients;
        }
        tls
    })
}

fn named(names: BTreeSet<String>) -> Value {
    let names: Vec<_> = names.into_iter().map(|name| json!({ "name": name })).collect();
    json!({ "certificates": names })
}

fn of_files(names: BTreeSet<String>) -> Value {
    let files = |name: String| json!({ "certificateFile": format!("/tls/{name}.pem"), "privateKeyFile": "/tls/key" });
    let mut certificates = names.into_iter().map(files);
    let mut tls = certificates.next().expect("one at least");
    let more: Vec<Value> = certificates.collect();
    if !more.is_empty() {
        tls["moreCertificates"] = more.into();
    }
    tls
}

fn clients() -> impl Strategy<Value = Value> {
    let part = |exact: &'static str, prefix: &'static str, suffix: &'static str| {
        prop_oneof![
            exact.prop_map(|text| json!({ "exact": text })),
            prefix.prop_map(|text| json!({ "prefix": text })),
            suffix.prop_map(|text| json!({ "suffix": text })),
        ]
    };
    let name = prop_oneof![
        part("[a-z]{1,4}", "[a-z]{1,4}", "\\.[a-z]{1,4}").prop_map(|part| ("dns", part)),
        part("urn:[a-z]", "s://[a-z]/", "[a-z]{1,4}").prop_map(|part| ("uri", part)),
        part("[a-z]@[a-z]", "[a-z]", "@[a-z]").prop_map(|part| ("email", part)),
        (1..255u8).prop_map(|last| ("ip", Value::from(format!("10.0.0.{last}")))),
    ]
    .prop_map(|(kind, part)| json!({ kind: part }).to_string());
    let details = vec!["Hash", "Subject", "DNS", "URI", "Certificate", "Chain"];
    let more = (
        option::of(Just("/tls/ca.crl")),
        option::of(select(vec!["Required", "Optional"])),
        option::of(btree_set(name, 1..4)),
        option::of(subsequence(details, 1..=6)),
    );
    more.prop_map(|(crl, mode, names, forward)| {
        let mut clients = json!({ "caFile": "/tls/ca.pem" });
        let names = names.map(|names| {
            names
                .iter()
                .map(|name| serde_json::from_str(name).expect("it is JSON"))
                .collect::<Vec<Value>>()
        });
        let fields = [
            ("crlFile", crl.map(Value::from)),
            ("mode", mode.filter(|_| names.is_none()).map(Value::from)),
            ("subjectAltNames", names.map(Value::from)),
            ("forward", forward.map(Value::from)),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                clients[name] = value;
            }
        }
        clients
    })
}

fn http() -> impl Strategy<Value = Value> {
    let time = || option::of((1..=3_600u32).prop_map(|s| Value::from(format!("{s}s"))));
    let number = |most: u32| option::of((1..=most).prop_map(Value::from));
    let http3 = option::of((time(), number(65_535)).prop_map(|(age, port)| {
        let fields = [("maxAge", age), ("advertisedPort", port)];
        let there = fields.into_iter().filter_map(|(name, value)| Some((name.into(), value?)));
        Value::Object(there.collect::<Map<_, _>>())
    }));
    let numbers = (number(8_192), number(10_000), number(16));
    (time(), time(), time(), time(), numbers, http3, option::of(compression())).prop_map(
        |(idle, stream, headers, connection, (size, streams, hops), http3, compression)| {
            let fields = [
                ("idleTimeout", idle),
                ("streamIdleTimeout", stream),
                ("requestHeadersTimeout", headers),
                ("maxConnectionDuration", connection),
                ("maxRequestHeadersKB", size),
                ("maxConcurrentStreams", streams),
                ("trustedHops", hops),
                ("http3", http3),
                ("compression", compression),
            ];
            let there = fields.into_iter().filter_map(|(name, value)| Some((name.into(), value?)));
            Value::Object(there.collect::<Map<_, _>>())
        },
    )
}

fn compression() -> impl Strategy<Value = Value> {
    let algorithms = option::of(subsequence(vec!["gzip", "br", "zstd"], 1..=3));
    let types = option::of(btree_set("[aA]pplication/[a-z+.-]{1,8}", 1..4));
    let types = types.prop_map(|types| {
        let lower = types?.into_iter().map(|one: String| one.to_lowercase());
        Some(lower.collect::<std::collections::BTreeSet<_>>())
    });
    (algorithms, types, option::of(30..10_000u32), option::of(any::<bool>())).prop_map(
        |(algorithms, types, least, by_default)| {
            let fields = [
                ("algorithms", algorithms.map(|it| json!(it))),
                ("contentTypes", types.map(|it| json!(it))),
                ("minBytes", least.map(Value::from)),
                ("byDefault", by_default.map(Value::from)),
            ];
            let there = fields.into_iter().filter_map(|(name, value)| Some((name.into(), value?)));
            Value::Object(there.collect::<Map<_, _>>())
        },
    )
}

fn log() -> impl Strategy<Value = Value> {
    let to = prop_oneof![
        Just(("file", json!("/var/log/access.log"))),
        Just(("stdout", json!({}))),
        "[a-c]".prop_map(|name| ("otlp", json!({ "service": { "name": name } }))),
    ];
    let headers = btree_map("[a-z_]{1,8}", "x-[a-z-]{1,8}", 0..3);
    (to, headers, option::of(100..600u32), option::of(1..=100u32)).prop_map(
        |((name, to), headers, status, percent)| {
            let mut log = json!({ name: to, "headers": headers });
            if let Some(status) = status {
                log["minStatus"] = status.into();
            }
            if let Some(percent) = percent {
                log["samplePercent"] = percent.into();
            }
            log
        },
    )
}
