//! Sessions that a policy demands: whether a request may have one, and the paths that only logins use.
//! Whether a session is good is not known here.

use super::{incoming::Incoming, made_by, routes::serving};
use crate::{
    auth_policy::Oidc,
    explain::Decision,
    key::{Kind, ObjectKey},
    route::HttpRule,
    snapshot::Snapshot,
};

const FIELD: &str = "spec.oidc";
/// What the names of all cookies of sessions begin with.
const COOKIES: &str = "__Host-marchproxy-";

/// The policies that demand sessions of a host on a listener.
pub(super) struct Logins<'a>(Vec<(ObjectKey, &'a Oidc)>);

impl<'a> Logins<'a> {
    /// Finds those of the host that a request is for.
    pub(super) fn of(config: &'a Snapshot, listener: &ObjectKey, request: &Incoming) -> Self {
        let attached = config.http_routes().filter(|(_, route)| {
            let is = |namespace: &str, name: &str| {
                namespace == listener.namespace.as_str() && name == listener.name.as_str()
            };
            route.listeners.iter().any(|to| is(to.namespace.as_str(), to.name.as_str()))
        });
        let attached: Vec<_> = attached.map(|(_, route)| route).collect();
        let hosts = attached.iter().flat_map(|route| &route.hosts);
        let Some(host) = serving(hosts.map(String::as_str), request.host()) else {
            return Self(Vec::new());
        };
        let routes = attached.iter().filter(|route| route.hosts.iter().any(|own| own == host));
        let mut found: Vec<_> = routes
            .flat_map(|route| &route.rules)
            .filter_map(|rule| of_rule(config, rule))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found.dedup_by(|a, b| a.0 == b.0);
        Self(found)
    }

    /// Returns the status of the answer to a request for a path that only logins use.
    pub(super) fn answer(&self, request: &Incoming, decisions: &mut Vec<Decision>) -> Option<u16> {
        for (key, wanted) in &self.0 {
            let mut say = |said: &str, field: &str| {
                let field = format!("{FIELD}.{field}");
                decisions.push(made_by("auth", said.to_owned(), key, &field));
            };
            if request.path == wanted.logout_path {
                say("it ends the session: its cookies are deleted", "logoutPath");
                return Some(302);
            }
            if request.path == wanted.callback_path {
                let query = request.query.as_deref().unwrap_or_default();
                let has = |name: &str| query.split('&').any(|pair| pair.starts_with(name));
                let comes_back = has("code=") && has("state=");
                say(
                    match comes_back {
                        true => {
                            "it comes from the provider: with the state and the cookies of its \
                             login, and a code that the provider takes, a session begins, else 401"
                        }
                        false => "it does not come from the provider: no code and state, so 401",
                    },
                    "callbackPath",
                );
                return Some(if comes_back { 302 } else { 401 });
            }
        }
        None
    }

    /// Takes the cookies of sessions off, which reach no service of the host.
    pub(super) fn take_cookies_off(&self, request: &mut Incoming) {
        let is_of_session = |cookie: &str| cookie.trim_start().starts_with(COOKIES);
        let cookies = || request.values("cookie").flat_map(|line| line.split(';'));
        if self.0.is_empty() || !cookies().any(is_of_session) {
            return;
        }
        let rest: Vec<String> = cookies()
            .filter(|cookie| !is_of_session(cookie) && !cookie.trim().is_empty())
            .map(|cookie| cookie.trim().to_owned())
            .collect();
        request.remove("cookie");
        if !rest.is_empty() {
            request.set("cookie", &rest.join("; "));
        }
    }
}

fn of_rule<'a>(config: &'a Snapshot, rule: &HttpRule) -> Option<(ObjectKey, &'a Oidc)> {
    let reference = rule.filters.auth.as_ref()?;
    let policy = config.auth_policy(&reference.namespace, &reference.name)?;
    let key = ObjectKey::new(Kind::AuthPolicy, &reference.namespace, &reference.name);
    Some((key, policy.oidc.as_deref()?))
}

/// Returns the status of the answer to a request that surely has no session. One that may is led on as
/// if it were good: forged headers are taken out of it.
pub(super) fn without_one(
    wanted: &Oidc,
    key: &ObjectKey,
    request: &mut Incoming,
    decisions: &mut Vec<Decision>,
) -> Option<u16> {
    let mut say = |said: String, field: &str| decisions.push(made_by("auth", said, key, field));
    let (status, otherwise) = match refused_by(wanted, request) {
        Some(reason) => (401, format!("401, since {reason}")),
        None => (302, format!("it is sent to {}: 302", wanted.provider.authorization_endpoint)),
    };
    let has = request
        .values("cookie")
        .flat_map(|line| line.split(';'))
        .any(|cookie| cookie.trim_start().starts_with(COOKIES));
    if !has {
        say(format!("it has no session; {otherwise}"), FIELD);
        return Some(status);
    }
    let refreshed = if wanted.session.refresh { " or is refreshed" } else { "" };
    let issuer = &wanted.provider.issuer;
    say(
        format!(
            "it goes on if its session is whole and lasts{refreshed}, else {otherwise}; and if its \
             ID token is of {issuer} and for {}, else 401 or 403",
            wanted.client.id
        ),
        FIELD,
    );
    request.remove("authorization");
    if wanted.forward_access_token {
        let said = "the service gets the access token in authorization".to_owned();
        say(said, &format!("{FIELD}.forwardAccessToken"));
    }
    for (index, header) in wanted.claim_headers.iter().enumerate() {
        let said = format!("the service is told claim {} by {}", header.claim, header.name);
        say(said, &format!("{FIELD}.claimHeaders[{index}]"));
        request.remove(&header.name);
    }
    None
}

/// Says why a request is not redirected.
fn refused_by(wanted: &Oidc, request: &Incoming) -> Option<String> {
    let is = |name: &str, values: &[&str]| {
        request.header(name).is_some_and(|value| values.contains(&value.as_str()))
    };
    if request.method != "GET" {
        return Some("it is no GET".to_owned());
    }
    let below = |path: &&String| {
        let rest = request.path.strip_prefix(path.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(path) = wanted.api_paths.iter().find(below) {
        return Some(format!("it is below {path}"));
    }
    let by_script = is("sec-fetch-mode", &["cors", "no-cors", "same-origin", "websocket"])
        || is("x-requested-with", &["XMLHttpRequest"])
        || request.header("accept").is_some_and(|value| value.starts_with("application/json"));
    by_script.then(|| "a script or program sends it".to_owned())
}
