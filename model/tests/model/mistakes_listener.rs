//! Mistakes in listeners and in TCP and UDP routes.

use crate::checking::check_spec;

#[track_caller]
fn listener(spec: &str, expected: &[&str]) {
    check_spec("Listener", spec, expected);
}

#[test]
fn listeners() {
    listener("{ protocol: HTTP, port: 80 }", &[]);
    listener("{ protocol: UDP, port: 65535, address: '2001:db8::1', engine: xdp }", &[]);
    listener("{}", &["spec.port: is missing", "spec.protocol: is missing"]);
    listener("{ protocol: http, port: 80 }", &["spec.protocol = \"http\": is not known"]);
    listener("{ protocol: TCP, port: 0 }", &["spec.port = 0: is out of range"]);
    listener("{ protocol: TCP, port: 65536 }", &["spec.port = 65536: is out of range"]);
    listener("{ protocol: TCP, port: -1 }", &["spec.port = -1: is out of range"]);
    listener("{ protocol: TCP, port: 8.5 }", &["spec.port = 8.5: is not a whole number"]);
    listener("{ protocol: TCP, port: '80' }", &["spec.port = \"80\": is text"]);
    listener("{ protocol: TCP, port: }", &["spec.port = null: is nothing"]);
    listener("{ protocol: TCP, port: 080 }", &["spec.port = \"080\": is text"]);
    listener(
        "{ protocol: TCP, port: 80, engine: dpdk, adress: '*' }",
        &["spec.adress = \"*\": is not a known field", "spec.engine = \"dpdk\": is not known"],
    );
}

#[test]
fn listen_addresses() {
    for (address, message) in [
        ("0.0.0.0", "is the unspecified address"),
        ("::", "is the unspecified address"),
        ("0:0::0", "is the unspecified address"),
        ("224.0.0.1", "is a multicast address"),
        ("ff02::1", "is a multicast address"),
        ("255.255.255.255", "is the broadcast address"),
        ("::ffff:10.0.0.1", "is an IPv4 address written as IPv6"),
        ("fe80::1", "is a link-local address"),
        ("10.0.0.1:80", "is not an IP address"),
        ("shop.example", "is not an IP address"),
    ] {
        let spec = format!("{{ protocol: TCP, port: 80, address: '{address}' }}");
        listener(&spec, &[&format!("spec.address = \"{address}\": {message}")]);
    }
}

#[test]
fn forwarding_is_for_xdp_and_needs_an_address() {
    listener("{ protocol: TCP, port: 80, forwarding: NAT }", &[]);
    listener("{ protocol: UDP, port: 80, forwarding: GUE, address: 192.0.2.1, engine: xdp }", &[]);
    listener(
        "{ protocol: TCP, port: 80, forwarding: DSR, address: 192.0.2.1 }",
        &["spec.forwarding = \"DSR\": is not known"],
    );
    listener(
        "{ protocol: HTTP, port: 80, forwarding: NAT }",
        &["spec.forwarding = \"NAT\": is for TCP and UDP listeners only"],
    );
    listener(
        "{ protocol: TCP, port: 80, forwarding: L2 }",
        &["spec.forwarding = \"L2\": needs a listener with an address, since endpoints \
           answer from it"],
    );
    listener(
        "{ protocol: TCP, port: 80, forwarding: IPIP, address: 192.0.2.1, engine: envoy }",
        &["spec.forwarding = \"IPIP\": is what XDP does, and the listener asks for Envoy"],
    );
}

#[test]
fn syn_cookies_are_for_tcp_with_full_nat_by_xdp() {
    listener("{ protocol: TCP, port: 80, synCookies: Always }", &[]);
    listener("{ protocol: TCP, port: 80, synCookies: Never, forwarding: NAT, engine: xdp }", &[]);
    listener(
        "{ protocol: TCP, port: 80, synCookies: always }",
        &["spec.synCookies = \"always\": is not known"],
    );
    listener(
        "{ protocol: UDP, port: 80, synCookies: Always }",
        &["spec.synCookies = \"Always\": is for TCP listeners only"],
    );
    listener(
        "{ protocol: TCP, port: 80, synCookies: Always, engine: envoy }",
        &["spec.synCookies = \"Always\": is what XDP does, and the listener asks for Envoy"],
    );
    listener(
        "{ protocol: TCP, port: 80, synCookies: Always, forwarding: L2, address: 192.0.2.1 }",
        &["spec.synCookies = \"Always\": needs full NAT: with direct server return the endpoints \
           answer SYNs"],
    );
}

