//! Mistakes in HTTP routes.

use crate::checking::check_spec;

/// Checks a route with these hosts and rules.
#[track_caller]
pub(crate) fn route(hosts: &str, rules: &str, expected: &[&str]) {
    let spec = format!("{{ listeners: [{{ name: web }}], hosts: {hosts}, rules: {rules} }}");
    check_spec("HTTPRoute", &spec, expected);
}

/// Checks a rule that forwards.
#[track_caller]
pub(crate) fn rule(fields: &str, expected: &[&str]) {
    let rules = format!("[{{ backends: [{{ service: {{ name: a }} }}], {fields} }}]");
    route("['*']", &rules, expected);
}

#[test]
fn hosts() {
    route(
        "[a.example, '*.a.example', '*', localhost, 10.0.0.1]",
        "[{ backends: [{ service: { name: a } }] }]",
        &[],
    );
    let long = ["a".repeat(63).as_str(); 4].join(".");
    let long_shown = format!("\"{}…", &long[..79]);
    for (host, shown, message) in [
        ("''", "\"\"", "is empty"),
        ("a.*.example", "\"a.*.example\"", "has a wildcard in another place than the first label"),
        ("'*a.example'", "\"*a.example\"", "has a wildcard in another place than the first label"),
        ("'*.'", "\"*.\"", "is empty"),
        ("'**'", "\"**\"", "has a wildcard in another place than the first label"),
        ("'a.example:80'", "\"a.example:80\"", "has a port or is an IPv6 address"),
        ("'[::1]'", "\"[::1]\"", "has a port or is an IPv6 address"),
        ("http://a.example", "\"http://a.example\"", "is a URL or path, not a host"),
        ("bücher.example", "\"bücher.example\"", "is not ASCII"),
        ("a..example", "\"a..example\"", "has an empty label"),
        ("a.example.", "\"a.example.\"", "ends with a dot"),
        ("-a.example", "\"-a.example\"", "has the label \"-a\""),
        ("a_b.example", "\"a_b.example\"", "has the label \"a_b\""),
        ("7", "7", "is a number"),
        (long.as_str(), long_shown.as_str(), "has 255 characters"),
    ] {
        let rules = "[{ backends: [{ service: { name: a } }] }]";
        route(&format!("[{host}]"), rules, &[&format!("spec.hosts[0] = {shown}: {message}")]);
    }
    let rules = "[{ backends: [{ service: { name: a } }] }]";
    route(
        "[a.example, A.example]",
        rules,
        &["spec.hosts[1] = \"A.example\": stands in the list twice"],
    );
    route("[]", rules, &["spec.hosts = []: is empty"]);
}

#[test]
fn a_rule_does_exactly_one_thing() {
    route("['*']", "[]", &["spec.rules = []: is empty"]);
    route("['*']", "[{}]", &["spec.rules[0] = {}: says not what happens to requests"]);
    route(
        "['*']",
        "[{ backends: [{ service: { name: a } }], redirect: { path: / } }]",
        &["spec.rules[0].redirect = {\"path\":\"/\"}: stands beside backends"],
    );
    route(
        "['*']",
        "[{ directResponse: { status: 200 }, timeout: 1s, retries: {}, rewrite: { path: / }, \
         requestHeaders: {}, responseHeaders: { set: [{ name: a, value: b }] } }]",
        &[
            "spec.rules[0].timeout = \"1s\": has no effect beside directResponse",
            "spec.rules[0].retries = {}: has no effect beside directResponse",
            "spec.rules[0].rewrite = {\"path\":\"/\"}: has no effect beside directResponse",
            "spec.rules[0].requestHeaders = {}: has no effect beside directResponse",
        ],
    );
    route(
        "['*']",
        "[{ backends: [{ service: { name: a }, weight: 0 }], weigth: 1 }]",
        &[
            "spec.rules[0].backends = [{\"service\":{\"name\":\"a\"},\"weight\":0}]: \
             has weights with the sum 0",
            "spec.rules[0].weigth = 1: is not a known field",
        ],
    );
}

