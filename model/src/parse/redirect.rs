//! Finds redirects that lead back to the rule they come from.

use super::pattern::whole_match;
use crate::route::{HttpAction, HttpMatch, HttpRule, PathMatch};

/// Tells whether the redirect of a rule surely leads back to the rule, on the same listener.
///
/// Only certain loops count: the rule matches the new request without conditions on headers or
/// query, and no other rule of the route might take it. Scheme and port are the caller's to judge.
pub(crate) fn loops(rules: &[HttpRule], index: usize, hosts: &[String]) -> bool {
    let HttpAction::Redirect(redirect) = &rules[index].action else { return false };
    if redirect.host.as_ref().is_some_and(|host| !hosts.contains(host)) {
        return false;
    }
    let Some(target) = redirect.path.as_ref().or(redirect.replace_prefix.as_ref()) else {
        return rules[index].matches.iter().any(unconditional);
    };
    let path = target.split('?').next().unwrap_or(target);
    let mut own = rules[index].matches.iter().filter(|m| unconditional(m) && covers(m, path));
    let elsewhere = rules
        .iter()
        .enumerate()
        .any(|(other, rule)| other != index && rule.matches.iter().any(|m| covers(m, path)));
    own.any(|m| !elsewhere || matches!(m.path, PathMatch::Exact(_)))
}

fn unconditional(condition: &HttpMatch) -> bool {
    condition.headers.is_empty()
        && condition.query.is_empty()
        && condition.method.as_deref().is_none_or(|method| method == "GET")
}

fn covers(condition: &HttpMatch, path: &str) -> bool {
    match &condition.path {
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(prefix) if prefix == "/" => true,
        PathMatch::Prefix(prefix) => path
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        PathMatch::Regex(regex) => whole_match(regex).is_ok_and(|regex| regex.is_match(path)),
    }
}
