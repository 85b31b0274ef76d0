//! What is wrong with mirrors, affinity, CORS, and bounds of time of a rule.

use crate::checking::check_spec;

#[track_caller]
fn rule(fields: &str, expected: &[&str]) {
    let rules = format!("[{{ backends: [{{ service: {{ name: a }} }}], {fields} }}]");
    let spec = format!("{{ listeners: [{{ name: web }}], hosts: ['*'], rules: {rules} }}");
    check_spec("HTTPRoute", &spec, expected);
}

#[test]
fn mirrors() {
    rule("mirrors: []", &[]);
    rule("mirrors: [{ service: { name: b }, percent: 1 }]", &[]);
    rule(
        "mirrors: [{ service: { name: b }, percent: 0 }, { percent: 101 }, { service: { name: B }, share: 1 }]",
        &[
            "spec.rules[0].mirrors[0].percent = 0: is out of range",
            "spec.rules[0].mirrors[1].percent = 101: is out of range",
            "spec.rules[0].mirrors[1].service: is missing",
            "spec.rules[0].mirrors[2].service.name = \"B\": is not a valid name",
            "spec.rules[0].mirrors[2].share = 1: is not a known field",
        ],
    );
    rule(
        "mirrors: [{ service: { name: b } }, { service: { name: b } }]",
        &["spec.rules[0].mirrors[1] = {\"service\":{\"name\":\"b\"}}: stands in the list twice"],
    );
    let many = ["{ service: { name: b } }"; 9].join(", ");
    let shown = "[{\"service\":{\"name\":\"b\"}},{\"service\":{\"name\":\"b\"}},{\"service\":{\"name\":\"b\"}},{\"se…";
    rule(
        &format!("mirrors: [{many}]"),
        &[&format!("spec.rules[0].mirrors = {shown}: has 9 items")],
    );
}

#[test]
fn compression() {
    rule("compression: true", &[]);
    rule("compression: yes", &["spec.rules[0].compression = \"yes\": is text"]);
    let rules = "[{ backends: [{ service: { name: a } }], compression: true }]";
    let spec = format!("{{ listeners: [{{ name: web }}], hosts: ['*'], rules: {rules} }}");
    check_spec("GRPCRoute", &spec, &["spec.rules[0].compression = true: is not a known field"]);
}

#[test]
fn affinity_and_sessions() {
    rule("affinity: { header: X-User }", &[]);
    rule("affinity: { cookie: { name: user } }, sessionPersistence: { header: x-place }", &[]);
    let one = "has not exactly one of header, cookie and query";
    rule("affinity: {}", &[&format!("spec.rules[0].affinity = {{}}: {one}")]);
    rule(
        "affinity: { header: a, query: b }",
        &[&format!("spec.rules[0].affinity = {{\"header\":\"a\",\"query\":\"b\"}}: {one}")],
    );
    rule(
        "affinity: { header: ':path' }",
        &["spec.rules[0].affinity.header = \":path\": is a pseudo-header"],
    );
    rule(
        "affinity: { cookie: { name: 'a b', ttl: 1500ms, path: x, secure: true } }",
        &[
            "spec.rules[0].affinity.cookie.name = \"a b\": is not the name of a cookie",
            "spec.rules[0].affinity.cookie.ttl = \"1500ms\": is not a number of whole seconds",
            "spec.rules[0].affinity.cookie.path = \"x\": does not begin with /",
            "spec.rules[0].affinity.cookie.secure = true: is not a known field",
        ],
    );
    rule(
        "sessionPersistence: { cookie: { name: a, ttl: 10000h, path: '/a;b' } }",
        &[
            "spec.rules[0].sessionPersistence.cookie.ttl = \"10000h\": is too long",
            "spec.rules[0].sessionPersistence.cookie.path = \"/a;b\": \
             holds a ;, which ends it within a cookie",
        ],
    );
    rule(
        "sessionPersistence: { cookie: { name: a }, header: b }",
        &["spec.rules[0].sessionPersistence = {\"cookie\":{\"name\":\"a\"},\"header\":\"b\"}: \
         has not exactly one of cookie and header"],
    );
}

#[test]
fn cors() {
    rule("cors: { allowOrigins: [https://a.example, 'http://*.b.example:8080', '*'] }", &[]);
    rule("cors: {}", &["spec.rules[0].cors = {}: allows no origin"]);
    rule(
        "cors: { allowOrigins: [a.example, ftp://a, 'https://a:0', 'https://a/b', 'https://*', \
          'https://a.*.b'], allowOriginRegexes: ['('], maxAge: 1ms, allowMethod: [GET] }",
        &[
            "spec.rules[0].cors.allowOrigins[0] = \"a.example\": \
             is not an origin, which begins with a scheme",
            "spec.rules[0].cors.allowOrigins[1] = \"ftp://a\": \
             has a scheme other than http and https",
            "spec.rules[0].cors.allowOrigins[2] = \"https://a:0\": has no port behind the colon",
            "spec.rules[0].cors.allowOrigins[3] = \"a/b\": is a URL or path, not a host",
            "spec.rules[0].cors.allowOrigins[4] = \"https://*\": is any host of a scheme",
            "spec.rules[0].cors.allowOrigins[5] = \"a.*.b\": \
             has a wildcard in another place than the first label",
            "spec.rules[0].cors.allowOriginRegexes[0] = \"(\": \
             is not a regular expression: unclosed group at 0",
            "spec.rules[0].cors.maxAge = \"1ms\": is too short",
            "spec.rules[0].cors.allowMethod = [\"GET\"]: is not a known field",
        ],
    );
    rule(
        "cors: { allowOrigins: ['*'], allowMethods: ['*', GET] }",
        &["spec.rules[0].cors.allowMethods = [\"*\",\"GET\"]: has * beside others"],
    );
    rule(
        "cors: { allowOrigins: ['*'], allowCredentials: true }",
        &["spec.rules[0].cors.allowOrigins = [\"*\"]: is any origin, with credentials"],
    );
    rule(
        "cors: { allowOriginRegexes: ['https://.*'], allowCredentials: true }",
        &["spec.rules[0].cors.allowOriginRegexes = [\"https://.*\"]: \
           takes any origin, with credentials"],
    );
    rule(
        "cors: { allowOrigins: [https://a], exposeHeaders: ['*'], allowCredentials: true }",
        &["spec.rules[0].cors.exposeHeaders = [\"*\"]: \
           is *, which browsers take for a name when there are credentials"],
    );
    rule(
        "matches: [{ method: POST }], cors: { allowOrigins: ['*'] }",
        &["spec.rules[0].cors = {\"allowOrigins\":[\"*\"]}: \
           stands in a rule with a method, whose preflights (OPTIONS) go elsewhere"],
    );
}

