//! What a request meets before it is forwarded, in the order in which it does: sessions, tokens, CORS, limits, keys,
//! a password, the consent of a service, faults, modules.

use super::{
    expression::takes_all, grpc::Telling, incoming::Incoming, keys, limits, made_by, modules,
    routes::Found, sessions, tokens,
};
use crate::{
    auth_policy::{AuthPolicy, Basic, External, ExternalProtocol, OnFailure},
    explain::Decision,
    key::{Kind, ObjectKey},
    route::{Cors, Fault, FaultAnswer, HttpAction},
    snapshot::Snapshot,
};

/// Whether the request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// It does, unless something that the configuration does not know prevents it.
    Passes,
    /// It surely is answered with a status; the rule edits
    /// the answer's headers, or not.
    Answered { status: u16, telling: Telling, is_edited: bool },
}

/// Leads a request through the policies of its rule.
pub(super) fn pass(
    config: &Snapshot,
    listener: &ObjectKey,
    found: &Found<'_>,
    request: &mut Incoming,
    decisions: &mut Vec<Decision>,
) -> Passage {
    let filters = &found.rule.filters;
    let mut demanded = None;
    if let Some(reference) = &filters.auth {
        // Before all else: without its policy, nothing of a rule is in force.
        let Some(policy) = config.auth_policy(&reference.namespace, &reference.name) else {
            let said = "the policy is not there, so nobody gets by".to_owned();
            decisions.push(found.decision("auth", said, ".auth"));
            return Passage::Answered { status: 500, telling: Telling::ByStatus, is_edited: true };
        };
        let namespace = reference.namespace.as_str();
        let key = ObjectKey::new(Kind::AuthPolicy, namespace, reference.name.as_str());
        demanded = Some((key, policy));
    }
    let refused = |status| Passage::Answered {
        status,
        telling: Telling::ByStatus,
        is_edited: forwards(found),
    };
    let preflight_for_cors = filters.cors.is_some() && is_preflight(request);
    if let Some((key, AuthPolicy { oidc: Some(oidc), .. })) = &demanded
        && !preflight_for_cors
        && let Some(status) = sessions::without_one(oidc, key, request, decisions)
    {
        return refused(status);
    }
    if let Some((key, AuthPolicy { jwt: Some(jwt), .. })) = &demanded
        && !is_preflight(request)
        && !tokens::shows_one(jwt, key, request, decisions)
    {
        return refused(401);
    }
    if let Some(policy) = &filters.cors
        && is_preflight_answered(policy, found, request, decisions)
    {
        return Passage::Answered { status: 200, telling: Telling::Plainly, is_edited: false };
    }
    if let Some((key, policy)) = &demanded
        && policy.demands_token()
        && is_preflight(request)
    {
        let said = "a preflight, whose token nobody looks at, and the rule has no cors: 403";
        let field = if policy.oidc.is_some() { "spec.oidc" } else { "spec.jwt" };
        decisions.push(made_by("auth", said.to_owned(), key, field));
        return refused(403);
    }
    limits::tell(config, listener, found, request, decisions);
    if let Some((key, AuthPolicy { api_keys, basic, external, .. })) = &demanded {
        if let Some(keys) = api_keys
            && !keys::shows_one(keys, key, request, decisions)
        {
            return refused(401);
        }
        if let Some(basic) = basic
            && !shows_password(basic, key, request, decisions)
        {
            return refused(401);
        }
        if let Some(external) = external {
            // What it says itself, clients do not.
            let said = external.upstream_headers.iter();
            said.filter(|name| *name != "authorization").for_each(|name| request.remove(name));
            decisions.push(consent(external, key));
        }
    }
    let wanted = filters.fault.as_ref();
    let passage = wanted.map_or(Passage::Passes, |wanted| fault(wanted, found, decisions));
    if matches!(passage, Passage::Passes) {
        modules::tell(config, listener, found, decisions);
    }
    passage
}

/// Tells whether a rule has backends. Redirects and direct responses are edited where they are made,
/// so what stands in for one is not.
fn forwards(found: &Found<'_>) -> bool {
    matches!(found.rule.action, HttpAction::Forward { .. })
}