#[test]
fn header_edits() {
    rule(
        "requestHeaders: { set: [{ name: X-A, value: 'a b' }], add: [{ name: b, value: c }], remove: [d] }",
        &[],
    );
    for name in [
        "connection",
        "Keep-Alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "Transfer-Encoding",
        "upgrade",
    ] {
        let message = "is a hop-by-hop header, which belongs to one connection";
        let set = format!("requestHeaders: {{ set: [{{ name: {name}, value: a }}] }}");
        rule(&set, &[&format!("spec.rules[0].requestHeaders.set[0].name = \"{name}\": {message}")]);
        let remove = format!("responseHeaders: {{ remove: [{name}] }}");
        rule(
            &remove,
            &[&format!("spec.rules[0].responseHeaders.remove[0] = \"{name}\": {message}")],
        );
    }
    rule(
        "requestHeaders: { set: [{ name: Host, value: a }], add: [{ name: ':authority', value: a }], \
          remove: [content-length, ''] }",
        &[
            "spec.rules[0].requestHeaders.set[0].name = \"Host\": is the host",
            "spec.rules[0].requestHeaders.add[0].name = \":authority\": is a pseudo-header",
            "spec.rules[0].requestHeaders.remove[0] = \"content-length\": is counted by the proxy",
            "spec.rules[0].requestHeaders.remove[1] = \"\": is not a header name",
        ],
    );
    rule(
        "requestHeaders: { set: [{ name: a, value: \"b\\r\\nc: d\" }, { name: b, value: \"x\\0\" }, \
          { name: c, value: \"\\e\" }, { name: d, value: ' e' }, { name: e, value: '' }, { name: f }] }",
        &[
            "spec.rules[0].requestHeaders.set[0].value = \"b\\r\\nc: d\": holds a line break or NUL",
            "spec.rules[0].requestHeaders.set[1].value = \"x\\u0000\": holds a line break or NUL",
            "spec.rules[0].requestHeaders.set[2].value = \"\\u001b\": holds a control character",
            "spec.rules[0].requestHeaders.set[3].value = \" e\": \
         begins or ends with white space, which is not sent",
            "spec.rules[0].requestHeaders.set[4].value = \"\": is empty",
            "spec.rules[0].requestHeaders.set[5].value: is missing",
        ],
    );
    rule(
        "requestHeaders: { set: [{ name: a, value: b }], add: [{ name: A, value: c }], remove: [a, d, d] }",
        &[
            "spec.rules[0].requestHeaders.add[0] = {\"name\":\"A\",\"value\":\"c\"}: \
         edits a header that is edited before",
            "spec.rules[0].requestHeaders.remove[0] = \"a\": edits a header that is edited before",
            "spec.rules[0].requestHeaders.remove[2] = \"d\": stands in the list twice",
        ],
    );
}

#[test]
fn timeouts_and_retries() {
    rule("retries: {}", &[]);
    rule("timeout: 25h", &["spec.rules[0].timeout = \"25h\": is too long"]);
    rule("timeout: 0ms", &["spec.rules[0].timeout = \"0ms\": is zero"]);
    rule("retries:", &["spec.rules[0].retries = null: is nothing"]);
    rule(
        "retries: { attempts: 11, on: [5xx, 5xx, rest], perTryTimeout: 0s, backoff: 2m, tries: 1 }",
        &[
            "spec.rules[0].retries.attempts = 11: is out of range",
            "spec.rules[0].retries.on[1] = \"5xx\": stands in the list twice",
            "spec.rules[0].retries.on[2] = \"rest\": is not known",
            "spec.rules[0].retries.perTryTimeout = \"0s\": is zero",
            "spec.rules[0].retries.backoff = \"2m\": is too long",
            "spec.rules[0].retries.tries = 1: is not a known field",
        ],
    );
    rule(
        "timeout: 1s, retries: { perTryTimeout: 2s }",
        &["spec.rules[0].retries = {\"perTryTimeout\":\"2s\"}: \
         has a perTryTimeout of 2s, longer than the timeout of 1s"],
    );
}

#[test]
fn rewrites_and_answers() {
    rule("rewrite: {}", &["spec.rules[0].rewrite = {}: changes nothing"]);
    rule(
        "rewrite: { host: '*.a', path: a }",
        &[
            "spec.rules[0].rewrite.host = \"*.a\": has a wildcard",
            "spec.rules[0].rewrite.path = \"a\": does not begin with /",
        ],
    );
    rule(
        "rewrite: { path: /b }, matches: [{ path: { regex: '/a/.*' } }]",
        &["spec.rules[0].rewrite = {\"path\":\"/b\"}: rewrites the path of a regex match"],
    );
    rule(
        "rewrite: { path: /b/ }, matches: [{ path: { prefix: /a } }]",
        &[
            "spec.rules[0].rewrite = {\"path\":\"/b/\"}: replaces a prefix by a path that ends with /",
        ],
    );
    route(
        "['*']",
        "[{ directResponse: { status: 100, body: 7 } }]",
        &[
            "spec.rules[0].directResponse.status = 100: is out of range",
            "spec.rules[0].directResponse.body = 7: is a number",
        ],
    );
    route(
        "['*']",
        "[{ directResponse: { status: 204, body: a } }]",
        &[
            "spec.rules[0].directResponse.body = \"a\": stands beside the status 204, which has no body",
        ],
    );
    let body = "a".repeat(4097);
    let shown = &body[..79];
    route(
        "['*']",
        &format!("[{{ directResponse: {{ status: 200, body: {body} }} }}]"),
        &[&format!("spec.rules[0].directResponse.body = \"{shown}…: has 4097 bytes")],
    );
}