#[test]
fn times_and_tries() {
    rule("streamIdleTimeout: 5m, maxStreamDuration: 1h, grpcTimeoutHeaderMax: 1m", &[]);
    rule(
        "streamIdleTimeout: 0s, maxStreamDuration: 25h, grpcTimeoutHeaderMax: 5",
        &[
            "spec.rules[0].streamIdleTimeout = \"0s\": is zero",
            "spec.rules[0].maxStreamDuration = \"25h\": is too long",
            "spec.rules[0].grpcTimeoutHeaderMax = 5: has no unit",
        ],
    );
    rule("retries: { on: [unavailable, reset-before-request], statuses: [429, 503] }", &[]);
    rule(
        "retries: { backoff: 1s, maxBackoff: 500ms, statuses: [200, 503, 503], \
          perTryIdleTimeout: 0s, retryAfterMax: 1us }",
        &[
            "spec.rules[0].retries.maxBackoff = \"500ms\": is shorter than the first pause, 1s",
            "spec.rules[0].retries.statuses[0] = 200: is out of range",
            "spec.rules[0].retries.statuses[2] = 503: stands in the list twice",
            "spec.rules[0].retries.perTryIdleTimeout = \"0s\": is zero",
            "spec.rules[0].retries.retryAfterMax = \"1us\": is too short",
        ],
    );
}

#[test]
fn rewrites_by_expression() {
    rule(r"rewrite: { pathRegex: { pattern: '/a/(b)', substitution: '/\1\0' } }", &[]);
    rule("rewrite: { hostFromHeader: X-Tenant }", &[]);
    rule(
        r"rewrite: { pathRegex: { pattern: '/a/(b)', substitution: '/\2' } }",
        &[r#"spec.rules[0].rewrite.pathRegex.substitution = "/\\2": refers to group 2"#],
    );
    rule(
        r"rewrite: { pathRegex: { pattern: '(?=a)', substitution: '/\x' }, hostFromHeader: host }",
        &[
            r#"spec.rules[0].rewrite.pathRegex.pattern = "(?=a)": is not a regular expression: look-around, including look-ahead and look-behind, is not supported at 0"#,
            r#"spec.rules[0].rewrite.pathRegex.substitution = "/\\x": has a \ without a digit behind it"#,
            r#"spec.rules[0].rewrite.hostFromHeader = "host": is the host"#,
        ],
    );
    rule(
        "rewrite: { path: /a, pathRegex: { pattern: a, substitution: 'b c' } }",
        &[
            "spec.rules[0].rewrite.pathRegex = {\"pattern\":\"a\",\"substitution\":\"b c\"}: \
             stands beside path",
            "spec.rules[0].rewrite.pathRegex.substitution = \"b c\": is not a part of a path",
        ],
    );
    rule(
        "rewrite: { host: a, hostFromHeader: x-a }",
        &["spec.rules[0].rewrite.hostFromHeader = \"x-a\": stands beside host"],
    );
}

#[test]
fn redirects_by_prefix() {
    let check = |rule: &str, expected: &[&str]| {
        let spec = format!("{{ listeners: [{{ name: web }}], hosts: [a], rules: [{rule}] }}");
        check_spec("HTTPRoute", &spec, expected);
    };
    check("{ matches: [{ path: { prefix: /a } }], redirect: { replacePrefix: /b } }", &[]);
    check(
        "{ matches: [{ path: { exact: /a } }], redirect: { replacePrefix: /b } }",
        &["spec.rules[0].redirect = {\"replacePrefix\":\"/b\"}: \
           replaces the prefix of a match that has none"],
    );
    check(
        "{ matches: [{ path: { prefix: /a } }], redirect: { replacePrefix: /b, path: /c } }",
        &["spec.rules[0].redirect.replacePrefix = \"/b\": stands beside path"],
    );
    check(
        "{ matches: [{ path: { prefix: /a } }], redirect: { replacePrefix: /a/b } }",
        &["spec.rules[0].redirect = {\"replacePrefix\":\"/a/b\"}: \
           leads to a request that this rule redirects again"],
    );
    for field in ["mirrors: []", "affinity: { header: a }", "cors: { allowOrigins: ['*'] }"] {
        let (name, value) = field.split_once(": ").unwrap();
        let shown = match name {
            "mirrors" => "[]",
            "affinity" => "{\"header\":\"a\"}",
            _ => "{\"allowOrigins\":[\"*\"]}",
        };
        let expected = format!("spec.rules[0].{name} = {shown}: has no effect beside redirect");
        check(&format!("{{ redirect: {{ host: b }}, {name}: {value} }}"), &[&expected]);
    }
}