/// Tells whether a script of another origin asks what it may send (Fetch standard, CORS-preflight
/// request).
fn is_preflight(request: &Incoming) -> bool {
    let has = |name| request.header(name).is_some_and(|value| !value.is_empty());
    request.method == "OPTIONS" && has("origin") && has("access-control-request-method")
}

/// Tells whether it is a preflight, which is answered here.
fn is_preflight_answered(
    policy: &Cors,
    found: &Found<'_>,
    request: &Incoming,
    decisions: &mut Vec<Decision>,
) -> bool {
    let mut say = |said: String| decisions.push(found.decision("cors", said, ".cors"));
    let Some(origin) = request.header("origin").filter(|origin| !origin.is_empty()) else {
        say("no origin: no request of a script of another one".to_owned());
        return false;
    };
    let allowed = policy.allow_origins.iter().any(|one| is_origin(one, &origin))
        || policy.allow_origin_regexes.iter().any(|regex| takes_all(regex, &origin));
    let verb = if allowed { "may" } else { "may not" };
    if is_preflight(request) {
        say(format!("a preflight, answered here: scripts of {origin} {verb} go on"));
        return true;
    }
    say(format!("scripts of {origin} {verb} read the answer"));
    false
}

/// Tells whether an origin is one that a policy names; a star stands for one label or more.
fn is_origin(named: &str, origin: &str) -> bool {
    if named == "*" {
        return true;
    }
    let Some((scheme, host)) = named.split_once("*.") else { return named == origin };
    let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
    origin
        .strip_prefix(scheme)
        .and_then(|rest| rest.strip_suffix(host)?.strip_suffix('.'))
        .is_some_and(|labels| !labels.is_empty() && labels.bytes().all(label))
}

/// Tells whether a request shows a password, right or not.
fn shows_password(
    basic: &Basic,
    key: &ObjectKey,
    request: &Incoming,
    decisions: &mut Vec<Decision>,
) -> bool {
    let field = "spec.basic";
    let shown = request.header("authorization");
    let is_basic = shown.and_then(|text| Some(text.get(..6)?.eq_ignore_ascii_case("basic ")));
    if is_basic != Some(true) {
        let said = "it shows no password (authorization: Basic …)".to_owned();
        decisions.push(made_by("auth", said, key, field));
        return false;
    }
    let told = basic.user_header.as_ref();
    let told = told.map(|name| format!("; the service is told by {name}")).unwrap_or_default();
    let said = format!(
        "it goes on if {} has the user with this password, else 401{told}",
        basic.users_file
    );
    decisions.push(made_by("auth", said, key, field));
    true
}

fn consent(external: &External, key: &ObjectKey) -> Decision {
    let service = &external.service;
    let otherwise = match external.on_failure {
        OnFailure::Deny => "while it does not answer, 403",
        OnFailure::Allow => "while it does not answer, it goes on unchecked",
    };
    let consents = match external.protocol {
        ExternalProtocol::Http => "answers 200",
        ExternalProtocol::Grpc => "says OK over gRPC",
    };
    let said = format!(
        "it goes on if Service/{}/{} {consents}, else that answer is the client's; {otherwise}",
        service.namespace, service.name
    );
    made_by("auth", said, key, "spec.external")
}

fn fault(wanted: &Fault, found: &Found<'_>, decisions: &mut Vec<Decision>) -> Passage {
    if let Some(delay) = wanted.delay {
        let said = format!("{} % wait {:?}", delay.percent, delay.duration);
        decisions.push(found.decision("fault", said, ".fault.delay"));
    }
    let Some(abort) = wanted.abort else { return Passage::Passes };
    let (status, telling) = match abort.answer {
        FaultAnswer::Status(status) => (status, Telling::ByStatus),
        FaultAnswer::GrpcStatus(status) => (http_status(status), Telling::Exactly(status)),
    };
    let said = format!("{} % are answered {status} and reach no service", abort.percent);
    decisions.push(found.decision("fault", said, ".fault.abort"));
    if abort.percent < 100 {
        return Passage::Passes;
    }
    Passage::Answered { status, telling, is_edited: forwards(found) }
}

/// The HTTP status that stands for a gRPC status (google/rpc/code.proto).
fn http_status(grpc: u16) -> u16 {
    match grpc {
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}
