//! Policies for who may send requests.

use proptest::{option, prelude::*, sample::subsequence};
use serde_json::{Value, json};

pub(crate) fn policy() -> impl Strategy<Value = Value> {
    prop_oneof![
        basic().prop_map(|basic| json!({ "basic": basic })),
        jwt().prop_map(|jwt| json!({ "jwt": jwt })),
        oidc().prop_map(|oidc| json!({ "oidc": oidc })),
        (oidc(), external())
            .prop_map(|(oidc, external)| json!({ "oidc": oidc, "external": external })),
        api_keys().prop_map(|keys| json!({ "apiKeys": keys })),
        external().prop_map(|external| json!({ "external": external })),
        (basic(), external())
            .prop_map(|(basic, external)| json!({ "basic": basic, "external": external })),
    ]
}

fn jwt() -> impl Strategy<Value = Value> {
    let names = subsequence(vec!["x", "y", "z"], 1..3);
    let headers = subsequence(vec!["x-a", "X-B"], 0..3);
    (names, provider(), headers).prop_map(|(names, provider, headers)| {
        let providers: Vec<Value> = names
            .iter()
            .map(|name| {
                let mut one = provider.clone();
                one["name"] = (*name).into();
                one
            })
            .collect();
        let headers: Vec<Value> =
            headers.iter().map(|name| json!({ "name": name, "claim": "realm.role" })).collect();
        json!({ "providers": providers, "claimHeaders": headers })
    })
}

fn provider() -> impl Strategy<Value = Value> {
    let jwks = prop_oneof![
        Just(json!({ "inline": "{\"keys\": [{\"kty\": \"EC\"}]}" })),
        Just(json!({ "file": "/etc/jwks.json" })),
        ("[a-c]", option::of(1..100u32)).prop_map(|(name, refresh)| {
            let mut remote = json!({ "service": { "name": name }, "host": "idp.example",
                "path": "/keys" });
            if let Some(refresh) = refresh {
                remote["refresh"] = format!("{refresh}s").into();
            }
            json!({ "remote": remote })
        }),
    ];
    let places = || {
        vec![
            json!({ "header": { "name": "X-T" } }),
            json!({ "query": "t" }),
            json!({ "cookie": "c" }),
        ]
    };
    let claims = subsequence(
        vec![json!({ "claim": "a", "value": "b" }), json!({ "claim": "c.d", "value": true })],
        0..3,
    );
    (jwks, option::of(subsequence(places(), 1..4)), claims, 1..600u32).prop_map(
        |(jwks, from, claims, skew)| {
            let mut provider = json!({ "issuer": "https://idp.example", "audiences": ["a", "b"],
                "jwks": jwks, "requiredClaims": claims, "clockSkew": format!("{skew}s") });
            if let Some(from) = from {
                provider["from"] = from.into();
                provider["forward"] = true.into();
            }
            provider
        },
    )
}

fn oidc() -> impl Strategy<Value = Value> {
    let claims = subsequence(vec![json!({ "claim": "a", "value": "b" })], 0..2);
    let headers = subsequence(vec![json!({ "name": "X-A", "claim": "sub" })], 0..2);
    let api = subsequence(vec!["/", "/api", "/b"], 0..3);
    let session =
        (any::<bool>(), option::of(1..9_600u32), 0..3usize).prop_map(|(refresh, hours, site)| {
            let site = ["Strict", "Lax", "None"][site];
            let mut session = json!({ "refresh": refresh, "sameSite": site });
            if let Some(hours) = hours {
                session["lifetime"] = format!("{hours}h").into();
            }
            session
        });
    let way = option::of(prop_oneof![Just("Basic"), Just("Post")]);
    (provider(), option::of(session), api, claims, headers, way, any::<(bool, bool)>()).prop_map(
        |(provider, session, api, claims, headers, way, (forward, ends))| {
            let token = json!({ "service": { "name": "a" }, "host": "idp.example", "path": "/t" });
            let mut oidc = json!({
                "provider": { "issuer": "https://idp.example", "jwks": provider["jwks"],
                    "authorizationEndpoint": "https://idp.example:8443/a?b=c",
                    "tokenEndpoint": token },
                "client": { "id": "c.d", "secretFile": "/etc/secret", "scopes": ["x", "openid"] },
                "apiPaths": api, "requiredClaims": claims, "claimHeaders": headers,
                "forwardAccessToken": forward });
            if let Some(session) = session {
                oidc["session"] = session;
            }
            if let Some(way) = way {
                oidc["client"]["authentication"] = way.into();
            }
            if ends {
                oidc["provider"]["endSessionEndpoint"] = "https://idp.example/e".into();
                oidc["logoutPath"] = "/out".into();
            }
            oidc
        },
    )
}

fn api_keys() -> impl Strategy<Value = Value> {
    let places = vec![
        json!({ "header": { "name": "X-T", "prefix": "K " } }),
        json!({ "query": "t" }),
        json!({ "cookie": "c" }),
    ];
    let from = option::of(subsequence(places, 1..4));
    (from, any::<bool>(), option::of("x-[a-z]{1,5}")).prop_map(|(from, forward, header)| {
        let mut keys = json!({ "keysFile": "/etc/keys", "forward": forward });
        if let Some(from) = from {
            keys["from"] = from.into();
        }
        if let Some(header) = header {
            keys["clientHeader"] = header.into();
        }
        keys
    })
}

fn basic() -> impl Strategy<Value = Value> {
    option::of("x-[a-z]{1,5}").prop_map(|header| {
        let mut basic = json!({ "usersFile": "/etc/users" });
        if let Some(header) = header {
            basic["userHeader"] = header.into();
        }
        basic
    })
}

fn external() -> impl Strategy<Value = Value> {
    let headers = || subsequence(vec!["x-a", "x-b", "x-c"], 0..3);
    let flags = (any::<bool>(), any::<bool>());
    ("[a-c]", option::of("/[a-z]{1,5}"), headers(), headers(), flags).prop_map(
        |(name, prefix, request, upstream, (open, grpc))| {
            let mut external = json!({ "service": { "name": name }, "requestHeaders": request,
                "upstreamHeaders": upstream });
            if let Some(prefix) = prefix {
                external["pathPrefix"] = prefix.into();
            } else if grpc {
                external["protocol"] = "GRPC".into();
                external.as_object_mut().map(|external| external.remove("upstreamHeaders"));
            }
            if open {
                external["onFailure"] = "Allow".into();
                external["allowUnchecked"] = true.into();
            }
            external
        },
    )
}
