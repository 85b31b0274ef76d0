//! Mistakes in HTTP routes.

use crate::checking::check_spec;

/// Checks a route with these hosts and rules.
#[track_caller]
fn route(hosts: &str, rules: &str, expected: &[&str]) {
    let spec = format!("{{ listeners: [{{ name: web }}], hosts: {hosts}, rules: {rules} }}");
    check_spec("HTTPRoute", &spec, expected);
}

/// Checks a rule that forwards.
#[track_caller]
fn rule(fields: &str, expected: &[&str]) {
    let rules = format!("[{{ backends: [{{ service: {{ name: a }} }}], {fields} }}]");
    route("['*']", &rules, expected);
}

/// Checks one match of a rule.
#[track_caller]
fn condition(fields: &str, expected: &[&str]) {
    rule(&format!("matches: [{fields}]"), expected);
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
fn paths() {
    condition("{ path: { exact: /a/ } }", &[]);
    condition("{ path: { prefix: / } }", &[]);
    condition("{ path: { exact: '/a%20b;v=1' } }", &[]);
    let at = "spec.rules[0].matches[0].path";
    for (path, shown, message) in [
        ("{ exact: a }", ".exact = \"a\"", "does not begin with /"),
        ("{ exact: '' }", ".exact = \"\"", "does not begin with /"),
        ("{ exact: '/a?b=c' }", ".exact = \"/a?b=c\"", "has a query"),
        ("{ exact: '/a#b' }", ".exact = \"/a#b\"", "has a fragment, which no client sends"),
        ("{ exact: '/a b' }", ".exact = \"/a b\"", "holds the character ' '"),
        ("{ exact: /ä }", ".exact = \"/ä\"", "holds the character 'ä'"),
        ("{ exact: /a%2 }", ".exact = \"/a%2\"", "has a % without two hexadecimal digits"),
        ("{ exact: /a/../b }", ".exact = \"/a/../b\"", "has an empty, . or .. segment"),
        ("{ exact: //a }", ".exact = \"//a\"", "has an empty, . or .. segment"),
        ("{ prefix: /a/ }", ".prefix = \"/a/\"", "ends with /; a prefix matches whole segments"),
        ("{ prefix: /a* }", "", ""),
        ("{}", " = {}", "has not exactly one of exact, prefix and regex"),
        (
            "{ exact: /a, prefix: /b }",
            " = {\"exact\":\"/a\",\"prefix\":\"/b\"}",
            "has not exactly one of exact, prefix and regex",
        ),
        ("{ prefx: /a }", ".prefx = \"/a\"", "is not a known field"),
        ("/a", " = \"/a\"", "is text"),
    ] {
        let expected = format!("{at}{shown}: {message}");
        let expected: &[&str] = if message.is_empty() { &[] } else { &[&expected] };
        condition(&format!("{{ path: {path} }}"), expected);
    }
}

#[test]
fn regular_expressions() {
    let at = "spec.rules[0].matches[0].path.regex";
    for regex in [r"/a/\d+", r"(/a|/b)/.*", r"(?i)/A\.b", r"^/a$", r".*\.png", r"/\pL+/[[:alpha:]]"]
    {
        condition(&format!("{{ path: {{ regex: '{regex}' }} }}"), &[]);
    }
    for (regex, message) in [
        ("", "is empty"),
        ("/a(", "is not a regular expression: unclosed group at 2"),
        ("/a{1001}", "holds a repetition of more than 1000"),
        (
            "/(?=a)",
            "is not a regular expression: look-around, including look-ahead and \
                    look-behind, is not supported at 1",
        ),
        (r"/(a)\1", "is not a regular expression: backreferences are not supported at 4"),
        ("/[a&&b]", "holds an operation on classes (&&, -- or ~~)"),
        ("/[a[b]]", "holds a class within a class; write \\[ for a ["),
        ("(?x)/a", "holds a flag other than i, m, s and U"),
        (r"/\p{Alphabetic}", "holds a Unicode class that RE2 may not know"),
        ("/(((a{999}){999}){999})", "is too large when compiled"),
        ("cart/.*", "matches no path, since every path begins with /"),
        ("", "is empty"),
    ] {
        let shown = serde_json::Value::from(regex);
        condition(
            &format!("{{ path: {{ regex: '{regex}' }} }}"),
            &[&format!("{at} = {shown}: {message}")],
        );
    }
    let long = format!("/{}", "a".repeat(1024));
    let shown = &long[..79];
    condition(
        &format!("{{ path: {{ regex: {long} }} }}"),
        &[&format!("{at} = \"{shown}…: has 1025 bytes")],
    );
}

#[test]
fn methods_headers_and_parameters() {
    condition(
        "{ method: PURGE, headers: [{ name: X-A, regex: 'a+' }], query: [{ name: q, exact: '' }] }",
        &[],
    );
    condition(
        "{ method: get }",
        &[
            "spec.rules[0].matches[0].method = \"get\": is in lower case; methods are case-sensitive",
        ],
    );
    condition(
        "{ method: 'GE T' }",
        &["spec.rules[0].matches[0].method = \"GE T\": is not a method"],
    );
    condition(
        "{ method: CONNECT }",
        &[
            "spec.rules[0].matches[0].method = \"CONNECT\": opens tunnels, which routes do not carry",
        ],
    );
    condition(
        "{ headers: [{ name: ':path', exact: / }, { name: Host, exact: a }, { name: 'a b', exact: a }, \
         { name: a, exact: b, present: true }, { name: x }, { name: y, regex: '(' }, \
         { exact: a }, { name: z, present: 1 }, { name: b, exact: \"c\\nd\" }] }",
        &[
            "spec.rules[0].matches[0].headers[0].name = \":path\": is a pseudo-header",
            "spec.rules[0].matches[0].headers[1].name = \"Host\": is the host",
            "spec.rules[0].matches[0].headers[2].name = \"a b\": is not a header name",
            "spec.rules[0].matches[0].headers[3] = {\"exact\":\"b\",\"name\":\"a\",\"present\":true}: \
             has not exactly one of exact, regex and present",
            "spec.rules[0].matches[0].headers[4] = {\"name\":\"x\"}: \
             has not exactly one of exact, regex and present",
            "spec.rules[0].matches[0].headers[5].regex = \"(\": \
             is not a regular expression: unclosed group at 0",
            "spec.rules[0].matches[0].headers[6].name: is missing",
            "spec.rules[0].matches[0].headers[7].present = 1: is a number",
            "spec.rules[0].matches[0].headers[8].exact = \"c\\nd\": holds a line break or NUL",
        ],
    );
    condition(
        "{ headers: [{ name: a, exact: b }, { name: A, exact: c }] }",
        &[
            "spec.rules[0].matches[0].headers[1] = {\"exact\":\"c\",\"name\":\"A\"}: stands in the list twice",
        ],
    );
    condition(
        "{ query: [{ name: '', exact: b }, { name: q, exact: 7 }] }",
        &[
            "spec.rules[0].matches[0].query[0].name = \"\": is empty",
            "spec.rules[0].matches[0].query[1].exact = 7: is a number",
        ],
    );
}

#[test]
fn the_same_match_twice() {
    condition("{ path: { prefix: /a } }, { path: { prefix: /a }, method: GET }", &[]);
    condition(
        "{ path: { prefix: /a } }, { path: { prefix: /a } }",
        &["spec.rules[0].matches[1] = {\"path\":{\"prefix\":\"/a\"}}: \
           matches what rules[0].matches[0] matches"],
    );
    condition(
        "{ headers: [{ name: a, exact: b }, { name: c, exact: d }] }, \
         { path: { prefix: / }, headers: [{ name: C, exact: d }, { name: a, exact: b }] }",
        &["spec.rules[0].matches[1] = {\"headers\":[{\"exact\":\"d\",\"name\":\"C\"},\
           {\"exact\":\"b\",\"name\":\"a\"}],\"path\":{\"prefix\":…: \
           matches what rules[0].matches[0] matches"],
    );
    let forward = "backends: [{ service: { name: a } }]";
    route(
        "['*']",
        &format!("[{{ {forward} }}, {{ {forward}, timeout: 0s }}]"),
        &[
            "spec.rules[1] = {\"backends\":[{\"service\":{\"name\":\"a\"}}],\"timeout\":\"0s\"}: \
             matches what rules[0].matches[0] matches",
            "spec.rules[1].timeout = \"0s\": is zero",
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
