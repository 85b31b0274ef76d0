//! Tables of objects: one line each, with what an operator looks for first in its kind.

use std::collections::BTreeSet;

use model::Kind;
use serde_json::Value;

use crate::cli::table;

/// Digits of a module's hash that are shown: enough to tell it from others.
const SHOWN_DIGITS: usize = 12;

/// Lays out objects of one kind.
#[must_use]
pub fn table(kind: Kind, objects: &[Value], with_namespace: bool) -> String {
    let mut headings = if with_namespace { vec!["NAMESPACE", "NAME"] } else { vec!["NAME"] };
    headings.extend_from_slice(columns(kind));
    let rows: Vec<Vec<String>> = objects
        .iter()
        .map(|object| {
            let metadata = &object["metadata"];
            let mut row = Vec::new();
            if with_namespace {
                row.push(text(&metadata["namespace"]));
            }
            row.push(text(&metadata["name"]));
            row.extend(cells(kind, &object["spec"]));
            row
        })
        .collect();
    table::render(&headings, &rows)
}

fn columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Listener => &["PROTOCOL", "ADDRESS", "PORT", "ENGINE"],
        Kind::HttpRoute | Kind::GrpcRoute => &["HOSTS", "LISTENERS", "RULES"],
        Kind::TlsRoute => &["HOSTS", "LISTENERS", "BACKENDS"],
        Kind::TcpRoute | Kind::UdpRoute => &["LISTENERS", "BACKENDS"],
        Kind::Service => &["ENDPOINTS", "BALANCING", "HEALTH CHECK"],
        Kind::PacketFilter => &["PRIORITY", "RULES", "RATES", "LISTS"],
        Kind::PrefixList => &["PREFIXES"],
        Kind::QosPolicy => &["LISTENERS", "CLASS", "INGRESS", "EGRESS", "EXCESS", "DSCP", "ECN"],
        Kind::AuthPolicy => &["LOGIN", "TOKENS", "KEYS", "USERS", "EXTERNAL"],
        Kind::Certificate => &["HOSTS", "ISSUER", "LIFETIME", "FILE"],
        Kind::Issuer => &["SIGNS"],
        Kind::RateLimit => &["TARGETS", "REQUESTS", "INTERVAL", "BURST", "PER"],
        Kind::FilterModule => &["TARGETS", "MODULE", "MEMORY", "ORDER", "ON FAILURE"],
        Kind::RolloutPolicy => &["STEPS", "MAX ERRORS", "MAX P99"],
    }
}

