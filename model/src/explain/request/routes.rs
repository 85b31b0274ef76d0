//! Which match of which route takes a request.

use super::{
    RequestExplanation, decision, expression::takes_all, incoming::Incoming, made_by,
    target::parameter, winner,
};
use crate::{
    explain::Decision,
    key::ObjectKey,
    route::{HttpMatch, HttpRoute, HttpRule, NamedMatch, PathMatch, ValueMatch},
    snapshot::Snapshot,
};

/// Matches that are told of beside the one that wins, or where none does.
const TOLD_MAX: usize = 16;

/// A match of a rule of a route.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) route: &'a ObjectKey,
    pub(super) rule: &'a HttpRule,
    pub(super) matched: &'a HttpMatch,
    pub(super) rule_index: usize,
    pub(super) match_index: usize,
}

impl Found<'_> {
    /// The name by which access logs call it.
    pub(super) fn name(&self) -> String {
        let Self { route, rule_index, match_index, .. } = self;
        format!("{}/{}#{rule_index}.{match_index}", route.namespace, route.name)
    }

    /// A decision of a field of the rule; `field` begins with a dot, or is empty.
    pub(super) fn decision(&self, step: &str, said: String, field: &str) -> Decision {
        made_by(step, said, self.route, &format!("spec.rules[{}]{field}", self.rule_index))
    }

    fn of_match(&self, step: &str, said: String) -> Decision {
        self.decision(step, said, &format!(".matches[{}]", self.match_index))
    }

    /// Notes what the rule does to the answer's headers.
    pub(super) fn edit_response(&self, answer: &mut RequestExplanation) {
        let edits = &self.rule.response_headers;
        let set =
            edits.set.iter().map(|header| ("set", format!("+{}: {}", header.name, header.value)));
        let add =
            edits.add.iter().map(|header| ("add", format!("+{}: {}", header.name, header.value)));
        let remove = edits.remove.iter().map(|name| ("remove", format!("-{name}")));
        for (field, text) in set.chain(add).chain(remove) {
            let field = format!(".responseHeaders.{field}");
            answer.say_at("response headers", text.clone(), self, &field);
            answer.response_headers.push(text);
        }
    }
}

/// Finds the match that takes the request.
pub(super) fn find<'a>(
    config: &'a Snapshot,
    listener: &ObjectKey,
    request: &Incoming,
    decisions: &mut Vec<Decision>,
) -> Option<Found<'a>> {
    let attached: Vec<(&ObjectKey, &HttpRoute)> = config
        .http_routes()
        .filter(|(_, route)| {
            route.listeners.iter().any(|to| {
                to.namespace == listener.namespace && to.name == listener.name //
            })
        })
        .collect();
    let hosts = attached.iter().flat_map(|(_, route)| &route.hosts);
    let Some(host) = serving(hosts.map(String::as_str), request.host()) else {
        let said = format!("no route of {listener} serves the host {}", request.host());
        decisions.push(decision("host", said));
        return None;
    };
    let routes: Vec<(&ObjectKey, &HttpRoute)> = attached
        .into_iter()
        .filter(|(_, route)| route.hosts.iter().any(|own| own == host))
        .collect();
    let names: Vec<String> = routes.iter().map(|(key, _)| key.to_string()).collect();
    let how = match host {
        "*" => "takes every host that no other one takes",
        _ if host.starts_with("*.") => "is the longest wildcard that takes it",
        _ => "is served by name, so no wildcard is asked",
    };
    let said = format!("{host} {how}: {}", names.join(", "));
    decisions.push(match routes.as_slice() {
        [(only, _)] => made_by("host", said, only, "spec.hosts"),
        _ => decision("host", said),
    });
    let mut matching = Vec::new();
    let mut differing = Vec::new();
    for (key, route) in routes {
        for (rule_index, rule) in route.rules.iter().enumerate() {
            for (match_index, matched) in rule.matches.iter().enumerate() {
                let found = Found { route: key, rule, matched, rule_index, match_index };
                match mismatch(matched, request) {
                    None => matching.push(found),
                    Some(reason) => differing.push((found, reason)),
                }
            }
        }
    }
    let Some((won, others)) = winner::of(matching) else {
        let more = differing.len().saturating_sub(TOLD_MAX);
        for (found, reason) in differing.into_iter().take(TOLD_MAX) {
            decisions.push(found.of_match("no match", reason));
        }
        if more > 0 {
            decisions.push(decision("no match", format!("nor do {more} more")));
        }
        let said = format!("no rule of {host} matches; other hosts are not asked");
        decisions.push(decision("route", said));
        return None;
    };
    let alone = if others.is_empty() { ", the only one that matches" } else { "" };
    let said = format!("{}{alone}", described(won.matched));
    decisions.push(won.of_match("route", said));
    let more = others.len().saturating_sub(TOLD_MAX);
    for (other, reason) in others.into_iter().take(TOLD_MAX) {
        let said = format!("{}; but {reason}", described(other.matched));
        decisions.push(other.of_match("also matched", said));
    }
    if more > 0 {
        decisions.push(decision("also matched", format!("{more} more")));
    }
    Some(won)
}

