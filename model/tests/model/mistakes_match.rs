//! Mistakes in the matches of HTTP routes.

use crate::mistakes_http::{route, rule};

/// Checks one match of a rule.
#[track_caller]
fn condition(fields: &str, expected: &[&str]) {
    rule(&format!("matches: [{fields}]"), expected);
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
