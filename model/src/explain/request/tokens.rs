//! JSON Web Tokens that a policy demands: whether a request shows one, and what of it the service
//! gets. Whether one is good is not known here.

use super::{incoming::Incoming, made_by};
use crate::{
    auth_policy::{Jwks, Jwt, JwtProvider, TokenPlace},
    explain::Decision,
    key::ObjectKey,
};

const FIELD: &str = "spec.jwt";

/// Tells whether a request shows a token where one is sought. One that does is led on as if it were
/// good: tokens and forged headers are taken out of it.
pub(super) fn shows_one(
    jwt: &Jwt,
    key: &ObjectKey,
    request: &mut Incoming,
    decisions: &mut Vec<Decision>,
) -> bool {
    let mut say = |said: String, field: &str| decisions.push(made_by("auth", said, key, field));
    let asked: Vec<usize> = (0..jwt.providers.len())
        .filter(|index| jwt.providers[*index].from.iter().any(|place| is_shown(place, request)))
        .collect();
    if asked.is_empty() {
        for (index, provider) in jwt.providers.iter().enumerate() {
            let places: Vec<String> = provider.from.iter().map(named).collect();
            let said =
                format!("it shows no token of {} ({}): 401", provider.issuer, places.join(", or "));
            say(said, &format!("{FIELD}.providers[{index}]"));
        }
        return false;
    }
    for index in &asked {
        say(wanted(&jwt.providers[*index]), &format!("{FIELD}.providers[{index}]"));
    }
    for (index, header) in jwt.claim_headers.iter().enumerate() {
        let said = format!("the service is told claim {} by {}", header.claim, header.name);
        say(said, &format!("{FIELD}.claimHeaders[{index}]"));
        request.remove(&header.name);
    }
    let places = asked.iter().map(|index| &jwt.providers[*index]).filter(|one| !one.forward);
    for place in places.flat_map(|provider| &provider.from) {
        take_out(place, request);
    }
    true
}

/// Says what a token must be to be accepted.
fn wanted(provider: &JwtProvider) -> String {
    let keys = match &provider.jwks {
        Jwks::Inline(_) => "the keys of the policy".to_owned(),
        Jwks::File(path) => format!("the keys of {path}"),
        Jwks::Remote(remote) => {
            let service = &remote.service;
            format!("the keys of Service/{}/{}", service.namespace, service.name)
        }
    };
    let mut said = format!(
        "it goes on if its token is of {}, signed by {keys}, and in time, else 401",
        provider.issuer
    );
    if !provider.audiences.is_empty() {
        said = format!("{said}; and for {}, else 403", provider.audiences.join(" or "));
    }
    let claims: Vec<&str> =
        provider.required_claims.iter().map(|required| required.claim.as_str()).collect();
    if !claims.is_empty() {
        said = format!("{said}; and has what is required of {}, else 403", claims.join(", "));
    }
    said
}

/// Names where a token may stand.
pub(super) fn named(place: &TokenPlace) -> String {
    match place {
        TokenPlace::Header(header) => format!("header {}: {}…", header.name, header.prefix),
        TokenPlace::Query(name) => format!("query {name}"),
        TokenPlace::Cookie(name) => format!("cookie {name}"),
    }
}

/// Tells whether something stands there. Envoy seeks the prefix anywhere in the header.
pub(super) fn is_shown(place: &TokenPlace, request: &Incoming) -> bool {
    match place {
        TokenPlace::Header(header) => {
            request.header(&header.name).is_some_and(|value| value.contains(&header.prefix))
        }
        TokenPlace::Query(name) => pairs(request.query.as_deref()).any(|pair| is_of(pair, name)),
        TokenPlace::Cookie(name) => {
            let cookies = request.values("cookie").flat_map(|line| line.split(';'));
            cookies.map(str::trim_start).any(|cookie| {
                cookie.split_once('=').is_some_and(|(known, _)| known.trim_end() == name)
            })
        }
    }
}

/// Takes a token out; out of a cookie Envoy cannot.
pub(super) fn take_out(place: &TokenPlace, request: &mut Incoming) {
    match place {
        TokenPlace::Header(_) | TokenPlace::Query(_) if !is_shown(place, request) => {}
        TokenPlace::Header(header) => request.remove(&header.name),
        TokenPlace::Query(name) => {
            let rest: Vec<&str> =
                pairs(request.query.as_deref()).filter(|pair| !is_of(pair, name)).collect();
            request.query = (!rest.is_empty()).then(|| rest.join("&"));
        }
        TokenPlace::Cookie(_) => {}
    }
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = &str> {
    query.into_iter().flat_map(|query| query.split('&'))
}

fn is_of(pair: &str, name: &str) -> bool {
    pair.split_once('=').map_or(pair, |(known, _)| known) == name
}
