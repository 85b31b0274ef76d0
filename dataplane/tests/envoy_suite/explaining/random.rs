//! Random configurations and requests, of alphabets so small that they meet.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Value, json};

/// The user and password of [`AUTHORIZED`].
pub(super) const USERS: &str = "user:{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=\n";
const AUTHORIZED: &str = "Basic dXNlcjpwYXNz";

const HOSTS: [&str; 6] =
    ["a.example", "b.a.example", "*.a.example", "*.b.a.example", "*.example", "*"];
const ASKED_HOSTS: [&str; 11] = [
    "a.example",
    "a.example",
    "b.a.example",
    "c.a.example",
    "c.b.a.example",
    "d.c.b.a.example",
    "B.A.Example",
    "a.example.",
    "other.example",
    "elsewhere.test",
    "10.0.0.1",
];
const SEGMENTS: [&str; 5] = ["a", "a", "b", "ab", "A"];
const ASKED_SEGMENTS: [&str; 14] =
    ["a", "a", "a", "a", "b", "b", "b", "ab", "A", ".", "..", "%61", "%2e%2E", "a%2Fb"];
const PATH_REGEXES: [&str; 8] =
    ["/a.*", "/(a|b)/.*", "/[ab]+", "/.*/b", "/a/b", "/.*", "/(?i:a)(/b)?", "/a/[^/]+/?"];
const VALUES: [&str; 5] = ["1", "2", "12", "1,2", ""];
const VALUE_REGEXES: [&str; 5] = ["[12]", "1.*", ".+,.+", "[12]*", "1|2"];
/// One of them is not there.
const SERVICES: [&str; 10] =
    ["one", "one", "two", "three", "none", "half", "second", "down", "never", "gone"];

/// Headers by which proxies of one's own speak to Envoy, and some that only look like it.
const TO_ENVOY: [&str; 24] = [
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-host",
    "x-envoy-original-method",
    "x-envoy-original-path",
    "x-envoy-original-url",
    "x-envoy-peer-metadata",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-something",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
];

/// Returns true so often in a hundred.
fn chance(random: &mut StdRng, percent: u32) -> bool {
    random.random_ratio(percent, 100)
}

fn pick<'a>(random: &mut StdRng, from: &[&'a str]) -> &'a str {
    from.choose(random).expect("there are some")
}

/// A value, so often in a hundred.
fn maybe<T>(random: &mut StdRng, percent: u32, make: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    chance(random, percent).then(|| make(random))
}

fn set(map: &mut Value, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map[key] = value.into();
    }
}

/// The routes of a namespace, for its listener `web`.
pub(super) fn routes(random: &mut StdRng, namespace: &str) -> Vec<Value> {
    (0..random.random_range(2..7))
        .map(|index| {
            let mut hosts: Vec<&str> = HOSTS.to_vec();
            hosts.retain(|_| chance(random, 35));
            if hosts.is_empty() {
                hosts.push(pick(random, &HOSTS));
            }
            let mut route = json!({
                "kind": "HTTPRoute",
                "metadata": { "namespace": namespace, "name": format!("r{index}") },
                "spec": { "listeners": [{ "name": "web" }], "hosts": hosts, "rules": [] },
            });
            let rules = random.random_range(1..6);
            while route["spec"]["rules"].as_array().is_none_or(|made| made.len() < rules) {
                let mut longer = route.clone();
                longer["spec"]["rules"].as_array_mut().expect("a list").push(rule(random));
                // What the parser refuses, such as the same match twice, is drawn again.
                if model::parse::object_from_value(&longer).is_ok() {
                    route = longer;
                }
            }
            route
        })
        .collect()
}

fn path(random: &mut StdRng) -> String {
    if chance(random, 15) {
        return "/".to_owned();
    }
    (0..random.random_range(1..4)).map(|_| format!("/{}", pick(random, &SEGMENTS))).collect()
}

