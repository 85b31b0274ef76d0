//! API keys that a policy demands: whether a request shows one, and what of it the service gets. Whether
//! one is good is not known here.

use super::{
    incoming::Incoming,
    made_by,
    tokens::{is_shown, named, take_out},
};
use crate::{
    auth_policy::{ApiKeys, TokenPlace},
    explain::Decision,
    key::ObjectKey,
};

const FIELD: &str = "spec.apiKeys";

/// Tells whether a request shows a key where one is sought. One that does is led on as if it were good:
/// the key is taken out of it.
pub(super) fn shows_one(
    keys: &ApiKeys,
    key: &ObjectKey,
    request: &mut Incoming,
    decisions: &mut Vec<Decision>,
) -> bool {
    let mut say = |said: String| decisions.push(made_by("auth", said, key, FIELD));
    if !keys.from.iter().any(|place| begins(place, request)) {
        let places: Vec<String> = keys.from.iter().map(named).collect();
        say(format!("it shows no key ({}): 401", places.join(", or ")));
        return false;
    }
    let told = keys.client_header.as_ref();
    let told = told.map(|name| format!("; the service is told by {name}")).unwrap_or_default();
    say(format!("it goes on if {} has the client of its key, else 401{told}", keys.keys_file));
    for place in keys.from.iter().filter(|_| !keys.forward) {
        match place {
            place if !begins(place, request) => {}
            TokenPlace::Cookie(name) => take_out_cookie(name, request),
            place => take_out(place, request),
        }
    }
    true
}

/// Tells whether something stands there, in a header behind the prefix.
fn begins(place: &TokenPlace, request: &Incoming) -> bool {
    match place {
        TokenPlace::Header(header) => {
            request.header(&header.name).is_some_and(|value| value.starts_with(&header.prefix))
        }
        _ => is_shown(place, request),
    }
}

fn take_out_cookie(name: &str, request: &mut Incoming) {
    let cookies = request.header("cookie").unwrap_or_default();
    let is_other =
        |cookie: &&str| cookie.trim_start().split_once('=').is_none_or(|it| it.0 != name);
    let rest: Vec<&str> = cookies.split(';').filter(is_other).collect();
    match rest.join(";").trim_start() {
        "" => request.remove("cookie"),
        rest => request.set("cookie", rest),
    }
}
