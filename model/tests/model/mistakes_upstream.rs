//! Mistakes in how a service is balanced, bounded, reached and found.

use crate::checking::{check_spec, objects};

#[track_caller]
fn service(fields: &str, expected: &[&str]) {
    check_spec("Service", &format!("{{ endpoints: [], {fields} }}"), expected);
}

#[test]
fn the_particulars_of_balancing_go_with_their_policy() {
    service("loadBalancing: RingHash", &[]);
    service(
        "loadBalancing: RingHash, ringHash: { minimumRingSize: 1, maximumRingSize: 1, hashFunction: \
         MurmurHash2 }, hashBalanceFactorPercent: 100",
        &[],
    );
    service("loadBalancing: Maglev, maglev: {}, hashBalanceFactorPercent: 1000", &[]);
    service("loadBalancing: LeastRequest, leastRequest: { choiceCount: 100 }", &[]);
    service(
        "loadBalancing: Random, ringHash: {}, maglev: {}, leastRequest: {}, \
         hashBalanceFactorPercent: 150",
        &[
            "spec.ringHash = {}: needs loadBalancing RingHash",
            "spec.maglev = {}: needs loadBalancing Maglev",
            "spec.leastRequest = {}: needs loadBalancing LeastRequest",
            "spec.hashBalanceFactorPercent = 150: needs loadBalancing Maglev or RingHash",
        ],
    );
    service(
        "loadBalancing: RingHash, ringHash: { minimumRingSize: 3, maximumRingSize: 2 }, \
         hashBalanceFactorPercent: 99",
        &[
            "spec.ringHash.minimumRingSize = 3: is more than the maximumRingSize of 2",
            "spec.hashBalanceFactorPercent = 99: is out of range",
        ],
    );
    service(
        "loadBalancing: Maglev, maglev: { tableSize: 65536 }",
        &["spec.maglev.tableSize = 65536: is not a prime"],
    );
    service(
        "loadBalancing: LeastRequest, leastRequest: { choiceCount: 1 }",
        &["spec.leastRequest.choiceCount = 1: is out of range"],
    );
    service(
        "loadBalancing: RingHash, slowStart: { window: 30s }",
        &[
            "spec.slowStart = {\"window\":\"30s\"}: needs loadBalancing RoundRobin or LeastRequest, \
           since Envoy has it with these only",
        ],
    );
}

#[test]
fn circuit_breakers() {
    service("circuitBreakers: {}", &[]);
    service(
        "circuitBreakers: { maxConnections: 1, maxConnectionsPerEndpoint: 1, maxPendingRequests: 1, \
         maxRequests: 1, maxRequestsPerConnection: 1, maxRetries: 0 }",
        &[],
    );
    service(
        "circuitBreakers: { maxConnections: 0, maxRetries: 1, retryBudget: { percent: 0 } }",
        &[
            "spec.circuitBreakers.maxConnections = 0: is out of range",
            "spec.circuitBreakers.retryBudget.percent = 0: is out of range",
        ],
    );
    service(
        "circuitBreakers: { maxRetries: 1, retryBudget: {} }",
        &["spec.circuitBreakers.maxRetries = 1: stands beside retryBudget"],
    );
}

#[test]
fn outlier_detection() {
    service("outlierDetection: {}", &[]);
    service("outlierDetection: { baseEjectionTime: 1h }", &[]);
    service(
        "outlierDetection: { baseEjectionTime: 1m, maxEjectionTime: 59s, interval: 0s, \
         consecutive5xx: 0, successRate: { stdevFactor: 0 }, failurePercentage: { threshold: 101 }, \
         maxEjectionPercent: 0 }",
        &[
            "spec.outlierDetection.maxEjectionTime = \"59s\": is shorter than the baseEjectionTime of \
             1m",
            "spec.outlierDetection.interval = \"0s\": is zero",
            "spec.outlierDetection.consecutive5xx = 0: is out of range",
            "spec.outlierDetection.successRate.stdevFactor = 0: is out of range",
            "spec.outlierDetection.failurePercentage.threshold = 101: is out of range",
            "spec.outlierDetection.maxEjectionPercent = 0: is out of range",
        ],
    );
}