fn rule(random: &mut StdRng) -> Value {
    let cors = chance(random, 8);
    let matches: Vec<Value> =
        (0..random.random_range(1..4)).map(|_| http_match(random, cors)).collect();
    let by_path = !matches.iter().any(|it| it["path"].get("regex").is_some());
    let by_prefix = matches.iter().all(|it| it["path"].get("prefix").is_some());
    let mut rule = match random.random_range(0..100) {
        _ if cors => forward(random, by_path),
        0..70 => forward(random, by_path),
        70..85 => redirect(random, by_prefix),
        _ => {
            let status = [200, 203, 404, 503].choose(random).copied().expect("there are some");
            json!({ "directResponse": { "status": status, "body": pick(random, &["", "pong"]) } })
        }
    };
    if cors {
        rule["cors"] = json!({
            "allowOrigins": ["https://*.a.example", "https://a.example"],
            "allowMethods": ["PUT"],
        });
    }
    rule["matches"] = json!(matches);
    let edits = maybe(random, 40, |random| edits(random, &["x-old", "x-from", "x-more"]));
    set(&mut rule, "responseHeaders", edits);
    let fault = maybe(random, 5, |random| match chance(random, 50) {
        true => json!({ "abort": { "status": 418, "percent": 100 } }),
        false => json!({ "abort": { "grpcStatus": 7, "percent": 100 } }),
    });
    set(&mut rule, "fault", fault);
    let auth = maybe(
        random,
        12,
        |random| json!({ "namespace": "s", "name": pick(random, &["staff", "staff", "tokens"]) }),
    );
    set(&mut rule, "auth", auth);
    rule
}

fn http_match(random: &mut StdRng, any_method: bool) -> Value {
    let mut wanted = json!({ "path": match random.random_range(0..10) {
        0..3 => json!({ "exact": path(random) }),
        3..8 => json!({ "prefix": path(random) }),
        _ => json!({ "regex": pick(random, &PATH_REGEXES) }),
    } });
    let method = maybe(random, if any_method { 0 } else { 25 }, method);
    set(&mut wanted, "method", method);
    let headers = maybe(random, 30, |random| {
        let names = ["x-a", "x-b", "x-forwarded-proto", "x-request-id", "x-envoy-max-retries"];
        conditions(random, &names)
    });
    set(&mut wanted, "headers", headers);
    let query = maybe(random, 30, |random| conditions(random, &["k", "l", "%6b", ""][..3]));
    set(&mut wanted, "query", query);
    wanted
}

fn method(random: &mut StdRng) -> &'static str {
    pick(random, &["GET", "GET", "POST", "OPTIONS", "PURGE"])
}

fn conditions(random: &mut StdRng, names: &[&str]) -> Value {
    let mut chosen: Vec<&str> = names.to_vec();
    chosen.retain(|_| chance(random, 30));
    if chosen.is_empty() {
        chosen.push(names[0]);
    }
    chosen
        .into_iter()
        .map(|name| match random.random_range(0..3) {
            // Of what the proxy makes up nobody knows more.
            _ if name == "x-request-id" => json!({ "name": name, "present": chance(random, 60) }),
            0 => json!({ "name": name, "exact": pick(random, &VALUES) }),
            1 => json!({ "name": name, "regex": pick(random, &VALUE_REGEXES) }),
            _ => json!({ "name": name, "present": chance(random, 60) }),
        })
        .collect()
}

fn edits(random: &mut StdRng, names: &[&str]) -> Value {
    let mut edits = json!({ "set": [], "add": [], "remove": [] });
    for name in names {
        let value = json!({ "name": name, "value": pick(random, &["1", "50%", "%START_TIME%"]) });
        let (list, edit) = match random.random_range(0..6) {
            0 => ("set", value),
            1 => ("add", value),
            2 => ("remove", json!(name)),
            _ => continue,
        };
        edits[list].as_array_mut().expect("a list").push(edit);
    }
    edits
}

fn forward(random: &mut StdRng, by_path: bool) -> Value {
    let mut services: Vec<&str> =
        (0..random.random_range(1..4)).map(|_| pick(random, &SERVICES)).collect();
    services.sort_unstable();
    services.dedup();
    let backends: Vec<Value> = services
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let weight = random.random_range(if index == 0 { 1..4 } else { 0..4 });
            json!({ "service": { "namespace": "s", "name": name }, "weight": weight })
        })
        .collect();
    let mut rule = json!({ "backends": backends });
    let rewrite = maybe(random, 45, |random| rewrite(random, by_path));
    set(&mut rule, "rewrite", rewrite.filter(|it| it != &json!({})));
    let edits = maybe(random, 40, |random| {
        edits(random, &["x-a", "x-b", "x-tenant", "x-new", "x-forwarded-for", "x-forwarded-proto"])
    });
    set(&mut rule, "requestHeaders", edits);
    rule
}