#[test]
fn redirects() {
    let at = "spec.rules[0].redirect";
    let check = |rules: &str, expected: &[&str]| route("[a.example, b.example]", rules, expected);
    check("[{ redirect: {} }]", &[&format!("{at} = {{}}: leads back to the same place")]);
    check(
        "[{ redirect: { scheme: ftp, host: 'a:1', port: 0, path: a, status: 200 } }]",
        &[
            &format!("{at}.scheme = \"ftp\": is not known"),
            &format!("{at}.host = \"a:1\": has a port or is an IPv6 address"),
            &format!("{at}.port = 0: is out of range"),
            &format!("{at}.path = \"a\": does not begin with /"),
            &format!("{at}.status = 200: is not a status that redirects"),
        ],
    );
    let again = "leads to a request that this rule redirects again";
    let looping = |redirect: &str, shown: &str| {
        check(&format!("[{{ redirect: {redirect} }}]"), &[&format!("{at} = {shown}: {again}")]);
    };
    looping("{ path: /a }", r#"{"path":"/a"}"#);
    looping("{ host: a.example }", r#"{"host":"a.example"}"#);
    looping("{ host: b.example, path: '/a?b' }", r#"{"host":"b.example","path":"/a?b"}"#);
    // Another host, a page of its own, a condition, a path that the rule does not match.
    check("[{ redirect: { host: c.example } }]", &[]);
    check(
        "[{ redirect: { path: /a } }, { matches: [{ path: { exact: /a } }], directResponse: { status: 200 } }]",
        &[],
    );
    check(
        "[{ matches: [{ headers: [{ name: a, present: true }] }], redirect: { path: /a } }]",
        &[],
    );
    check("[{ matches: [{ path: { prefix: /old } }], redirect: { path: / } }]", &[]);
    check("[{ redirect: { scheme: https } }]", &[]);
}

#[test]
fn faults() {
    rule("fault: { delay: { duration: 5ms, percent: 100 } }", &[]);
    rule("fault: { abort: { grpcStatus: 14, percent: 1 } }", &[]);
    rule("fault: {}", &["spec.rules[0].fault = {}: asks for nothing"]);
    rule(
        "fault: { delay: { percent: 0 }, abort: { percent: 101 }, dealy: 1 }",
        &[
            "spec.rules[0].fault.delay.duration: is missing",
            "spec.rules[0].fault.delay.percent = 0: is out of range",
            "spec.rules[0].fault.abort = {\"percent\":101}: says not what to answer",
            "spec.rules[0].fault.abort.percent = 101: is out of range",
            "spec.rules[0].fault.dealy = 1: is not a known field",
        ],
    );
    rule(
        "fault: { delay: { duration: 11m, percent: 1 }, abort: { status: 200, grpcStatus: 17, percent: 1 } }",
        &[
            "spec.rules[0].fault.delay.duration = \"11m\": is too long",
            "spec.rules[0].fault.abort.status = 200: is out of range",
            "spec.rules[0].fault.abort.grpcStatus = 17: is out of range",
        ],
    );
    rule(
        "fault: { abort: { status: 503, grpcStatus: 14, percent: 1 } }",
        &["spec.rules[0].fault.abort.grpcStatus = 14: stands beside status"],
    );
}

#[test]
fn auth_policies() {
    let check = |spec: &str, expected: &[&str]| check_spec("AuthPolicy", spec, expected);
    check("{ basic: { usersFile: /etc/users } }", &[]);
    check("{ external: { service: { name: a }, onFailure: Allow, allowUnchecked: true } }", &[]);
    check("{}", &["spec = {}: demands nothing"]);
    check(
        "{ basic: { usersFile: users, userHeader: host }, external: { timeout: 2m, pathPrefix: x, jwt: 1 } }",
        &[
            "spec.basic.userHeader = \"host\": is the host",
            "spec.basic.usersFile = \"users\": is not an absolute path",
            "spec.external.jwt = 1: is not a known field",
            "spec.external.pathPrefix = \"x\": does not begin with /",
            "spec.external.service: is missing",
            "spec.external.timeout = \"2m\": is too long",
        ],
    );
    check(
        "{ external: { service: { name: a }, onFailure: Allow } }",
        &[
            "spec.external.onFailure = \"Allow\": lets requests pass unchecked while the service does not answer",
        ],
    );
    check(
        "{ external: { service: { name: a }, protocol: GRPC, pathPrefix: /a, upstreamHeaders: [x-a] } }",
        &[
            "spec.external.pathPrefix = \"/a\": is for services that are asked over HTTP: over gRPC the answer says it",
            "spec.external.upstreamHeaders = [\"x-a\"]: is for services that are asked over HTTP: over gRPC the answer \
             says it",
        ],
    );
    check("{ external: { service: { name: a }, protocol: GRPC, requestHeaders: [x-a] } }", &[]);
    check(
        "{ external: { service: { name: a }, allowUnchecked: true } }",
        &["spec.external.allowUnchecked = true: confirms what is not asked for"],
    );
    check(
        "{ external: { service: { name: a }, requestHeaders: [x-a, X-A], upstreamHeaders: [te] } }",
        &[
            "spec.external.requestHeaders[1] = \"X-A\": stands in the list twice",
            "spec.external.upstreamHeaders[0] = \"te\": is a hop-by-hop header, which belongs to one connection",
        ],
    );
    rule("auth: { name: A_ }", &["spec.rules[0].auth.name = \"A_\": is not a valid name"]);
}
