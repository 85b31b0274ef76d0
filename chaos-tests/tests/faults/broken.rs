//! A thousand broken configurations: each is refused before the commit, by object and field, and the
//! traffic that goes on does not notice.

use anyhow::{Context, Result, bail, ensure};
use chaos_tests::{Fixture, LIMIT, scenario};
use lab::api::Api;
use serde_json::{Value, json};

/// The bar.
const BROKEN: usize = 1_000;

/// What stands in the place of a value.
fn breakages(value: &Value) -> Vec<Value> {
    let mut all = match value {
        Value::String(_) => {
            vec![json!(""), json!("0s"), json!("-1s"), json!("a\nb"), json!(7), json!({})]
        }
        Value::Number(_) => vec![json!(-1), json!(1.5), json!(1u64 << 40), json!("many"), json!(0)],
        Value::Bool(_) => vec![json!("yes"), json!(2)],
        Value::Array(items) => {
            let twice = items.first().map(|first| json!([first, first]));
            [Some(json!({})), Some(json!("all")), Some(json!([[]])), twice]
                .into_iter()
                .flatten()
                .collect()
        }
        Value::Object(map) => {
            let mut unknown = map.clone();
            unknown.insert("surprise".to_owned(), json!(1));
            vec![json!([]), json!("none"), Value::Object(unknown)]
        }
        Value::Null => Vec::new(),
    };
    all.retain(|other| other != value);
    all
}

/// Everything below a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{i}"), found);
            }
        }
        Value::Object(map) => {
            for (name, item) in map {
                places(item, &format!("{at}/{name}"), found);
            }
        }
        _ => {}
    }
}