fn rewrite(random: &mut StdRng, by_path: bool) -> Value {
    let mut rewrite = json!({});
    match random.random_range(0..3) {
        0 if by_path => {
            rewrite["path"] = json!(pick(random, &["/", "/n", "/n/", "/n/m"]));
        }
        1 => {
            let (pattern, substitution) = [
                ("^/a", "/z"),
                ("b", "xx"),
                ("/(a+)(b?)", r"/\2\1\0"),
                ("/([^/]+)/([^/]+)", r"/\2/\1"),
                ("(c)|a", r"(\1)"),
                ("b*$", "z"),
            ]
            .choose(random)
            .expect("there are some");
            rewrite["pathRegex"] = json!({ "pattern": pattern, "substitution": substitution });
        }
        _ => {}
    }
    match random.random_range(0..3) {
        0 => rewrite["host"] = json!("inside.example"),
        1 => rewrite["hostFromHeader"] = json!("x-tenant"),
        _ => {}
    }
    rewrite
}

fn redirect(random: &mut StdRng, by_prefix: bool) -> Value {
    let status = [301, 302, 303, 307, 308].choose(random).copied();
    let mut redirect = json!({ "status": status });
    let scheme = maybe(random, 30, |random| pick(random, &["http", "https"]));
    set(&mut redirect, "scheme", scheme);
    set(&mut redirect, "host", maybe(random, 40, |_| "new.example"));
    set(&mut redirect, "port", maybe(random, 30, |random| random.random_range(8080..8082)));
    match random.random_range(0..3) {
        0 if by_prefix => {
            redirect["replacePrefix"] = json!(pick(random, &["/", "/n", "/n/", "/n/m"]));
        }
        1 => redirect["path"] = json!(pick(random, &["/", "/there", "/there?z=1"])),
        _ => {}
    }
    if redirect.as_object().is_some_and(|fields| fields.len() == 1) {
        redirect["host"] = json!("new.example");
    }
    json!({ "redirect": redirect })
}

/// A request as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
}

/// Makes a request, which may show `token`.
pub(super) fn request(random: &mut StdRng, port: u16, id: String, token: &str) -> Request {
    let mut host = pick(random, &ASKED_HOSTS).to_owned();
    match random.random_range(0..10) {
        0 => host = format!("{host}:{port}"),
        1 => host = format!("{host}:80"),
        _ => {}
    }
    let mut target: String = (0..random.random_range(0..4))
        .map(|_| format!("/{}", pick(random, &ASKED_SEGMENTS)))
        .collect();
    if target.is_empty() || chance(random, 10) {
        target.push('/');
    }
    if chance(random, 40) {
        let pairs: Vec<String> = (0..random.random_range(0..4))
            .map(|_| {
                let name = pick(random, &["k", "k", "l", "%6b", ""]);
                let value = pick(random, &["1", "2", "12", "1,2", "", "%31", "1=2"]);
                if chance(random, 15) { name.to_owned() } else { format!("{name}={value}") }
            })
            .collect();
        target = format!("{target}?{}", pairs.join("&"));
    }
    let mut headers = vec![("x-id", id)];
    for name in ["x-a", "x-b"] {
        while chance(random, 35) {
            headers.push((name, pick(random, &VALUES).to_owned()));
        }
    }
    let rare: [(&'static str, &[&str]); 9] = [
        ("content-type", &["application/grpc", "application/grpc+proto", "application/grpc-web"]),
        ("x-tenant", &["tenant.example", "Tenant.example:81", ""]),
        ("x-from", &["client"]),
        ("x-forwarded-for", &["192.0.2.7", "192.0.2.7, 192.0.2.8"]),
        ("x-forwarded-proto", &["https", "1"]),
        ("x-request-id", &["1", "12"]),
        ("x-envoy-external-address", &["192.0.2.9"]),
        ("authorization", &[AUTHORIZED, AUTHORIZED, "Bearer 1"]),
        ("x-token", &[token]),
    ];
    for (name, values) in rare {
        headers.extend(maybe(random, 15, |random| (name, pick(random, values).to_owned())));
    }
    if chance(random, 10) {
        headers.extend(TO_ENVOY.map(|name| (name, "1".to_owned())));
    }
    let mut method = method(random);
    if chance(random, 5) {
        method = "OPTIONS";
        headers.push(("origin", pick(random, &["https://a.example", "https://x.test"]).to_owned()));
        headers.push(("access-control-request-method", "PUT".to_owned()));
    }
    Request { method: method.to_owned(), host, target, headers }
}
