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
fn tls_belongs_to_https() {
    let tls = "tls: { certificateFile: /etc/a.pem, privateKeyFile: /etc/a.key }";
    listener(&format!("{{ protocol: HTTPS, port: 443, {tls} }}"), &[]);
    listener("{ protocol: HTTPS, port: 443 }", &["spec.tls: is missing"]);
    listener(
        &format!("{{ protocol: HTTP, port: 443, {tls} }}"),
        &["spec.tls = {\"certificateFile\":\"/etc/a.pem\",\"privateKeyFile\":\"/etc/a.key\"}: \
           only HTTPS listeners have a certificate"],
    );
    listener(
        "{ protocol: HTTPS, port: 443, tls: { certificateFile: a.pem, privateKeyFile: /a/../b } }",
        &[
            "spec.tls.certificateFile = \"a.pem\": is not an absolute path",
            "spec.tls.privateKeyFile = \"/a/../b\": does not name a file directly",
        ],
    );
    listener(
        "{ protocol: HTTPS, port: 443, tls: {} }",
        &["spec.tls.certificateFile: is missing", "spec.tls.privateKeyFile: is missing"],
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
