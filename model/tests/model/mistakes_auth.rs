//! Mistakes in what policies demand.

use crate::checking::check_spec;

fn check(spec: &str, expected: &[&str]) {
    check_spec("AuthPolicy", spec, expected);
}

/// Checks a policy with one issuer that has these fields too.
fn provider(fields: &str, expected: &[&str]) {
    check(&format!("{{ jwt: {{ providers: [{{ name: a, issuer: i, {fields} }}] }} }}"), expected);
}

#[test]
fn issuers() {
    check("{ jwt: { providers: [] } }", &["spec.jwt.providers = []: is empty"]);
    check(
        "{ jwt: { providers: [{ name: A_, jwks: { file: keys } }], claimHeaders: [{ name: te, claim: a..b }, { name: x }] } }",
        &[
            "spec.jwt.claimHeaders[0].claim = \"a..b\": has an empty part between dots",
            "spec.jwt.claimHeaders[0].name = \"te\": is a hop-by-hop header, which belongs to one connection",
            "spec.jwt.claimHeaders[1].claim: is missing",
            "spec.jwt.providers[0].issuer: is missing",
            "spec.jwt.providers[0].jwks.file = \"keys\": is not an absolute path",
            "spec.jwt.providers[0].name = \"A_\": is not a valid name",
        ],
    );
    let one = "{ name: a, issuer: i, jwks: { file: /k } }";
    check(
        &format!("{{ jwt: {{ providers: [{one}, {one}] }} }}"),
        &[
            r#"spec.jwt.providers[1] = {"issuer":"i","jwks":{"file":"/k"},"name":"a"}: stands in the list twice"#,
        ],
    );
    check(
        &format!(
            "{{ jwt: {{ providers: [{one}], claimHeaders: [{{ name: x, claim: a }}, {{ name: X, claim: b }}] }} }}"
        ),
        &[r#"spec.jwt.claimHeaders[1] = {"claim":"b","name":"X"}: stands in the list twice"#],
    );
}

#[test]
fn tokens() {
    let with = |fields: &str, expected: &[&str]| {
        provider(&format!("jwks: {{ file: /k }}, {fields}"), expected);
    };
    with("forward: true, from: [{ cookie: c }, { query: q }, { header: { name: X-T } }]", &[]);
    with(
        "from: [{ cookie: c }]",
        &[
            r#"spec.jwt.providers[0].from = [{"cookie":"c"}]: has a cookie, and Envoy cannot take one out"#,
        ],
    );
    with(
        "from: [{ cookie: c, query: q }, { cookie: 'a b' }, { header: { name: host } }]",
        &[
            r#"spec.jwt.providers[0].from[0] = {"cookie":"c","query":"q"}: has not exactly one of header, query and cookie"#,
            "spec.jwt.providers[0].from[1].cookie = \"a b\": is not the name of a parameter or cookie",
            "spec.jwt.providers[0].from[2].header.name = \"host\": is the host",
        ],
    );
    with(
        "clockSkew: 1500ms, audiences: [a, a], requiredClaims: [{ claim: a, value: 1 }, { value: x }]",
        &[
            "spec.jwt.providers[0].audiences[1] = \"a\": stands in the list twice",
            "spec.jwt.providers[0].clockSkew = \"1500ms\": is not a number of whole seconds",
            "spec.jwt.providers[0].requiredClaims[0].value = 1: is a number",
            "spec.jwt.providers[0].requiredClaims[1].claim: is missing",
        ],
    );
    with("clockSkew: 11m", &["spec.jwt.providers[0].clockSkew = \"11m\": is too long"]);
}

#[test]
fn keys() {
    let jwks = |text: &str, expected: &[&str]| provider(&format!("jwks: {text}"), expected);
    let inline = |text: &str, expected: &str| {
        let expected = format!("spec.jwt.providers[0].jwks.inline = \"(a JWK set)\": {expected}");
        jwks(&format!("{{ inline: '{text}' }}"), &[&expected]);
    };
    jwks("{ inline: '{\"keys\": [{\"kty\": \"RSA\"}]}' }", &[]);
    inline("secret", "is not JSON: expected value at line 1 column 1");
    inline("{\"keys\": []}", "is no JWK set with keys");
    inline(
        "{\"keys\": [{\"kty\": \"RSA\"}, {\"kty\": \"EC\", \"d\": \"x\"}]}",
        "holds keys[1], which is a private key",
    );
    inline(
        "{\"keys\": [{\"kty\": \"oct\", \"k\": \"x\"}]}",
        "holds keys[0], which is a secret key, and the configuration keeps no secrets",
    );
    inline("{\"keys\": [{}]}", "holds keys[0], which has no kty of RSA, EC or OKP");
    jwks(
        "{ file: /k, remote: {} }",
        &[
            "spec.jwt.providers[0].jwks.remote.host: is missing",
            "spec.jwt.providers[0].jwks.remote.path: is missing",
            "spec.jwt.providers[0].jwks.remote.service: is missing",
        ],
    );
    jwks(
        "{}",
        &["spec.jwt.providers[0].jwks = {}: has not exactly one of inline, file and remote"],
    );
    jwks(
        "{ remote: { host: '*.a', path: keys, refresh: 25h } }",
        &[
            "spec.jwt.providers[0].jwks.remote.host = \"*.a\": has a wildcard",
            "spec.jwt.providers[0].jwks.remote.path = \"keys\": does not begin with /",
            "spec.jwt.providers[0].jwks.remote.refresh = \"25h\": is too long",
            "spec.jwt.providers[0].jwks.remote.service: is missing",
        ],
    );
}

#[test]
fn api_keys() {
    check("{ apiKeys: { keysFile: /k, from: [{ cookie: c }], clientHeader: X-Client } }", &[]);
    check("{}", &["spec = {}: demands nothing"]);
    check(
        "{ apiKeys: { from: [{ query: q, cookie: c }], forward: 1, clientHeader: te } }",
        &[
            "spec.apiKeys.clientHeader = \"te\": is a hop-by-hop header, which belongs to one connection",
            "spec.apiKeys.forward = 1: is a number",
            r#"spec.apiKeys.from[0] = {"cookie":"c","query":"q"}: has not exactly one of header, query and cookie"#,
            "spec.apiKeys.keysFile: is missing",
        ],
    );
    check(
        "{ apiKeys: { keysFile: keys, from: [], key: 1 } }",
        &[
            "spec.apiKeys.from = []: is empty",
            "spec.apiKeys.key = 1: is not a known field",
            "spec.apiKeys.keysFile = \"keys\": is not an absolute path",
        ],
    );
}