#[test]
fn priorities_and_places() {
    let spec = |endpoints: &str, more: &str, expected: &[&str]| {
        check_spec("Service", &format!("{{ endpoints: [{endpoints}]{more} }}"), expected);
    };
    let two = |priority: u32| {
        format!(
            "{{ address: 10.0.0.1, port: 1 }}, {{ address: 10.0.0.2, port: 1, priority: {priority} }}"
        )
    };
    spec(&two(0), "", &[]);
    spec(&two(1), "", &[]);
    spec(
        &two(2),
        "",
        &["spec.endpoints[1].priority = 2: leaves out 1: no endpoint has that priority"],
    );
    spec(
        "{ address: 10.0.0.1, port: 1, priority: 128 }",
        "",
        &["spec.endpoints[0].priority = 128: is out of range"],
    );
    spec(
        "{ address: 10.0.0.1, port: 1, priority: 1 }",
        "",
        &["spec.endpoints[0].priority = 1: leaves out 0: no endpoint has that priority"],
    );
    spec(
        "",
        ", failover: { panicThresholdPercent: 101, overprovisioningPercent: 99, localityWeights: [] }",
        &[
            "spec.failover.panicThresholdPercent = 101: is out of range",
            "spec.failover.overprovisioningPercent = 99: is out of range",
            "spec.failover.localityWeights = []: is empty",
        ],
    );
    spec(
        "{ address: 10.0.0.1, port: 1, locality: { zone: b } }",
        ", failover: { localityWeights: [{ zone: a, weight: 1 }, { zone: a, weight: 2 }] }",
        &[
            "spec.failover.localityWeights[1] = {\"weight\":2,\"zone\":\"a\"}: stands in the list twice",
        ],
    );
    spec(
        "{ address: 10.0.0.1, port: 1, locality: { zone: b } }",
        ", failover: { localityWeights: [{ zone: a, weight: 1 }] }",
        &[
            "spec.failover = {\"localityWeights\":[{\"weight\":1,\"zone\":\"a\"}]}: has no weight for \
           region \"\", zone \"b\", where endpoint 10.0.0.1:1 is",
        ],
    );
}

#[test]
fn protocols_and_connections() {
    service("protocol: HTTP2, connections: { http2: { pingInterval: 30s } }", &[]);
    service("protocol: Auto", &["spec.protocol = \"Auto\": is chosen by ALPN, which needs TLS"]);
    service("protocol: Auto, tls: { serverName: a.example }", &[]);
    service(
        "protocol: Auto, tls: { serverName: a.example, alpn: [h2] }",
        &["spec.protocol = \"Auto\": offers h2 and http/1.1 itself"],
    );
    service(
        "connections: { http2: { pingTimeout: 1s } }",
        &["spec.connections.http2.pingInterval: is missing"],
    );
    service(
        "connections: { http2: { pingInterval: 1s, pingTimeout: 2s } }",
        &["spec.connections.http2.pingTimeout = \"2s\": is longer than the pingInterval of 1s"],
    );
    service(
        "connections: { http2: {} }",
        &["spec.connections = {\"http2\":{}}: has http2, which is not spoken with this service"],
    );
    service(
        "connections: { tcpKeepalive: { time: 1500ms, interval: 1ms, probes: 128 }, idleTimeout: 1ms }",
        &[
            "spec.connections.tcpKeepalive.time = \"1500ms\": is not a whole number of seconds",
            "spec.connections.tcpKeepalive.interval = \"1ms\": is too short",
            "spec.connections.tcpKeepalive.probes = 128: is out of range",
            "spec.connections.idleTimeout = \"1ms\": is too short",
        ],
    );
    service(
        "connections: { closeOnUnhealthy: true }",
        &[
            "spec.connections = {\"closeOnUnhealthy\":true}: has closeOnUnhealthy, which Envoy does for \
           what it finds out itself",
        ],
    );
    service("connections: { closeOnUnhealthy: true }, outlierDetection: {}", &[]);
}

#[test]
fn tls_says_whom_to_believe() {
    service(
        "tls: { subjectAltNames: [{ dns: a.example }, { uri: 'spiffe://a/b' }, { ip: 10.0.0.1 }] }",
        &[],
    );
    service("tls: { dangerouslyAcceptAnyCertificate: true }", &[]);
    service(
        "tls: { serverName: a.example, caFile: /ca.pem, certificateFile: /c.pem, privateKeyFile: \
         /k.pem, minVersion: '1.3', alpn: [postgresql] }",
        &[],
    );
    service("tls: {}", &["spec.tls.serverName: is missing"]);
    service(
        "tls: { dangerouslyAcceptAnyCertificate: true, caFile: /ca.pem, privateKeyFile: /k.pem }",
        &[
            "spec.tls.caFile = \"/ca.pem\": says whom to believe, beside dangerouslyAcceptAnyCertificate",
            "spec.tls.certificateFile: is missing",
        ],
    );
    service(
        "tls: { subjectAltNames: [{ dns: a.example, ip: 10.0.0.1 }, {}], minVersion: '1.1', caFile: \
         ca.pem }",
        &[
            "spec.tls.subjectAltNames[0] = {\"dns\":\"a.example\",\"ip\":\"10.0.0.1\"}: is not exactly one \
             of dns, uri and ip",
            "spec.tls.subjectAltNames[1] = {}: is not exactly one of dns, uri and ip",
            "spec.tls.minVersion = \"1.1\": is not known",
            "spec.tls.caFile = \"ca.pem\": is not an absolute path",
        ],
    );
    service(
        "tls: { serverName: a.example }, healthCheck: { http: { path: / } }",
        &[
            "spec.healthCheck = {\"http\":{\"path\":\"/\"}}: asks by plain http for what speaks TLS, which \
           probes do not",
        ],
    );
    service("tls: { serverName: a.example }, healthCheck: { by: Envoy, http: { path: / } }", &[]);
    service("tls: { serverName: a.example }, healthCheck: { tcp: {} }", &[]);
    service(
        "tls: { serverName: a.example }, proxyProtocol: V2",
        &["spec.proxyProtocol = \"V2\": stands beside tls"],
    );
}