#[test]
fn certificates_of_clients() {
    let check = |clients: &str, expected: &[&str]| {
        let tls = "certificateFile: /a, privateKeyFile: /b";
        let tls = format!("{tls}, clients: {clients}");
        listener(&format!("{{ protocol: HTTPS, port: 443, tls: {{ {tls} }} }}"), expected);
    };
    check("{ caFile: /t/ca.pem, crlFile: /t/ca.crl, mode: Optional, forward: [Hash, DNS] }", &[]);
    check(
        "{ caFile: /ca, subjectAltNames: [{ dns: { suffix: .a } }, { uri: { prefix: 'urn:a' } }, \
         { uri: { suffix: /a } }, { email: { exact: a@b } }, { ip: 10.0.0.1 }] }",
        &[],
    );
    check(
        "{ crlFile: ca.crl, mode: Never, subjectAltNames: [], forward: [DNS, Key], ca: /a }",
        &[
            "spec.tls.clients.ca = \"/a\": is not a known field",
            "spec.tls.clients.caFile: is missing",
            "spec.tls.clients.crlFile = \"ca.crl\": is not an absolute path",
            "spec.tls.clients.forward[1] = \"Key\": is not known",
            "spec.tls.clients.mode = \"Never\": is not known",
            "spec.tls.clients.subjectAltNames = []: is empty",
        ],
    );
    check(
        "{ caFile: /t/ca.pem, crlFile: /u/ca.crl, forward: [Hash, Hash] }",
        &[
            "spec.tls.clients.crlFile = \"/u/ca.crl\": is in another directory than caFile, \
             whose renames alone are seen",
            "spec.tls.clients.forward[1] = \"Hash\": stands in the list twice",
        ],
    );
    check(
        "{ caFile: /ca, mode: Optional, subjectAltNames: [{ ip: 10.0.0.1 }] }",
        &[
            "spec.tls.clients.subjectAltNames = [{\"ip\":\"10.0.0.1\"}]: is what every client must have, and mode is Optional",
        ],
    );
    check(
        "{ caFile: /ca, subjectAltNames: [{}, { ip: 10.0.0.1, dns: { exact: a } }, \
         { dns: { suffix: shop.example } }, { uri: { prefix: 'spiffe://shop' } }, \
         { email: { suffix: shop.example } }, { uri: { exact: shop } }, { email: { exact: ops } }, \
         { dns: { exact: '*.a' } }, { dns: { exact: a, prefix: b } }, { uri: { prefix: '' } }] }",
        &[
            "spec.tls.clients.subjectAltNames[0] = {}: is not exactly one of dns, uri, email and ip",
            "spec.tls.clients.subjectAltNames[1] = {\"dns\":{\"exact\":\"a\"},\"ip\":\"10.0.0.1\"}: \
             is not exactly one of dns, uri, email and ip",
            "spec.tls.clients.subjectAltNames[2].dns.suffix = \"shop.example\": does not begin with a dot, so other domains end with it",
            "spec.tls.clients.subjectAltNames[3].uri.prefix = \"spiffe://shop\": \
             does not hold a whole trust domain, so others begin with it",
            "spec.tls.clients.subjectAltNames[4].email.suffix = \"shop.example\": has no @, so other domains end with it",
            "spec.tls.clients.subjectAltNames[5].uri.exact = \"shop\": has no scheme",
            "spec.tls.clients.subjectAltNames[6].email.exact = \"ops\": has no @",
            "spec.tls.clients.subjectAltNames[7].dns.exact = \"*.a\": has a wildcard",
            "spec.tls.clients.subjectAltNames[8].dns = {\"exact\":\"a\",\"prefix\":\"b\"}: \
             is not exactly one of exact, prefix and suffix",
            "spec.tls.clients.subjectAltNames[9].uri.prefix = \"\": is empty",
        ],
    );
}

