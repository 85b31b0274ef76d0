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

const PROVIDER: &str = "issuer: i, authorizationEndpoint: 'https://i/a', tokenEndpoint: { service: \
                        { name: i }, host: i.example, path: /t }, jwks: { file: /k }";

/// Checks a policy of logins that has these fields too.
fn login(fields: &str, expected: &[&str]) {
    let client = "client: { id: c, secretFile: /s }";
    check(&format!("{{ oidc: {{ provider: {{ {PROVIDER} }}, {client}, {fields} }} }}"), expected);
}

#[test]
fn logins() {
    login("", &[]);
    check("{ oidc: {} }", &["spec.oidc.client: is missing", "spec.oidc.provider: is missing"]);
    login(
        "callbackPath: /a?b, logoutPath: out, apiPaths: [/x/, /y, /y], forwardAccessToken: 1",
        &[
            "spec.oidc.apiPaths[0] = \"/x/\": ends with /; a prefix matches whole segments",
            "spec.oidc.apiPaths[2] = \"/y\": stands in the list twice",
            "spec.oidc.callbackPath = \"/a?b\": has a query",
            "spec.oidc.forwardAccessToken = 1: is a number",
            "spec.oidc.logoutPath = \"out\": does not begin with /",
        ],
    );
    login(
        "logoutPath: /oauth2/callback",
        &[
            "spec.oidc.logoutPath = \"/oauth2/callback\": is callbackPath too, which would end each session as it begins",
        ],
    );
    login(
        "callbackPath: /a%20b",
        &[
            "spec.oidc.callbackPath = \"/a%20b\": has an encoded character, which Envoy tells the provider in another form",
        ],
    );
    login("callbackPath: /", &["spec.oidc.callbackPath = \"/\": is the path of the whole site"]);
    login(
        "session: { lifetime: 9h, sameSite: lax, refresh: 'no' }",
        &[
            "spec.oidc.session.refresh = \"no\": is text",
            "spec.oidc.session.sameSite = \"lax\": is not known",
        ],
    );
    login("session: { lifetime: 9601h }", &["spec.oidc.session.lifetime = \"9601h\": is too long"]);
}

#[test]
fn providers_and_clients() {
    let with = |provider: &str, client: &str, expected: &[&str]| {
        check(
            &format!("{{ oidc: {{ provider: {{ {provider} }}, client: {{ {client} }} }} }}"),
            expected,
        );
    };
    with(
        "authorizationEndpoint: 'http://i/a', endSessionEndpoint: 'https://i/e?x=y'",
        "secretFile: secret, scopes: [email], authentication: JWT, secret: x",
        &[
            "spec.oidc.client.authentication = \"JWT\": is not known",
            "spec.oidc.client.id: is missing",
            "spec.oidc.client.scopes = [\"email\"]: has no openid",
            "spec.oidc.client.secret = \"x\": is not a known field",
            "spec.oidc.client.secretFile = \"secret\": is not an absolute path",
            "spec.oidc.provider.authorizationEndpoint = \"http://i/a\": is not a URL that begins with https://",
            "spec.oidc.provider.endSessionEndpoint = \"https://i/e?x=y\": has a query",
            "spec.oidc.provider.issuer: is missing",
            "spec.oidc.provider.jwks: is missing",
            "spec.oidc.provider.tokenEndpoint: is missing",
        ],
    );
    let of = |url: &str, expected: &str| {
        let provider = PROVIDER.replace("https://i/a", url);
        let expected = format!("spec.oidc.provider.authorizationEndpoint = \"{url}\": {expected}");
        with(&provider, "id: c, secretFile: /s, scopes: [openid]", &[&expected]);
    };
    of("https://i", "has no path");
    of("https:///a", "has no host");
    of("https://user@i/a", "has no host");
    of("https://i:x/a", "has no port behind the colon");
    of("https://i:0/a", "has no host");
    of("https://i/a#b", "holds a character that stands in no URL, or a fragment");
    of("https://i/a b", "holds a character that stands in no URL, or a fragment");
    with(
        PROVIDER,
        "id: a&b, secretFile: /s, scopes: [openid, 'a b', openid]",
        &[
            "spec.oidc.client.id = \"a&b\": holds what URLs encode",
            "spec.oidc.client.scopes[1] = \"a b\": is not a scope",
            "spec.oidc.client.scopes[2] = \"openid\": stands in the list twice",
        ],
    );
}

#[test]
fn logins_stand_beside_consent_alone() {
    let oidc =
        format!("oidc: {{ provider: {{ {PROVIDER} }}, client: {{ id: c, secretFile: /s }} }}");
    check(&format!("{{ {oidc}, external: {{ service: {{ name: a }} }} }}"), &[]);
    check(
        &format!("{{ {oidc}, basic: {{ usersFile: /u }} }}"),
        &[r#"spec.basic = {"usersFile":"/u"}: stands beside oidc, whose browsers cannot show it"#],
    );
    check(
        &format!("{{ {oidc}, apiKeys: {{ keysFile: /u }} }}"),
        &[r#"spec.apiKeys = {"keysFile":"/u"}: stands beside oidc, whose browsers cannot show it"#],
    );
}