/// Returns which of the hosts that routes serve takes a host: itself, or the longest wildcard.
pub(super) fn serving<'a>(
    served: impl Iterator<Item = &'a str> + Clone,
    host: &str,
) -> Option<&'a str> {
    if let Some(exact) = served.clone().find(|one| !one.starts_with('*') && *one == host) {
        return Some(exact);
    }
    let below = |one: &&str| match one.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => false,
    };
    served.filter(below).max_by_key(|one| one.len())
}

/// Says what a match does not find in a request; `None` when it matches.
fn mismatch(wanted: &HttpMatch, request: &Incoming) -> Option<String> {
    let path = &request.path;
    let is_path = match &wanted.path {
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(prefix) => is_below(path, prefix),
        PathMatch::Regex(regex) => takes_all(regex, path),
    };
    if !is_path {
        return Some(format!("{path} is not {}", described_path(&wanted.path)));
    }
    if let Some(method) = wanted.method.as_ref().filter(|method| **method != request.method) {
        return Some(format!("the method is not {method}"));
    }
    let header = wanted.headers.iter().find(|it| !holds(it, request.values(&it.name)));
    if let Some(header) = header {
        return Some(format!(
            "the header {} is not {}",
            header.name,
            described_value(&header.value)
        ));
    }
    let query = request.query.as_deref().unwrap_or_default();
    let unmet = wanted.query.iter().find(|it| !holds(it, parameter(query, &it.name).into_iter()));
    unmet.map(|it| format!("the parameter {} is not {}", it.name, described_value(&it.value)))
}

/// Tells whether a prefix takes a path: whole segments of it.
fn is_below(path: &str, prefix: &str) -> bool {
    prefix == "/"
        || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Tells whether a condition holds for one of the values.
fn holds<'a>(condition: &NamedMatch, mut values: impl Iterator<Item = &'a str>) -> bool {
    match &condition.value {
        ValueMatch::Present(present) => values.next().is_some() == *present,
        ValueMatch::Exact(exact) => values.any(|value| value == exact),
        ValueMatch::Regex(regex) => values.any(|value| takes_all(regex, value)),
    }
}

fn described_path(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => format!("the path {path}"),
        PathMatch::Prefix(prefix) => format!("below the prefix {prefix}"),
        PathMatch::Regex(regex) => format!("all of the expression {regex}"),
    }
}

fn described_value(value: &ValueMatch) -> String {
    match value {
        ValueMatch::Present(true) => "there".to_owned(),
        ValueMatch::Present(false) => "absent".to_owned(),
        ValueMatch::Exact(value) => format!("{value:?}"),
        ValueMatch::Regex(regex) => format!("all of the expression {regex}"),
    }
}

/// Says what a match wants.
fn described(wanted: &HttpMatch) -> String {
    let mut said = match &wanted.path {
        PathMatch::Exact(path) => format!("path {path}"),
        PathMatch::Prefix(prefix) => format!("prefix {prefix}"),
        PathMatch::Regex(regex) => format!("expression {regex}"),
    };
    if let Some(method) = &wanted.method {
        said = format!("{said}, method {method}");
    }
    for (what, conditions) in [("header", &wanted.headers), ("parameter", &wanted.query)] {
        for NamedMatch { name, value } in conditions {
            said = format!("{said}, {what} {name} {}", described_value(value));
        }
    }
    said
}