#[test]
fn tls_belongs_to_https() {
    let tls = "tls: { certificateFile: /etc/a.pem, privateKeyFile: /etc/a.key }";
    listener(&format!("{{ protocol: HTTPS, port: 443, {tls} }}"), &[]);
    listener("{ protocol: HTTPS, port: 443 }", &["spec.tls: is missing"]);
    listener(
        &format!("{{ protocol: HTTP, port: 443, {tls} }}"),
        &["spec.tls = {\"certificateFile\":\"/etc/a.pem\",\"privateKeyFile\":\"/etc/a.key\"}: \
           only HTTPS listeners have certificates"],
    );
    listener(
        "{ protocol: HTTPS, port: 443, tls: { certificateFile: a.pem, privateKeyFile: /a/../b } }",
        &[
            "spec.tls.certificateFile = \"a.pem\": is not an absolute path",
            "spec.tls.privateKeyFile = \"/a/../b\": does not name a file directly",
        ],
    );
    listener(
        "{ protocol: HTTPS, port: 443, tls: { moreCertificates: [{}, { certificateFile: /a, key: 1 }] } }",
        &[
            "spec.tls.certificateFile: is missing",
            "spec.tls.moreCertificates[0].certificateFile: is missing",
            "spec.tls.moreCertificates[0].privateKeyFile: is missing",
            "spec.tls.moreCertificates[1].key = 1: is not a known field",
            "spec.tls.moreCertificates[1].privateKeyFile: is missing",
            "spec.tls.privateKeyFile: is missing",
        ],
    );
    let with = |more: &str| {
        format!(
            "{{ protocol: HTTPS, port: 443, tls: {{ certificateFile: /a, privateKeyFile: /b, {more} }} }}"
        )
    };
    listener(
        &with(
            "moreCertificates: [{ certificateFile: /a, privateKeyFile: /c }], minVersion: \"1.1\"",
        ),
        &[
            "spec.tls.minVersion = \"1.1\": is not known",
            "spec.tls.moreCertificates = [{\"certificateFile\":\"/a\",\"privateKeyFile\":\"/c\"}]: \
             names /a twice",
        ],
    );
    listener(
        &with("minVersion: \"1.3\", maxVersion: \"1.2\""),
        &["spec.tls.maxVersion = \"1.2\": is older than minVersion"],
    );
    listener(
        "{ protocol: HTTP, port: 80, engine: xdp }",
        &["spec.engine = \"xdp\": XDP carries TCP and UDP only"],
    );
}

#[test]
fn routes_of_connections_and_flows() {
    for kind in ["TCPRoute", "UDPRoute"] {
        let check = |spec: &str, expected: &[&str]| check_spec(kind, spec, expected);
        check("{ listeners: [{ name: a }], backends: [{ service: { name: b } }] }", &[]);
        check("{}", &["spec.backends: is missing", "spec.listeners: is missing"]);
        check(
            "{ listeners: [], backends: [] }",
            &["spec.backends = []: is empty", "spec.listeners = []: is empty"],
        );
        check(
            "{ listeners: [{ name: a }, { name: a, namespace: default }], \
             backends: [{ service: b }, { weight: 1000001 }] }",
            &[
                "spec.listeners[1] = {\"name\":\"a\",\"namespace\":\"default\"}: \
                 stands in the list twice",
                "spec.backends[0].service = \"b\": is text",
                "spec.backends[1].service: is missing",
                "spec.backends[1].weight = 1000001: is out of range",
            ],
        );
        check(
            "{ listeners: [{ name: a }], backends: [{ service: { name: b }, weight: 0 }] }",
            &["spec.backends = [{\"service\":{\"name\":\"b\"},\"weight\":0}]: \
               has weights with the sum 0"],
        );
        check(
            "{ listeners: [{ name: a }], \
             backends: [{ service: { name: b } }, { service: { name: b } }] }",
            &["spec.backends[1] = {\"service\":{\"name\":\"b\"}}: stands in the list twice"],
        );
    }
}

#[test]
fn announced_addresses() {
    listener("{ protocol: HTTP, port: 80, address: 192.0.2.1, announce: L2 }", &[]);
    listener("{ protocol: UDP, port: 80, address: '2001:db8::1', announce: L2 }", &[]);
    listener(
        "{ protocol: TCP, port: 80, address: 192.0.2.1, announce: BGP }",
        &["spec.announce = \"BGP\": is not known"],
    );
    listener(
        "{ protocol: TCP, port: 80, announce: L2 }",
        &["spec.announce = \"L2\": needs a listener with an address of its own"],
    );
    listener(
        "{ protocol: TCP, port: 80, address: 127.0.0.5, announce: L2 }",
        &["spec.announce = \"L2\": is not for an address of the loopback"],
    );
}

