//! The request as a service sees it: after header edits, and rewrites of host and path.

use super::{
    RequestExplanation, RequestHeader, UpstreamRequest, expression,
    incoming::{Incoming, with_query},
    routes::Found,
};
use crate::route::{Affinity, PathMatch, Rewrite, SessionPersistence};

/// Makes the request that goes upstream. Headers are edited first, then the host is rewritten.
pub(super) fn upstream(
    found: &Found<'_>,
    rewrite: Option<&Rewrite>,
    mut request: Incoming,
    answer: &mut RequestExplanation,
) -> UpstreamRequest {
    let edits = &found.rule.request_headers;
    let mut say = |text: String, field: &str| {
        answer.say_at("request headers", text, found, &format!(".requestHeaders.{field}"));
    };
    for name in &edits.remove {
        say(format!("-{name}"), "remove");
        request.remove(name);
    }
    for header in &edits.set {
        say(format!("+{}: {} (in place of others)", header.name, header.value), "set");
        request.set(&header.name, &header.value);
    }
    for header in &edits.add {
        say(format!("+{}: {}", header.name, header.value), "add");
        request.add(&header.name, &header.value);
    }
    if let Some(rewrite) = rewrite {
        rewrite_host(found, rewrite, &mut request, answer);
        rewrite_path(found, rewrite, &mut request, answer);
    }
    tell_rest(found, answer);
    let target = with_query(&request.path, request.query.as_deref());
    let said = format!("{} {target}, host {}", request.method, request.authority);
    answer.decisions.push(super::decision("upstream", said));
    let mut headers: Vec<RequestHeader> = request.headers;
    // Values of one name stay in their order.
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    UpstreamRequest { method: request.method, host: request.authority, target, headers }
}

fn rewrite_host(
    found: &Found<'_>,
    rewrite: &Rewrite,
    request: &mut Incoming,
    answer: &mut RequestExplanation,
) {
    if let Some(host) = &rewrite.host {
        answer.say_at("rewrite", format!("host {host}"), found, ".rewrite.host");
        request.authority.clone_from(host);
    }
    if let Some(name) = &rewrite.host_from_header {
        let field = ".rewrite.hostFromHeader";
        match request.first(name).filter(|value| !value.is_empty()) {
            Some(host) => {
                answer.say_at("rewrite", format!("host {host}, from {name}"), found, field);
                request.authority = host;
            }
            None => {
                let said = format!("the host stays, since there is no {name}");
                answer.say_at("rewrite", said, found, field);
            }
        }
    }
}

fn rewrite_path(
    found: &Found<'_>,
    rewrite: &Rewrite,
    request: &mut Incoming,
    answer: &mut RequestExplanation,
) {
    if let Some(path) = &rewrite.path {
        request.path = replaced(&found.matched.path, &request.path, path);
        let said = format!("path {}", request.path);
        answer.say_at("rewrite", said, found, ".rewrite.path");
    }
    if let Some(regex) = &rewrite.path_regex {
        request.path = expression::replaced(&regex.pattern, &request.path, &regex.substitution);
        let bad = if request.path.starts_with('/') { "" } else { ", which a service will refuse" };
        let said = format!("path {}{bad}", request.path);
        answer.say_at("rewrite", said, found, ".rewrite.pathRegex");
    }
}

/// Tells of what else becomes of the request on its way, and changes nothing of what is asked.
fn tell_rest(found: &Found<'_>, answer: &mut RequestExplanation) {
    let rule = found.rule;
    if let Some(session) = &rule.filters.session_persistence {
        let by = match session {
            SessionPersistence::Cookie(cookie) => format!("the cookie {}", cookie.name),
            SessionPersistence::Header(name) => format!("the header {name}"),
        };
        let said = format!("a client whose {by} names an endpoint stays there");
        let said = said.replace("whose the", "whose");
        answer.say_at("session", said, found, ".sessionPersistence");
    }
    for (index, mirror) in rule.mirrors.iter().enumerate() {
        let service = &mirror.service;
        let said = format!(
            "{} % are copied to Service/{}/{}",
            mirror.percent, service.namespace, service.name
        );
        answer.say_at("mirror", said, found, &format!(".mirrors[{index}]"));
    }
    if let Some(timeout) = rule.timeouts.timeout {
        answer.say_at("timeout", format!("504 after {timeout:?}"), found, ".timeout");
    }
    if let Some(retries) = &rule.retries {
        let on: Vec<&str> = retries.on.iter().map(|on| on.as_str()).collect();
        let said = format!("up to {} more tries, on {}", retries.attempts, on.join(", "));
        answer.say_at("retries", said, found, ".retries");
    }
}

/// Says what requests that go to the same endpoint have in common.
pub(super) fn in_common(affinity: Option<&Affinity>) -> String {
    match affinity {
        Some(Affinity::Header(name)) => format!("of the header {name}"),
        Some(Affinity::Cookie(cookie)) => format!("of the cookie {}", cookie.name),
        Some(Affinity::Query(name)) => format!("of the parameter {name}"),
        None => "of the client's address".to_owned(),
    }
}

/// Replaces what a match found of a path: the prefix, by whole segments, or all of it. There is one
/// slash where the parts meet.
pub(super) fn replaced(matched: &PathMatch, path: &str, replacement: &str) -> String {
    let rest = match matched {
        PathMatch::Exact(_) | PathMatch::Regex(_) => "",
        PathMatch::Prefix(prefix) => {
            path.strip_prefix(prefix.trim_end_matches('/')).unwrap_or(path)
        }
    };
    if rest.is_empty() {
        return replacement.to_owned();
    }
    format!("{}{rest}", replacement.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_segments_are_replaced() {
        let check = |prefix: &str, path: &str, replacement: &str, expected: &str| {
            let matched = PathMatch::Prefix(prefix.to_owned());
            assert_eq!(replaced(&matched, path, replacement), expected, "{prefix} {path}");
        };
        check("/old", "/old", "/new", "/new");
        check("/old", "/old/x", "/new", "/new/x");
        check("/old", "/old/", "/new", "/new/");
        check("/old", "/old/x", "/", "/x");
        check("/old", "/old", "/", "/");
        check("/old", "/old/x", "/new/", "/new/x");
        check("/", "/", "/base", "/base/");
        check("/", "/x", "/base", "/base/x");
        assert_eq!(replaced(&PathMatch::Exact("/a".into()), "/a", "/b"), "/b");
    }
}