fn cells(kind: Kind, spec: &Value) -> Vec<String> {
    match kind {
        Kind::Listener => ["protocol", "address", "port", "engine"]
            .into_iter()
            .map(|field| text(&spec[field]))
            .collect(),
        Kind::HttpRoute | Kind::GrpcRoute => vec![
            join(&spec["hosts"], text),
            join(&spec["listeners"], reference),
            count(&spec["rules"]),
        ],
        Kind::TlsRoute => vec![
            join(&spec["hosts"], text),
            join(&spec["listeners"], reference),
            join(&spec["backends"], backend),
        ],
        Kind::TcpRoute | Kind::UdpRoute => {
            vec![join(&spec["listeners"], reference), join(&spec["backends"], backend)]
        }
        Kind::Service => {
            vec![
                count(&spec["endpoints"]),
                text(&spec["loadBalancing"]),
                check(&spec["healthCheck"]),
            ]
        }
        Kind::PacketFilter => {
            let rules = spec["rules"].as_array().into_iter().flatten();
            let lists: BTreeSet<String> = rules
                .flat_map(|rule| rule["sourceLists"].as_array().into_iter().flatten())
                .map(reference)
                .collect();
            let lists = lists.into_iter().collect::<Vec<_>>().join(",");
            let rates = spec["rules"].as_array().into_iter().flatten().map(|rule| &rule["rate"]);
            let rates: Vec<String> = rates.filter(|rate| !rate.is_null()).map(rate).collect();
            vec![text(&spec["priority"]), count(&spec["rules"]), rates.join(","), lists]
        }
        Kind::PrefixList => vec![count(&spec["prefixes"])],
        Kind::QosPolicy => vec![
            join(&spec["listeners"], reference),
            text(&spec["class"]),
            limit(&spec["ingress"]),
            limit(&spec["egress"]),
            text(&spec["excess"]),
            text(&spec["dscp"]),
            text(&spec["ecn"]),
        ],
        Kind::AuthPolicy => {
            let issuers = spec["jwt"]["providers"].as_array().into_iter().flatten();
            vec![
                text(&spec["oidc"]["provider"]["issuer"]),
                issuers.map(reference).collect::<Vec<_>>().join(","),
                text(&spec["apiKeys"]["keysFile"]),
                text(&spec["basic"]["usersFile"]),
                reference(&spec["external"]["service"]),
            ]
        }
        Kind::Certificate => vec![
            join(&spec["hosts"], text),
            reference(&spec["issuer"]),
            text(&spec["lifetime"]),
            text(&spec["certificateFile"]),
        ],
        Kind::Issuer => {
            vec![spec.as_object().and_then(|spec| spec.keys().next()).cloned().unwrap_or_default()]
        }
        Kind::RateLimit => vec![
            join(&spec["targetRefs"], target),
            text(&spec["requests"]),
            text(&spec["interval"]),
            text(&spec["burst"]),
            match &spec["per"]["header"] {
                Value::Null => text(&spec["per"]),
                header => format!("header {}", text(header)),
            },
        ],
        Kind::FilterModule => vec![
            join(&spec["targetRefs"], target),
            text(&spec["sha256"]).chars().take(SHOWN_DIGITS).collect(),
            format!("{} MiB", text(&spec["memoryLimitMib"])),
            text(&spec["order"]),
            text(&spec["onFailure"]),
        ],
        Kind::RolloutPolicy => vec![
            join(&spec["steps"], step),
            format!("{} %", text(&spec["gates"]["errors"]["maxPercent"])),
            text(&spec["gates"]["latency"]["p99"]),
        ],
    }
}

fn target(target: &Value) -> String {
    format!("{}/{}", text(&target["kind"]), reference(target))
}