/// Objects with many fields, all of them good.
fn documents() -> Vec<Value> {
    let named = |kind: &str, name: &str, spec: Value| json!({ "kind": kind, "metadata": { "name": name }, "spec": spec });
    let endpoint = json!({
        "address": "10.99.0.1", "port": 80, "weight": 2, "priority": 0,
        "locality": { "region": "eu", "zone": "a" },
    });
    vec![
        named(
            "Listener",
            "full",
            json!({
                "protocol": "HTTP", "port": 8090, "address": "127.0.0.1", "maxConnections": 1000,
                "proxyProtocol": "Optional",
                "http": {
                    "idleTimeout": "5m", "streamIdleTimeout": "1h", "requestHeadersTimeout": "10s",
                    "maxConnectionDuration": "2h", "maxRequestHeadersKB": 90,
                    "maxConcurrentStreams": 200, "trustedHops": 1,
                    "compression": {
                        "algorithms": ["br"], "minBytes": 100, "contentTypes": ["text/html"],
                        "byDefault": false,
                    },
                },
                "accessLogs": [
                    { "file": "/dev/null", "headers": { "shop": "x-shop" }, "minStatus": 500 },
                    { "stdout": {}, "samplePercent": 5 },
                ],
            }),
        ),
        named(
            "HTTPRoute",
            "full",
            json!({
                "listeners": [{ "name": "full" }],
                "hosts": ["full.example", "*.full.example"],
                "rules": [
                    {
                        "matches": [
                            {
                                "path": { "exact": "/a" },
                                "headers": [{ "name": "x-a", "exact": "b" }, { "name": "x-b", "regex": "c+" }],
                                "query": [{ "name": "q", "present": true }],
                            },
                            { "path": { "prefix": "/b" } },
                        ],
                        "backends": [
                            { "service": { "name": "even" }, "weight": 9 },
                            { "service": { "name": "hashed" }, "weight": 1 },
                        ],
                        "rewrite": { "path": "/c", "host": "inner.example" },
                        "requestHeaders": {
                            "set": [{ "name": "x-set", "value": "a" }],
                            "add": [{ "name": "x-add", "value": "b" }],
                            "remove": ["x-remove"],
                        },
                        "responseHeaders": { "remove": ["server"] },
                        "timeout": "90s", "streamIdleTimeout": "2m", "maxStreamDuration": "1h",
                        "retries": {
                            "attempts": 3, "on": ["connect-failure", "5xx"], "statuses": [429],
                            "perTryTimeout": "1500ms", "perTryIdleTimeout": "1s", "backoff": "10ms",
                            "maxBackoff": "1s", "retryAfterMax": "1m",
                        },
                        "mirrors": [{ "service": { "name": "even" }, "percent": 10 }],
                        "affinity": { "cookie": { "name": "stay", "ttl": "1h", "path": "/" } },
                        "cors": {
                            "allowOrigins": ["https://shop.example"], "allowMethods": ["GET", "PUT"],
                            "allowHeaders": ["x-a"], "exposeHeaders": ["x-b"], "allowCredentials": true,
                            "maxAge": "1h",
                        },
                        "fault": {
                            "delay": { "duration": "10ms", "percent": 1 },
                            "abort": { "status": 503, "percent": 1 },
                        },
                        "auth": { "name": "asked" },
                        "compression": true,
                    },
                    {
                        "matches": [{ "path": { "prefix": "/old" }, "method": "GET" }],
                        "redirect": {
                            "scheme": "https", "host": "new.example", "port": 8443, "path": "/new",
                            "status": 308,
                        },
                    },
                    { "directResponse": { "status": 404, "body": "nothing here" } },
                ],
            }),
        ),
        named(
            "AuthPolicy",
            "asked",
            json!({
                "external": {
                    "service": { "name": "even" }, "pathPrefix": "/check", "timeout": "100ms",
                    "requestHeaders": ["x-token"], "upstreamHeaders": ["x-user"], "onFailure": "Deny",
                },
            }),
        ),
        named(
            "Service",
            "even",
            json!({
                "endpoints": [endpoint, { "address": "2001:db8::1", "port": 81, "priority": 1 }],
                "loadBalancing": "LeastRequest",
                "leastRequest": { "choiceCount": 3 },
                "connectTimeout": "2s",
                "slowStart": { "window": "30s", "aggressionPercent": 150, "minWeightPercent": 20 },
                "healthCheck": {
                    "http": { "path": "/healthz", "host": "a.example", "expectedStatuses": [200, 204] },
                    "port": 8081, "interval": "1h", "timeout": "250ms", "unhealthyThreshold": 5,
                    "healthyThreshold": 1,
                },
                "failover": { "panicThresholdPercent": 30, "overprovisioningPercent": 150 },
                "circuitBreakers": {
                    "maxConnections": 100, "maxConnectionsPerEndpoint": 50, "maxPendingRequests": 10,
                    "maxRequests": 1000, "maxRequestsPerConnection": 100,
                    "retryBudget": { "percent": 10, "minRetryConcurrency": 5 },
                },
                "outlierDetection": {
                    "consecutive5xx": 5, "consecutiveGatewayErrors": 3, "interval": "5s",
                    "baseEjectionTime": "10s", "maxEjectionTime": "1m", "maxEjectionPercent": 30,
                    "successRate": { "minimumHosts": 3, "requestVolume": 50, "stdevFactor": 1500 },
                    "failurePercentage": { "threshold": 80, "minimumHosts": 3, "requestVolume": 40 },
                },
                "connections": {
                    "idleTimeout": "10m", "maxDuration": "1h",
                    "tcpKeepalive": { "time": "60s", "interval": "10s", "probes": 3 },
                },
            }),
        ),
        named(
            "Service",
            "hashed",
            json!({
                "endpoints": [{ "address": "10.99.0.2", "port": 80 }],
                "loadBalancing": "RingHash",
                "ringHash": {
                    "minimumRingSize": 512, "maximumRingSize": 4096, "hashFunction": "MurmurHash2",
                },
                "hashBalanceFactorPercent": 150,
                "protocol": "HTTP2",
                "connections": {
                    "http2": { "maxConcurrentStreams": 50, "pingInterval": "10s", "pingTimeout": "2s" },
                },
            }),
        ),
        named(
            "RateLimit",
            "each",
            json!({
                "targetRefs": [{ "kind": "HTTPRoute", "name": "full" }, { "kind": "Listener", "name": "full" }],
                "requests": 100, "interval": "1m", "burst": 200, "per": { "header": "x-user" },
                "scope": "Node",
            }),
        ),
    ]
}