#[test]
fn what_envoy_does_with_connections() {
    listener("{ protocol: HTTP, port: 80, proxyProtocol: Required, maxConnections: 1 }", &[]);
    listener("{ protocol: TCP, port: 80, engine: envoy, proxyProtocol: Optional }", &[]);
    listener(
        "{ protocol: HTTP, port: 80, proxyProtocol: V2, maxConnections: 0 }",
        &["spec.maxConnections = 0: is out of range", "spec.proxyProtocol = \"V2\": is not known"],
    );
    listener(
        "{ protocol: TCP, port: 80, maxConnections: 5, accessLogs: [{ stdout: {} }] }",
        &[
            "spec.accessLogs = [{\"stdout\":{}}]: is what Envoy does, and XDP may carry the listener",
            "spec.maxConnections = 5: is what Envoy does, and XDP may carry the listener",
        ],
    );
    listener(
        "{ protocol: UDP, port: 80, engine: envoy, proxyProtocol: Required, http: {} }",
        &[
            "spec.http = {}: is for HTTP and HTTPS listeners only",
            "spec.proxyProtocol = \"Required\": is for TCP connections and HTTP only",
        ],
    );
}

#[test]
fn http_options() {
    let check = |options: &str, expected: &[&str]| {
        listener(&format!("{{ protocol: HTTP, port: 80, http: {options} }}"), expected);
    };
    check("{}", &[]);
    check("{ idleTimeout: 24h, maxRequestHeadersKB: 8192, trustedHops: 16 }", &[]);
    check(
        "{ idleTimeout: 500ms, streamIdleTimeout: 25h, requestHeadersTimeout: 2h, trustedHops: 0, \
         maxConcurrentStreams: 10001, maxRequestHeadersKB: 0, maxConnectionDuration: 0s, idle: 1s }",
        &[
            "spec.http.idle = \"1s\": is not a known field",
            "spec.http.idleTimeout = \"500ms\": is too short",
            "spec.http.maxConcurrentStreams = 10001: is out of range",
            "spec.http.maxConnectionDuration = \"0s\": is zero",
            "spec.http.maxRequestHeadersKB = 0: is out of range",
            "spec.http.requestHeadersTimeout = \"2h\": is too long",
            "spec.http.streamIdleTimeout = \"25h\": is too long",
            "spec.http.trustedHops = 0: is out of range",
        ],
    );
}

#[test]
fn http3() {
    let check = |rest: &str, expected: &[&str]| {
        let tls = "certificateFile: /a, privateKeyFile: /b";
        listener(&rest.replace("TLS", tls), expected);
    };
    check("{ protocol: HTTPS, port: 443, tls: { TLS }, http: { http3: {} } }", &[]);
    check(
        "{ protocol: HTTPS, port: 443, tls: { TLS, maxVersion: \"1.3\" }, http: { http3: { maxAge: \
         9600h, advertisedPort: 1 } } }",
        &[],
    );
    check(
        "{ protocol: HTTPS, port: 443, tls: { TLS }, http: { http3: { maxAge: 1500ms, \
         advertisedPort: 0, port: 1 } } }",
        &[
            "spec.http.http3.advertisedPort = 0: is out of range",
            "spec.http.http3.maxAge = \"1500ms\": is not a number of whole seconds",
            "spec.http.http3.port = 1: is not a known field",
        ],
    );
    for (rest, problem) in [
        (
            "{ protocol: HTTP, port: 80, http: { http3: {} } }",
            "is for HTTPS listeners only: HTTP/3 is always encrypted",
        ),
        (
            "{ protocol: HTTPS, port: 443, proxyProtocol: Optional, tls: { TLS }, http: { http3: {} } }",
            "cannot stand beside proxyProtocol: a PROXY header begins TCP connections, and clients of \
             HTTP/3 would be taken for the proxy in front",
        ),
        (
            "{ protocol: HTTPS, port: 443, maxConnections: 5, tls: { TLS }, http: { http3: {} } }",
            "cannot stand beside maxConnections: Envoy does not turn away connections of HTTP/3 by it",
        ),
        (
            "{ protocol: HTTPS, port: 443, tls: { TLS, clients: { caFile: /ca } }, http: { http3: {} } }",
            "cannot stand beside tls.clients: Envoy checks no certificates over QUIC",
        ),
        (
            "{ protocol: HTTPS, port: 443, tls: { TLS, maxVersion: \"1.2\" }, http: { http3: {} } }",
            "needs TLS 1.3 (RFC 9001), and tls.maxVersion is lower",
        ),
    ] {
        check(rest, &[&format!("spec.http.http3 = {{}}: {problem}")]);
    }
}

