//! Strategies for valid documents of every kind, as raw JSON values.
//!
//! Names come from a small pool, so that generated objects refer to and conflict with each other.

use std::collections::BTreeMap;

use proptest::{
    collection::{btree_map, btree_set, vec},
    option,
    prelude::*,
    sample::{Index, select, subsequence},
};
use serde_json::{Map, Value, json};

use crate::{
    generate_auth, generate_grpc, generate_listener, generate_module, generate_policy,
    generate_service,
};

pub(crate) type Raw = BoxedStrategy<Value>;
pub(crate) type Optional = (&'static str, Option<Value>);

/// A valid document of any kind.
pub(crate) fn document() -> Raw {
    prop_oneof![
        listener(),
        object("AuthPolicy", generate_auth::policy()),
        certificate(),
        object("Issuer", issuer()),
        http_route(),
        generate_grpc::grpc_route(),
        tls_route(),
        l4_route("TCPRoute"),
        l4_route("UDPRoute"),
        generate_service::service(),
        packet_filter(),
        prefix_list(),
        qos_policy(),
        rate_limit(),
        generate_module::filter_module(),
        rollout_policy()
    ]
    .boxed()
}

fn issuer() -> impl Strategy<Value = Value> {
    let contact = option::of(btree_set("[a-z]{1,5}@[a-z]{1,5}\\.example", 0..3));
    let challenge = option::of(select(vec!["HTTP-01", "TLS-ALPN-01"]));
    let acme = ("[a-z/]{0,9}", contact, any::<bool>(), challenge).prop_map(
        |(path, contact, ca, challenge)| {
            let server = format!("https://acme.example/{path}");
            let acme = json!({ "server": server, "termsOfServiceAgreed": true });
            let contact = contact.map(|contact| json!(contact));
            let acme = with(
                acme,
                [
                    ("challenge", challenge.map(Value::from)),
                    ("contact", contact),
                    ("caFile", ca.then(|| json!("/etc/ca.pem"))),
                ],
            );
            json!({ "acme": acme })
        },
    );
    prop_oneof![Just(json!({ "internal": {} })), acme]
}

fn certificate() -> Raw {
    let files = Just(json!({ "certificateFile": "/tls/a.pem", "privateKeyFile": "/tls/a.key" }));
    let hosts = btree_set("(\\*\\.)?[a-z]{1,5}\\.example", 1..4);
    let times = option::of((60..86_400u32, 1..=40u32));
    let issued = ("[a-c]", hosts, times).prop_map(|(issuer, hosts, times)| {
        let spec = json!({ "issuer": { "name": issuer }, "hosts": hosts });
        let seconds = |seconds: u32| json!(format!("{seconds}s"));
        let (lifetime, before) = times.unzip();
        with(spec, [("lifetime", lifetime.map(seconds)), ("renewBefore", before.map(seconds))])
    });
    object("Certificate", prop_oneof![files, issued])
}

/// What a policy is for.
pub(crate) fn targets() -> impl Strategy<Value = Value> {
    let kind = select(vec!["Listener", "HTTPRoute", "GRPCRoute"]);
    btree_set((kind, "[a-c]"), 1..4).prop_map(|set| {
        let target = |(kind, name)| json!({ "kind": kind, "name": name });
        set.into_iter().map(target).collect::<Value>()
    })
}

fn rate_limit() -> Raw {
    let targets = targets();
    let per = prop_oneof![
        select(vec!["Route", "Client"]).prop_map(Value::from),
        "[xX]-[a-z]{1,4}".prop_map(|name| json!({ "header": name })),
    ];
    let count = 1..=10_000_000u32;
    let interval = duration(1_000..80_000_000);
    let scope = select(vec!["Node", "Cluster"]);
    let further = (option::of(count.clone()), option::of(per), option::of(scope));
    let spec = (targets, count, interval, further).prop_map(
        |(targets, requests, interval, (burst, per, scope))| {
            with(
                json!({ "targetRefs": targets, "requests": requests, "interval": interval }),
                [
                    ("burst", burst.map(Value::from)),
                    ("per", per),
                    ("scope", scope.map(Value::from)),
                ],
            )
        },
    );
    object("RateLimit", spec)
}

fn rollout_policy() -> Raw {
    let group = prop_oneof![
        btree_set("[a-z]{1,4}", 1..3).prop_map(|nodes| json!({ "nodes": nodes })),
        (1..100u32).prop_map(|percent| json!({ "percent": percent })),
    ];
    let step = (group, option::of(1..100u32)).prop_map(|(step, hold)| {
        with(step, [("hold", hold.map(|seconds| json!(format!("{seconds}s"))))])
    });
    let errors = (0..=100u32, 1..500u32)
        .prop_map(|(most, least)| json!({ "maxPercent": most, "minRequests": least }));
    let latency = (1..5_000u32).prop_map(|ms| json!({ "p99": format!("{ms}ms") }));
    let drops = (0..100u32, 1..9_000u32)
        .prop_map(|(most, least)| json!({ "maxPercent": most, "minPackets": least }));
    let gates = (option::of(errors), option::of(latency), option::of(drops)).prop_map(
        |(errors, latency, drops)| {
            with(json!({}), [("errors", errors), ("latency", latency), ("drops", drops)])
        },
    );
    let spec = (vec(step, 1..4), option::of(gates))
        .prop_map(|(steps, gates)| with(json!({ "steps": steps }), [("gates", gates)]));
    object("RolloutPolicy", spec)
}

/// Adds the fields that are there.
pub(crate) fn with(mut value: Value, fields: impl IntoIterator<Item = Optional>) -> Value {
    let map = value.as_object_mut().expect("a mapping");
    map.extend(fields.into_iter().filter_map(|(name, v)| Some((name.to_owned(), v?))));
    value
}

pub(crate) fn object(kind: &'static str, spec: impl Strategy<Value = Value> + 'static) -> Raw {
    let labels = btree_map("[a-zA-Z0-9]([a-z._/-]{0,6}[a-z0-9])?", "\\PC{0,12}", 1..4);
    let name = prop_oneof![4 => "[a-c]", 1 => "[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?"];
    (name, option::of("[ab]"), option::of(labels), any::<bool>(), spec)
        .prop_map(move |(name, namespace, labels, version, spec)| {
            let metadata = with(
                json!({ "name": name }),
                [
                    ("namespace", namespace.map(Value::from)),
                    ("labels", labels.map(|labels| json!(labels))),
                ],
            );
            let version = version.then(|| json!("marchproxy.io/v1"));
            let document = json!({ "kind": kind, "metadata": metadata, "spec": spec });
            with(document, [("apiVersion", version)])
        })
        .boxed()
}

pub(crate) fn duration(range: std::ops::Range<u64>) -> Raw {
    let least = range.start;
    (range, 0..4u8)
        .prop_map(move |(ms, form)| match form {
            0 => json!(format!("{}us", ms * 1_000)),
            // Whole seconds and minutes, which the canonical form writes as such.
            1 => json!(format!("{}ms", (ms - ms % 1_000).max(least))),
            2 => json!(format!("{}ms", (ms - ms % 60_000).max(least))),
            _ => json!(format!("{ms}ms")),
        })
        .boxed()
}

pub(crate) fn address() -> BoxedStrategy<String> {
    prop_oneof![
        (1..=223u8, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| format!("{a}.{b}.{c}.{d}")),
        any::<[u16; 7]>().prop_map(|rest| {
            let parts = rest.map(|part| format!("{part:x}"));
            format!("2001:{}", parts.join(":"))
        }),
    ]
    .boxed()
}

fn listener() -> Raw {
    let address = option::of(prop_oneof![Just("*".to_owned()), address()]);
    let protocol = select(vec!["HTTP", "HTTPS", "TLS", "TCP", "UDP"]);
    let engine = option::of(select(vec!["auto", "envoy", "xdp"]));
    let forwarding = option::of(select(vec!["NAT", "L2", "IPIP", "GUE"]));
    let syn_cookies = option::of(select(vec!["Auto", "Never", "Always"]));
    let port = prop_oneof![1..4u16, 1..=u16::MAX];
    let fields = generate_listener::any_fields();
    let spec = (protocol, port, address, engine, forwarding, syn_cookies, fields).prop_map(
        |(protocol, port, address, engine, forwarding, syn_cookies, fields)| {
            let own_address = address.as_deref().is_some_and(|address| address != "*");
            let is_l4 = matches!(protocol, "TCP" | "UDP");
            let forwarding = forwarding.filter(|forwarding| {
                let direct = *forwarding != "NAT";
                is_l4 && !(direct && (!own_address || engine == Some("envoy")))
            });
            let engine = engine.filter(|engine| *engine != "xdp" || is_l4);
            let syn_cookies = syn_cookies.filter(|_| {
                protocol == "TCP" && engine != Some("envoy") && forwarding.unwrap_or("NAT") == "NAT"
            });
            let spec = with(
                json!({ "protocol": protocol, "port": port }),
                [
                    ("address", address.map(Value::from)),
                    ("engine", engine.map(Value::from)),
                    ("forwarding", forwarding.map(Value::from)),
                    ("synCookies", syn_cookies.map(Value::from)),
                ],
            );
            with(spec, generate_listener::fields(protocol, engine, fields))
        },
    );
    object("Listener", spec)
}

pub(crate) fn references(most: usize) -> BoxedStrategy<Vec<Value>> {
    btree_set((select(vec!["a", "b"]), "[a-c]"), 1..most)
        .prop_map(|set| {
            let reference = |(namespace, name)| json!({ "namespace": namespace, "name": name });
            set.into_iter().map(reference).collect()
        })
        .boxed()
}

pub(crate) fn backends() -> Raw {
    (references(4), 1..=1_000u32, vec(option::of(0..=1_000_000u32), 4))
        .prop_map(|(services, first, others)| {
            let weights = std::iter::once(Some(first)).chain(others);
            let backend = |(service, weight): (_, Option<u32>)| {
                with(json!({ "service": service }), [("weight", weight.map(Value::from))])
            };
            services.into_iter().zip(weights).map(backend).collect()
        })
        .boxed()
}

fn l4_route(kind: &'static str) -> Raw {
    let spec = (references(3), backends())
        .prop_map(|(listeners, backends)| json!({ "listeners": listeners, "backends": backends }));
    object(kind, spec)
}

fn tls_route() -> Raw {
    let spec = (references(3), hosts(), backends()).prop_map(|(listeners, hosts, backends)| {
        json!({ "listeners": listeners, "hosts": hosts, "backends": backends })
    });
    object("TLSRoute", spec)
}

fn prefix() -> BoxedStrategy<String> {
    let v4 = (any::<u32>(), 0..=32u32).prop_map(|(bits, length)| {
        let cut = bits & u32::MAX.checked_shl(32 - length).unwrap_or(0);
        format!("{}/{length}", std::net::Ipv4Addr::from_bits(cut))
    });
    let v6 = (any::<u64>(), 0..=64u32).prop_map(|(bits, length)| {
        let cut = bits & u64::MAX.checked_shl(64 - length).unwrap_or(0);
        format!("{}/{length}", std::net::Ipv6Addr::from_bits(u128::from(cut) << 64))
    });
    prop_oneof![v4, v6, address()].boxed()
}

fn prefix_list() -> Raw {
    object("PrefixList", vec(prefix(), 0..8).prop_map(|prefixes| json!({ "prefixes": prefixes })))
}

fn packet_filter() -> Raw {
    let spec =
        (option::of(0..=1_000u32), vec(filter_rule(), 1..4)).prop_map(|(priority, rules)| {
            with(json!({ "rules": rules }), [("priority", priority.map(Value::from))])
        });
    object("PacketFilter", spec)
}

fn qos_policy() -> Raw {
    let limit = || {
        (1..=100_000u32, option::of(any::<Index>())).prop_map(|(mbps, burst)| {
            let least = (mbps * 10).div_ceil(8).max(10) as usize;
            let burst = burst.map(|share| json!(least + share.index(1_000_001 - least)));
            with(json!({ "bandwidthMbps": mbps }), [("burstKB", burst)])
        })
    };
    let class = option::of((select(vec!["P0", "P1", "P2", "P3"]), option::of(1..=100u32)));
    let dscp = prop_oneof![
        (0..64u32).prop_map(Value::from),
        select(vec!["EF", "AF11", "AF43", "CS0", "CS7"]).prop_map(Value::from),
    ];
    let excess = option::of(select(vec!["Queue", "Drop"]));
    let ecn = option::of(select(vec!["Preserve", "Mark"]));
    let limits = (option::of(limit()), option::of(limit()), option::of(dscp));
    let rest =
        (option::of(duration(1..1_000)), excess, ecn, option::of(select(vec!["Node", "Cluster"])));
    let spec = (references(3), class, limits, rest).prop_map(
        |(listeners, class, (ingress, egress, dscp), (latency, excess, ecn, scope))| {
            let limited = ingress.is_some() || egress.is_some();
            let dscp = dscp.or((!limited).then(|| json!("EF")));
            let weight = class.and_then(|(class, weight)| weight.filter(|_| class != "P0"));
            with(
                json!({ "listeners": listeners }),
                [
                    ("class", class.map(|(class, _)| json!(class))),
                    ("weight", weight.map(Value::from)),
                    ("latencyLimit", latency),
                    ("ingress", ingress),
                    ("egress", egress),
                    ("dscp", dscp),
                    ("excess", excess.map(Value::from)),
                    ("ecn", ecn.filter(|_| limited).map(Value::from)),
                    ("scope", scope.filter(|it| limited || *it == "Node").map(Value::from)),
                ],
            )
        },
    );
    object("QoSPolicy", spec)
}

fn filter_rule() -> Raw {
    let prefixes = || option::of(vec(prefix(), 1..4).prop_map(|prefixes| json!(prefixes)));
    let lists = option::of(references(3).prop_map(|lists| json!(lists)));
    let ports = btree_set(1..=65_535u16, 1..6).prop_map(|borders| {
        let borders: Vec<u16> = borders.into_iter().collect();
        let range = |pair: &[u16]| match pair {
            [first, last] => json!(format!("{first}-{last}")),
            only => json!(only[0]),
        };
        borders.chunks(2).map(range).collect::<Value>()
    });
    let protocol = option::of(select(vec!["TCP", "UDP"]));
    let action = prop_oneof![
        4 => select(vec!["Allow", "Deny"]).prop_map(|action| (action, None)),
        1 => rate().prop_map(|rate| ("Rate", Some(rate))),
    ];
    (action, prefixes(), lists, prefixes(), protocol, option::of(ports))
        .prop_map(|((action, rate), sources, lists, destinations, protocol, ports)| {
            with(
                json!({ "action": action }),
                [
                    ("rate", rate),
                    ("sources", sources),
                    ("sourceLists", lists),
                    ("destinations", destinations),
                    ("protocol", protocol.map(Value::from)),
                    ("ports", ports),
                ],
            )
        })
        .boxed()
}

pub(crate) fn path() -> BoxedStrategy<String> {
    "/([a-zA-Z0-9_~!$&'()*+,;=:@-]{1,5}|%[0-9A-F]{2})(/[a-z]{1,3}){0,2}".boxed()
}

pub(crate) fn regex() -> BoxedStrategy<String> {
    "[a-z]{1,4}(\\.\\*|\\[a-z\\]\\+|\\(b\\|c\\)|\\\\d\\{1,3\\}|x\\?)?".boxed()
}

pub(crate) fn hosts() -> BoxedStrategy<Vec<String>> {
    let host = prop_oneof![
        Just("*".to_owned()),
        "(\\*\\.)?[a-c]\\.example",
        "[a-zA-Z0-9]{1,10}(\\.[a-z]{1,5}){0,2}",
    ];
    vec(host, 1..4)
        .prop_map(|hosts| {
            let mut seen = std::collections::BTreeSet::new();
            let new = |host: &String| seen.insert(host.to_ascii_lowercase());
            hosts.into_iter().filter(new).collect::<Vec<_>>()
        })
        .boxed()
}

fn http_route() -> Raw {
    // Distinct by path, so that no match stands twice.
    let matches = btree_map(path_match(), conditions(), 1..6);
    let spec = (references(3), hosts(), matches, vec(action(), 5)).prop_map(
        |(listeners, hosts, matches, actions)| {
            let rules: Vec<Value> = matches
                .into_iter()
                .zip(actions)
                .map(|(((kind, path), conditions), action)| rule(kind, &path, conditions, action))
                .collect();
            json!({ "listeners": listeners, "hosts": hosts, "rules": rules })
        },
    );
    object("HTTPRoute", spec)
}

fn rule(kind: &str, path: &str, conditions: Value, mut action: Value) -> Value {
    if kind == "regex"
        && let Some(rewrite) = action.get_mut("rewrite").and_then(Value::as_object_mut)
    {
        rewrite.remove("path");
        rewrite.insert("host".to_owned(), json!("rewritten.example"));
    }
    let condition = with(conditions, [("path", Some(json!({ kind: path })))]);
    with(action, [("matches", Some(json!([condition])))])
}

fn path_match() -> BoxedStrategy<(&'static str, String)> {
    prop_oneof![
        (Just("exact"), path()),
        (Just("prefix"), path()),
        (Just("regex"), regex().prop_map(|regex| format!("/{regex}"))),
    ]
    .boxed()
}

fn conditions() -> Raw {
    let condition = || {
        prop_oneof![
            "[!-~]{1,8}".prop_map(|value| json!({ "exact": value })),
            regex().prop_map(|regex| json!({ "regex": regex })),
            any::<bool>().prop_map(|present| json!({ "present": present })),
        ]
    };
    let list = |map: BTreeMap<String, Value>| -> Value {
        let named = |(name, value)| with(value, [("name", Some(Value::String(name)))]);
        map.into_iter().map(named).collect()
    };
    let headers = btree_map("x-[a-z]{1,4}", condition(), 1..3).prop_map(list);
    let query = btree_map("\\PC{1,5}", condition(), 1..3).prop_map(list);
    let method = select(vec!["GET", "POST", "PURGE", "M-SEARCH"]);
    (option::of(method), option::of(headers), option::of(query))
        .prop_map(|(method, headers, query)| {
            let method = method.map(Value::from);
            with(json!({}), [("method", method), ("headers", headers), ("query", query)])
        })
        .boxed()
}

pub(crate) fn edits() -> Raw {
    let value = "[!-~]([ -~é]{0,8}[!-~])?";
    let lists = (0..3usize, value);
    btree_map("[xX]-[a-z]{1,4}", lists, 1..4)
        .prop_map(|edits| {
            let mut lists = [Vec::new(), Vec::new(), Vec::new()];
            let mut seen = std::collections::BTreeSet::new();
            for (name, (list, value)) in edits {
                if seen.insert(name.to_ascii_lowercase()) {
                    lists[list].push(match list {
                        2 => json!(name),
                        _ => json!({ "name": name, "value": value }),
                    });
                }
            }
            let [set, add, remove] = lists;
            json!({ "set": set, "add": add, "remove": remove })
        })
        .boxed()
}

fn action() -> Raw {
    let redirect = (select(vec![301, 302, 303, 307, 308]), path()).prop_map(|(status, path)| {
        json!({ "redirect": { "host": "elsewhere.test", "path": path, "status": status } })
    });
    let direct = (select(vec![200, 404, 503]), "\\PC{0,10}")
        .prop_map(|(status, body)| json!({ "directResponse": { "status": status, "body": body } }));
    let rewrite = (path(), option::of("[a-z]{1,5}"))
        .prop_map(|(path, host)| with(json!({ "path": path }), [("host", host.map(Value::from))]));
    let forward = (
        backends(),
        option::of(rewrite),
        option::of(edits()),
        option::of(duration(10_000..20_000)),
        option::of(retries()),
        generate_policy::policies(),
    )
        .prop_map(|(backends, rewrite, edits, timeout, retries, policies)| {
            with(
                with(policies, [("backends", Some(json!(backends)))]),
                [
                    ("rewrite", rewrite),
                    ("requestHeaders", edits),
                    ("timeout", timeout),
                    ("retries", retries),
                ],
            )
        });
    let action = prop_oneof![1 => redirect, 1 => direct, 3 => forward];
    let auth = option::of("[a-c]").prop_map(|name| name.map(|name| json!({ "name": name })));
    (action, option::of(edits()), option::of(fault()), auth, option::of(any::<bool>()))
        .prop_map(|(action, edits, fault, auth, compression)| {
            let compression = compression.map(Value::from);
            let fields = [
                ("responseHeaders", edits),
                ("fault", fault),
                ("auth", auth),
                ("compression", compression),
            ];
            with(action, fields)
        })
        .boxed()
}

pub(crate) fn fault() -> Raw {
    let delay = (duration(1..600_000), 1..=100u32)
        .prop_map(|(duration, percent)| json!({ "duration": duration, "percent": percent }));
    let answer = prop_oneof![
        (400..600u32).prop_map(|status| ("status", status)),
        (1..=16u32).prop_map(|status| ("grpcStatus", status)),
    ];
    let abort = (answer, 1..=100u32)
        .prop_map(|((name, status), percent)| json!({ name: status, "percent": percent }));
    prop_oneof![
        delay.clone().prop_map(|delay| json!({ "delay": delay })),
        abort.clone().prop_map(|abort| json!({ "abort": abort })),
        (delay, abort).prop_map(|(delay, abort)| json!({ "delay": delay, "abort": abort })),
    ]
    .boxed()
}

pub(crate) fn retries() -> Raw {
    let on = subsequence(
        vec!["connect-failure", "refused-stream", "reset", "5xx", "gateway-error", "retriable-4xx"],
        1..6,
    );
    (
        option::of(1..=10u32),
        option::of(on),
        option::of(duration(1..10_000)),
        option::of(duration(1..60_000)),
    )
        .prop_map(|(attempts, on, each, backoff)| {
            with(
                Value::Object(Map::new()),
                [
                    ("attempts", attempts.map(Value::from)),
                    ("on", on.map(|on| json!(on))),
                    ("perTryTimeout", each),
                    ("backoff", backoff),
                ],
            )
        })
        .boxed()
}

fn rate() -> Raw {
    let lengths = option::of((1..=32u8, 1..=128u8));
    (1..=10_000_000u32, option::of(any::<Index>()), lengths, any::<bool>())
        .prop_map(|(packets, burst, lengths, is_source)| {
            let least = packets.div_ceil(100) as usize;
            let burst = burst.map(|share| json!(least + share.index(10_000_001 - least)));
            let lengths = lengths.filter(|_| is_source);
            let per = if is_source { "Source" } else { "Rule" };
            with(
                json!({ "packetsPerSecond": packets, "per": per }),
                [
                    ("burst", burst),
                    ("prefixLengthV4", lengths.map(|(v4, _)| json!(v4))),
                    ("prefixLengthV6", lengths.map(|(_, v6)| json!(v6))),
                ],
            )
        })
        .boxed()
}