/// What users of other control planes have lost traffic to: Envoy Gateway 5147, kgateway 14264.
fn known() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/3/spec/outlierDetection/interval", json!("0s"), "spec.outlierDetection.interval"),
        (
            "/1/spec/rules/0/requestHeaders/set/0/name",
            json!("host"),
            "spec.rules[0].requestHeaders.set[0].name",
        ),
    ]
}

#[test]
fn cluster_a_thousand_broken_configurations_are_refused_by_object_and_field() {
    scenario(Fixture::serving(3), |fixture| {
        let load = fixture.traffic()?;
        let mut api = fixture.cluster.api(1)?;
        let whole = Value::Array(documents());
        if let Some(refusal) = refusal(&mut api, &whole, true)? {
            bail!("refused before anything is broken: {refusal}");
        }
        let before = fixture.cluster.status(1)?.0["revision"].clone();
        for (at, value, field) in known() {
            let broken = with(&whole, at, value)?;
            let refusal = refusal(&mut api, &broken, true)?.context(at)?;
            ensure!(refusal.contains(field), "no {field} in {refusal}");
        }
        let mut pointers = Vec::new();
        for (i, document) in documents().iter().enumerate() {
            places(&document["spec"], &format!("/{i}/spec"), &mut pointers);
        }
        let (mut refused, mut taken) = (0, Vec::new());
        for at in &pointers {
            let value = whole.pointer(at).context("a place")?;
            for other in breakages(value) {
                let broken = with(&whole, at, other.clone())?;
                // What is no mistake after all is not written.
                if refusal(&mut api, &broken, true)?.is_none() {
                    taken.push(format!("{at} = {other}"));
                    continue;
                }
                refused += 1;
                let insisted = refusal(&mut api, &broken, false)?;
                ensure!(insisted.is_some(), "written, and refused without writing: {at} = {other}");
            }
        }
        println!("{refused} refused; {} are no mistakes:\n{}", taken.len(), taken.join("\n"));
        ensure!(refused >= BROKEN, "{refused} of {BROKEN} broken configurations were refused");
        let after = fixture.cluster.status(1)?.0["revision"].clone();
        ensure!(before == after, "revision {before} became {after}");
        load.wait_answered(100, LIMIT)?;
        let report = load.stop();
        ensure!(report.faults() == 0 && report.broken == 0, "{report}");
        Ok(())
    });
}

fn with(whole: &Value, at: &str, value: Value) -> Result<Value> {
    let mut broken = whole.clone();
    *broken.pointer_mut(at).context("a place")? = value;
    Ok(broken)
}

/// Applies documents; returns the refusal, which must name an object and a field in each sentence.
fn refusal(api: &mut Api, documents: &Value, dry_run: bool) -> Result<Option<String>> {
    let documents: String = documents
        .as_array()
        .context("documents")?
        .iter()
        .map(|document| format!("---\n{document}\n"))
        .collect();
    let path = format!("/v1/apply?dryRun={dry_run}");
    let answer = api.send("POST", &path, &documents)?;
    let text = answer.text();
    match answer.head.status {
        200 => return Ok(None),
        400 | 422 => {}
        status => bail!("{status}: {text}"),
    }
    let value: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let errors = value["errors"].as_array().with_context(|| text.clone())?;
    ensure!(!errors.is_empty(), "{text}");
    for error in errors {
        let path = error["path"].as_str().unwrap_or_default();
        let placed = error["object"].is_string() && path.starts_with("spec");
        ensure!(placed, "no object or field: {error}\nof {documents}");
    }
    Ok(Some(text))
}