fn step(step: &Value) -> String {
    let group = match &step["percent"] {
        Value::Null => join(&step["nodes"], text),
        percent => format!("{percent} %"),
    };
    format!("{group} for {}", text(&step["hold"]))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn count(value: &Value) -> String {
    value.as_array().map_or(0, Vec::len).to_string()
}

fn join(value: &Value, one: impl Fn(&Value) -> String) -> String {
    value.as_array().into_iter().flatten().map(one).collect::<Vec<_>>().join(",")
}

fn reference(value: &Value) -> String {
    text(&value["name"])
}

fn backend(value: &Value) -> String {
    match value["weight"].as_u64() {
        None | Some(1) => reference(&value["service"]),
        Some(weight) => format!("{}={weight}", reference(&value["service"])),
    }
}

fn limit(value: &Value) -> String {
    match value["bandwidthMbps"].as_u64() {
        Some(bandwidth) => format!("{bandwidth} Mbit/s"),
        None => String::new(),
    }
}

fn rate(value: &Value) -> String {
    let per = text(&value["per"]).to_lowercase();
    format!("{}/s per {per}", text(&value["packetsPerSecond"]))
}

fn check(value: &Value) -> String {
    let interval = text(&value["interval"]);
    match value {
        Value::Object(check) if check.contains_key("http") => {
            format!("http {} every {interval}", text(&check["http"]["path"]))
        }
        Value::Object(check) if check.contains_key("tcp") => format!("tcp every {interval}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_show_endpoints_balancing_and_check() {
        let objects = [
            json!({"kind": "Service", "metadata": {"name": "cart", "namespace": "default"}, "spec": {
                "endpoints": [{}, {}], "loadBalancing": "LeastRequest",
                "healthCheck": {"http": {"path": "/healthz"}, "interval": "500ms"}}}),
            json!({"kind": "Service", "metadata": {"name": "orders", "namespace": "shop"}, "spec": {
                "endpoints": [], "loadBalancing": "Maglev"}}),
        ];
        let expected = "\
NAMESPACE  NAME    ENDPOINTS  BALANCING     HEALTH CHECK
default    cart    2          LeastRequest  http /healthz every 500ms
shop       orders  0          Maglev        -
";
        assert_eq!(table(Kind::Service, &objects, true), expected);
    }

    #[test]
    fn filters_show_their_rules_and_lists() {
        let filter = json!({"metadata": {"name": "edge"}, "spec": {"priority": 100, "rules": [
            {"action": "Deny", "sourceLists": [{"name": "b"}, {"name": "a"}]},
            {"action": "Rate", "rate": {"packetsPerSecond": 500, "burst": 50, "per": "Source"}},
            {"action": "Rate", "rate": {"packetsPerSecond": 9000, "burst": 900, "per": "Rule"}},
            {"action": "Deny", "sourceLists": [{"name": "b"}]}]}});
        let expected = "\
NAME  PRIORITY  RULES  RATES                             LISTS
edge  100       4      500/s per source,9000/s per rule  a,b
";
        assert_eq!(table(Kind::PacketFilter, &[filter], false), expected);
        let list = json!({"metadata": {"name": "a"}, "spec": {"prefixes": ["10.0.0.0/8"]}});
        assert_eq!(table(Kind::PrefixList, &[list], false), "NAME  PREFIXES\na     1\n");
    }

    #[test]
    fn policies_show_their_limits_and_marks() {
        let policy = json!({"metadata": {"name": "gold"}, "spec": {
            "listeners": [{"name": "a"}, {"name": "b"}], "class": "P1", "excess": "Drop",
            "ingress": {"bandwidthMbps": 100, "burstKB": 250}, "dscp": 7, "ecn": "Preserve"}});
        let expected = "\
NAME  LISTENERS  CLASS  INGRESS     EGRESS  EXCESS  DSCP  ECN
gold  a,b        P1     100 Mbit/s  -       Drop    7     Preserve
";
        assert_eq!(table(Kind::QosPolicy, &[policy], false), expected);
    }

    #[test]
    fn listeners_and_routes_show_what_connects_them() {
        let listener = json!({"metadata": {"name": "web"}, "spec":
            {"protocol": "HTTP", "address": "*", "port": 8080, "engine": "auto"}});
        assert_eq!(
            table(Kind::Listener, &[listener], false),
            "NAME  PROTOCOL  ADDRESS  PORT  ENGINE\nweb   HTTP      *        8080  auto\n"
        );
        let route = json!({"metadata": {"name": "r"}, "spec": {
            "listeners": [{"name": "a"}, {"name": "b"}],
            "backends": [{"service": {"name": "x"}, "weight": 1}, {"service": {"name": "y"}, "weight": 3}]}});
        assert_eq!(
            table(Kind::TcpRoute, &[route], false),
            "NAME  LISTENERS  BACKENDS\nr     a,b        x,y=3\n"
        );
        let route = json!({"metadata": {"name": "r"}, "spec": {
            "listeners": [{"name": "a"}], "hosts": ["x.example", "*"],
            "backends": [{"service": {"name": "x"}, "weight": 1}]}});
        assert_eq!(
            table(Kind::TlsRoute, &[route], false),
            "NAME  HOSTS        LISTENERS  BACKENDS\nr     x.example,*  a          x\n"
        );
        let route = json!({"metadata": {"name": "r"}, "spec":
            {"listeners": [{"name": "a"}], "hosts": ["x.example", "*"], "rules": [{}, {}]}});
        assert_eq!(
            table(Kind::HttpRoute, &[route], false),
            "NAME  HOSTS        LISTENERS  RULES\nr     x.example,*  a          2\n"
        );
    }
}