#[test]
fn compression() {
    let check = |compression: &str, expected: &[&str]| {
        let http = format!("{{ compression: {compression} }}");
        listener(&format!("{{ protocol: HTTP, port: 80, http: {http} }}"), expected);
    };
    check("{}", &[]);
    check(
        "{ algorithms: [gzip, br], minBytes: 30, contentTypes: [Text/HTML], byDefault: false }",
        &[],
    );
    check(
        "{ algorithms: [], minBytes: 29, contentTypes: [], byDefault: 1, level: 3 }",
        &[
            "spec.http.compression.algorithms = []: is empty",
            "spec.http.compression.byDefault = 1: is a number",
            "spec.http.compression.contentTypes = []: is empty",
            "spec.http.compression.level = 3: is not a known field",
            "spec.http.compression.minBytes = 29: is out of range",
        ],
    );
    check(
        "{ algorithms: [gzip, deflate, gzip], contentTypes: [text, 'text/*', 'text/html; a=b', \
         text/css, TEXT/css, application/grpc+proto, text/a/b], minBytes: 16777217 }",
        &[
            "spec.http.compression.algorithms[1] = \"deflate\": is not known",
            "spec.http.compression.algorithms[2] = \"gzip\": stands in the list twice",
            "spec.http.compression.contentTypes[0] = \"text\": is not a media type",
            "spec.http.compression.contentTypes[1] = \"text/*\": is not a media type",
            "spec.http.compression.contentTypes[2] = \"text/html; a=b\": is not a media type",
            "spec.http.compression.contentTypes[4] = \"TEXT/css\": stands in the list twice",
            "spec.http.compression.contentTypes[5] = \"application/grpc+proto\": \
             is gRPC, whose answers are no body to be compressed",
            "spec.http.compression.contentTypes[6] = \"text/a/b\": is not a media type",
            "spec.http.compression.minBytes = 16777217: is out of range",
        ],
    );
}

#[test]
fn access_logs() {
    let check = |logs: &str, expected: &[&str]| {
        listener(&format!("{{ protocol: HTTP, port: 80, accessLogs: {logs} }}"), expected);
    };
    check("[{ file: /var/log/a.log, headers: { shop: X-Shop }, minStatus: 500 }]", &[]);
    check(
        "[{}, { file: log, stdout: {} }, { otlp: { path: logs } }, { stdout: { x: 1 }, samplePercent: 0 }]",
        &[
            "spec.accessLogs[0] = {}: goes nowhere",
            "spec.accessLogs[1].file = \"log\": is not an absolute path",
            "spec.accessLogs[2].otlp.path = \"logs\": does not begin with /",
            "spec.accessLogs[2].otlp.service: is missing",
            "spec.accessLogs[3].samplePercent = 0: is out of range",
            "spec.accessLogs[3].stdout.x = 1: is not a known field",
        ],
    );
    check(
        "[{ file: /a, stdout: {} }]",
        &["spec.accessLogs[0] = {\"file\":\"/a\",\"stdout\":{}}: goes to several places"],
    );
    check(
        "[{ stdout: {}, minStatus: 99, headers: { a: Authorization, b: Cookie, c: x%y, 'd e': x } }]",
        &[
            "spec.accessLogs[0].headers.a = \"Authorization\": is a header with secrets",
            "spec.accessLogs[0].headers.b = \"Cookie\": is a header with secrets",
            "spec.accessLogs[0].headers.c = \"x%y\": cannot stand in a log's format",
            "spec.accessLogs[0].headers[\"d e\"] = \"x\": stands under a name that is none of a field",
            "spec.accessLogs[0].minStatus = 99: is out of range",
        ],
    );
    check(
        "[{ stdout: {} }, { stdout: {} }, { stdout: {} }, { stdout: {} }, { stdout: {} }]",
        &[
            "spec.accessLogs = [{\"stdout\":{}},{\"stdout\":{}},{\"stdout\":{}},{\"stdout\":{}},{\"stdout\":{}}]: has 5 items",
        ],
    );
    listener(
        "{ protocol: TCP, engine: envoy, port: 80, accessLogs: [{ stdout: {}, minStatus: 400 }] }",
        &["spec.accessLogs[0].minStatus = 400: is for HTTP, which this listener does not speak"],
    );
}
