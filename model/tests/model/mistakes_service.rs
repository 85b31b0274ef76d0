//! Mistakes in services.

use crate::checking::check_spec;

#[track_caller]
fn service(spec: &str, expected: &[&str]) {
    check_spec("Service", spec, expected);
}

#[test]
fn endpoints() {
    service("{ endpoints: [] }", &[]);
    service("{ endpoints: [{ address: 127.0.0.1, port: 1, weight: 1000 }] }", &[]);
    service("{}", &["spec.endpoints: is missing"]);
    service(
        "{ endpoints: [{ address: 10.0.0.1, port: 1 }, { address: 10.0.0.1, port: 1 }, 7] }",
        &[
            "spec.endpoints[1] = {\"address\":\"10.0.0.1\",\"port\":1}: \
             has the address and port of another endpoint",
            "spec.endpoints[2] = 7: is a number",
        ],
    );
    service(
        "{ endpoints: [{ address: 0.0.0.0, port: 0, weight: 1001, locality: { zoen: b } }] }",
        &[
            "spec.endpoints[0].address = \"0.0.0.0\": is the unspecified address",
            "spec.endpoints[0].port = 0: is out of range",
            "spec.endpoints[0].weight = 1001: is out of range",
            "spec.endpoints[0].locality.zoen = \"b\": is not a known field",
        ],
    );
    service(
        "{ endpoints: [{ address: 'ff02::1', port: 1 }, { address: shop.example, port: 1 }] }",
        &[
            "spec.endpoints[0].address = \"ff02::1\": is a multicast address",
            "spec.endpoints[1].address = \"shop.example\": is not an IP address",
        ],
    );
    service("{ endpoints: [{ address: 10.0.0.1, port: 1, weight: 0 }] }", &[]);
}

#[test]
fn slow_starts() {
    let slow_start = |text: &str, balancing: &str, expected: &[&str]| {
        let spec = format!("{{ endpoints: [], loadBalancing: {balancing}, slowStart: {text} }}");
        service(&spec, expected);
    };
    slow_start("{ window: 30s }", "RoundRobin", &[]);
    slow_start(
        "{ window: 1h, aggressionPercent: 1000, minWeightPercent: 100 }",
        "LeastRequest",
        &[],
    );
    slow_start("{}", "RoundRobin", &["spec.slowStart.window: is missing"]);
    slow_start(
        "{ window: 999ms, aggressionPercent: 9, minWeightPercent: 0 }",
        "RoundRobin",
        &[
            "spec.slowStart.window = \"999ms\": is too short",
            "spec.slowStart.aggressionPercent = 9: is out of range",
            "spec.slowStart.minWeightPercent = 0: is out of range",
        ],
    );
    for balancing in ["Random", "Maglev"] {
        slow_start(
            "{ window: 30s }",
            balancing,
            &["spec.slowStart = {\"window\":\"30s\"}: needs loadBalancing \
               RoundRobin or LeastRequest, since Envoy has it with these only"],
        );
    }
}

#[test]
fn balancing_and_timeouts() {
    service(
        "{ endpoints: [], loadBalancing: Maglev, connectTimeout: 1h }",
        &["spec.connectTimeout = \"1h\": is too long"],
    );
    service(
        "{ endpoints: [], loadBalancing: maglev, connectTimeout: 0s }",
        &["spec.connectTimeout = \"0s\": is zero", "spec.loadBalancing = \"maglev\": is not known"],
    );
    for (duration, message) in [
        ("'5'", "= \"5\": has no unit"),
        ("5", "= 5: has no unit"),
        ("1.5s", "= \"1.5s\": is not a whole number with the unit h, m, s, ms or us"),
        ("-5s", "= \"-5s\": is not a whole number with the unit h, m, s, ms or us"),
        ("5 s", "= \"5 s\": is not a whole number with the unit h, m, s, ms or us"),
        ("ms", "= \"ms\": has no number"),
        ("''", "= \"\": is not a whole number with the unit h, m, s, ms or us"),
        ("900us", "= \"900us\": is too short"),
        ("99999999999999999999h", "= \"99999999999999999999h\": is too long"),
        ("9999999999999999h", "= \"9999999999999999h\": is too long"),
        ("true", "= true: is not a duration"),
    ] {
        let spec = format!("{{ endpoints: [], connectTimeout: {duration} }}");
        service(&spec, &[&format!("spec.connectTimeout {message}")]);
    }
}

#[track_caller]
fn health_check(text: &str, expected: &[&str]) {
    service(&format!("{{ endpoints: [], healthCheck: {text} }}"), expected);
}

#[test]
fn health_checks() {
    health_check("{ tcp: {} }", &[]);
    health_check("{ tcp: {}, interval: 1s, timeout: 1s, port: 7 }", &[]);
    health_check("{ http: { path: /healthz?full, host: a.example } }", &[]);
    health_check("{}", &["spec.healthCheck = {}: says not what to send"]);
    health_check("{ tcp: }", &["spec.healthCheck.tcp = null: is nothing"]);
    health_check(
        "{ tcp: {}, http: { path: / } }",
        &["spec.healthCheck.tcp = {}: stands beside http"],
    );
    health_check(
        "{ tcp: {}, interval: 1s, timeout: 2s }",
        &["spec.healthCheck.timeout = \"2s\": is longer than the interval of 1s"],
    );
    health_check(
        "{ tcp: {}, interval: 99ms, timeout: 0s, unhealthyThreshold: 0, healthyThreshold: 101 }",
        &[
            "spec.healthCheck.interval = \"99ms\": is too short",
            "spec.healthCheck.timeout = \"0s\": is zero",
            "spec.healthCheck.unhealthyThreshold = 0: is out of range",
            "spec.healthCheck.healthyThreshold = 101: is out of range",
        ],
    );
    health_check(
        "{ http: { path: healthz, host: '*', expectedStatuses: [200, 99, 200] } }",
        &[
            "spec.healthCheck.http.path = \"healthz\": does not begin with /",
            "spec.healthCheck.http.host = \"*\": has a wildcard",
            "spec.healthCheck.http.expectedStatuses[1] = 99: is out of range",
            "spec.healthCheck.http.expectedStatuses[2] = 200: stands in the list twice",
        ],
    );
    health_check("{ http: {} }", &["spec.healthCheck.http.path: is missing"]);
}

#[test]
fn the_proxy_protocol() {
    service("{ endpoints: [], proxyProtocol: V2 }", &[]);
    service("{ endpoints: [], proxyProtocol: V2, healthCheck: { tcp: {} } }", &[]);
    service(
        "{ endpoints: [], proxyProtocol: V2, healthCheck: { http: { path: / }, port: 9 } }",
        &[],
    );
    service("{ endpoints: [], proxyProtocol: V1 }", &["spec.proxyProtocol = \"V1\": is not known"]);
    service(
        "{ endpoints: [], proxyProtocol: V2, healthCheck: { http: { path: / } } }",
        &[
            "spec.healthCheck = {\"http\":{\"path\":\"/\"}}: asks by http for what waits for a PROXY \
           header, which probes do not send",
        ],
    );
}