#[test]
fn checks_by_envoy() {
    service("protocol: HTTP2, healthCheck: { by: Envoy, grpc: {}, jitterPercent: 10 }", &[]);
    service(
        "healthCheck: { by: Envoy, grpc: { service: a.B } }",
        &[
            "spec.healthCheck = {\"by\":\"Envoy\",\"grpc\":{\"service\":\"a.B\"}}: asks by gRPC, which needs \
           HTTP/2",
        ],
    );
    service(
        "protocol: HTTP2, healthCheck: { grpc: {} }",
        &["spec.healthCheck.grpc = {}: is what Envoy's own checks can send, and our probes cannot"],
    );
    service(
        "healthCheck: { tcp: {}, jitterPercent: 10 }",
        &[
            "spec.healthCheck.jitterPercent = 10: is of Envoy's own checks; probes spread by themselves",
        ],
    );
    service(
        "protocol: HTTP2, healthCheck: { http: { path: / } }",
        &[
            "spec.healthCheck = {\"http\":{\"path\":\"/\"}}: asks by HTTP/1.1 for what speaks HTTP/2, \
           which probes do not",
        ],
    );
    service(
        "healthCheck: { by: Envoy, tcp: {}, grpc: {} }",
        &["spec.healthCheck.grpc = {}: stands beside another"],
    );
}

#[test]
fn names_stand_for_endpoints() {
    let dns = |text: &str, expected: &[&str]| check_spec("Service", text, expected);
    dns("{ dns: { name: a.example, port: 1 } }", &[]);
    dns("{ dns: { name: a.example, port: 1 }, endpoints: [] }", &[]);
    dns(
        "{ dns: { name: a.example, port: 1, discovery: Logical, lookupFamily: All, refreshInterval: \
         1s, respectTTL: false, resolvers: [{ address: 127.0.0.1 }] } }",
        &[],
    );
    dns(
        "{ dns: { name: a.example, port: 1 }, endpoints: [{ address: 10.0.0.1, port: 1 }] }",
        &["spec.endpoints = [{\"address\":\"10.0.0.1\",\"port\":1}]: stands beside dns"],
    );
    dns(
        "{ dns: { name: a.example, port: 1 }, healthCheck: { tcp: {} } }",
        &[
            "spec.healthCheck = {\"tcp\":{}}: is of our probes, which check addresses of endpoints, not \
           names",
        ],
    );
    dns(
        "{ dns: { name: '*.example', refreshInterval: 1ms, resolvers: [] } }",
        &[
            "spec.dns.name = \"*.example\": has a wildcard",
            "spec.dns.port: is missing",
            "spec.dns.refreshInterval = \"1ms\": is too short",
            "spec.dns.resolvers = []: is empty",
        ],
    );
    // TLS asks for the name that endpoints are found by.
    let found = objects(
        "kind: Service\nmetadata: { name: a }\nspec: { dns: { name: a.example, port: 1 }, tls: {} }",
    );
    assert_eq!(found[0].to_value()["spec"]["tls"]["serverName"], "a.example");
}

#[test]
fn every_field_survives_the_canonical_form() {
    let text = "kind: Service\nmetadata: { name: a }\nspec:\n  dns: { name: a.example, port: 1, \
        resolvers: [{ address: 127.0.0.1, port: 5353 }] }\n  loadBalancing: RingHash\n  ringHash: {}\n  \
        circuitBreakers: { maxRetries: 3, maxConnections: 7 }\n  outlierDetection: { successRate: {} \
        }\n  failover: { panicThresholdPercent: 0 }\n  protocol: HTTP2\n  connections: { maxDuration: \
        1h, closeOnUnhealthy: true, http2: { pingInterval: 2s } }\n  tls: { subjectAltNames: [{ uri: \
        'spiffe://a' }, { dns: b.example }, { ip: 10.0.0.1 }], minVersion: '1.3' }\n  healthCheck: { by: \
        Envoy, grpc: { service: a.B, authority: c.example }, jitterPercent: 5 }\n";
    let object = objects(text).remove(0);
    let again = model::parse::object_from_slice(&object.to_canonical()).unwrap();
    assert_eq!(again, object);
    let spec = object.to_value()["spec"].clone();
    assert_eq!(spec["circuitBreakers"]["maxRetries"], 3);
    assert_eq!(spec["dns"]["resolvers"][0]["port"], 5353);
    assert_eq!(spec["dns"]["respectTTL"], true);
}
