//! Reads the spec of an `HTTPRoute` and its rules.

use std::collections::HashMap;

use super::{
    backend::{listeners, unique},
    cors::{cors, reached_by_preflights},
    forwarding::forwarding,
    http_action::http_action,
    http_match::{every_request, http_match},
    name::{host_pattern, reference},
    reader::{Fields, Node, Read},
    redirect::loops,
    scalar::boolean,
};
use crate::{
    limits::{MAX_HOSTS, MAX_MATCHES, MAX_RULES},
    route::{HttpAction, HttpMatch, HttpRoute, HttpRule, PathMatch, RuleFilters},
};

/// The matches of each rule, also of rules that have errors elsewhere.
pub(super) type MatchesOfRules = Vec<Vec<Read<HttpMatch>>>;

const DIFFER: &str = "remove it, or make it differ in path, method, headers or query";

pub(super) fn http_route(node: &Node<'_>, namespace: &str) -> Read<HttpRoute> {
    let fields = node.fields()?;
    let listeners =
        fields.required("listeners", "a list of {name: …}", |node| listeners(node, namespace));
    let hosts = fields.required("hosts", "a list of hosts, or [\"*\"] for every host", hosts);
    let rules = fields.required("rules", "a list of rules", |node| {
        let mut matches = MatchesOfRules::new();
        let rules = node
            .items(1, MAX_RULES, |node| rule(node, namespace, &mut matches))
            .map(|rules| (rules, distinct_matches(node, &matches, DIFFER)));
        let (rules, distinct) = rules?;
        let rules: Vec<HttpRule> = rules.into_iter().collect::<Read<_>>()?;
        if let Ok(hosts) = &hosts {
            no_loops(node, &rules, hosts)?;
        }
        distinct.map(|()| rules)
    });
    let known = fields.finish();
    let route = HttpRoute { listeners: listeners?, hosts: hosts?, rules: rules? };
    known.map(|()| route)
}

pub(super) fn hosts(node: &Node<'_>) -> Read<Vec<String>> {
    let items = node.items(1, MAX_HOSTS, host_pattern)?;
    unique(node, &items, |host| host)?;
    items.into_iter().collect()
}

fn rule(node: &Node<'_>, namespace: &str, all: &mut MatchesOfRules) -> Read<HttpRule> {
    all.push(Vec::new());
    let fields = node.fields()?;
    let matches = matches(&fields, all);
    let action = http_action(&fields, namespace);
    let forwarding = forwarding(&fields, namespace);
    let cors = fields.optional("cors", cors);
    let auth = fields.optional("auth", |node| reference(node, namespace));
    let compression = fields.optional("compression", boolean);
    let rewritable = match (&matches, &action) {
        (Ok(matches), Ok(action)) => fits_matches(&fields, matches, action),
        _ => Ok(()),
    };
    let known = fields.finish();
    let (matches, action, forwarding) = (matches?, action?, forwarding?);
    let rule = HttpRule {
        matches,
        action,
        request_headers: forwarding.request_headers,
        response_headers: forwarding.response_headers,
        timeouts: forwarding.timeouts,
        retries: forwarding.retries,
        filters: RuleFilters {
            fault: forwarding.fault,
            cors: cors?,
            auth: auth?,
            session_persistence: forwarding.session_persistence,
            compression: compression?,
            grpc_web: false,
        },
        mirrors: forwarding.mirrors,
        affinity: forwarding.affinity,
    };
    rewritable.and(known).map(|()| rule)
}

fn matches(fields: &Fields<'_>, all: &mut MatchesOfRules) -> Read<Vec<HttpMatch>> {
    let items = fields.or("matches", Vec::new(), |node| node.items(0, MAX_MATCHES, http_match))?;
    let items = if items.is_empty() { vec![Ok(every_request())] } else { items };
    if let Some(last) = all.last_mut() {
        last.clone_from(&items);
    }
    items.into_iter().collect()
}

/// Reports matches that stand in the route before.
pub(super) fn distinct_matches(node: &Node<'_>, all: &MatchesOfRules, remedy: &str) -> Read<()> {
    let mut seen = HashMap::new();
    let mut outcome = Ok(());
    for (rule, matches) in all.iter().enumerate() {
        for (index, condition) in matches.iter().enumerate() {
            let Ok(condition) = condition else { continue };
            let Some((other_rule, other)) = seen.insert(condition.identity(), (rule, index)) else {
                continue;
            };
            let message = format!("matches what rules[{other_rule}].matches[{other}] matches");
            outcome = Err(node.at_item(rule, |node| {
                if node.value().get("matches").is_none() {
                    return node.error(message, remedy);
                }
                node.at_field("matches", |node| {
                    node.at_item(index, |node| node.error(message, remedy)) //
                })
            }));
        }
    }
    outcome
}

/// Checks what a rule says against its matches.
fn fits_matches(fields: &Fields<'_>, matches: &[HttpMatch], action: &HttpAction) -> Read<()> {
    let path = match action {
        HttpAction::Forward { rewrite: Some(rewrite), .. } => {
            rewritable(fields, matches, rewrite.path.as_deref())
        }
        HttpAction::Redirect(redirect) => {
            replaceable(fields, matches, redirect.replace_prefix.as_deref())
        }
        _ => Ok(()),
    };
    path.and(reached_by_preflights(fields, matches))
}

/// A rewritten path replaces a prefix or an exact path; of a regex it is not known which part.
fn rewritable(fields: &Fields<'_>, matches: &[HttpMatch], path: Option<&str>) -> Read<()> {
    let Some(path) = path else { return Ok(()) };
    let has = |wanted: fn(&PathMatch) -> bool| matches.iter().any(|m| wanted(&m.path));
    if has(|path| matches!(path, PathMatch::Regex(_))) {
        let message = "rewrites the path of a regex match";
        let remedy = "use prefix or exact matches in this rule, or pathRegex in place of path";
        return Err(fields.error("rewrite", message, remedy));
    }
    if has(|path| matches!(path, PathMatch::Prefix(_))) {
        ends_without_slash(fields, "rewrite", path)?;
    }
    Ok(())
}

/// Only of a prefix match it is known which part of the path a redirect replaces.
fn replaceable(fields: &Fields<'_>, matches: &[HttpMatch], path: Option<&str>) -> Read<()> {
    let Some(path) = path else { return Ok(()) };
    if matches.iter().any(|m| !matches!(m.path, PathMatch::Prefix(_))) {
        let message = "replaces the prefix of a match that has none";
        let remedy = "use prefix matches in this rule, or path in place of replacePrefix";
        return Err(fields.error("redirect", message, remedy));
    }
    ends_without_slash(fields, "redirect", path)
}

fn ends_without_slash(fields: &Fields<'_>, name: &str, path: &str) -> Read<()> {
    if path.len() > 1 && path.ends_with('/') {
        let message = "replaces a prefix by a path that ends with /";
        let remedy = format!("write {}", path.trim_end_matches('/'));
        return Err(fields.error(name, message, remedy));
    }
    Ok(())
}

fn no_loops(node: &Node<'_>, rules: &[HttpRule], hosts: &[String]) -> Read<()> {
    let mut outcome = Ok(());
    for (index, rule) in rules.iter().enumerate() {
        let HttpAction::Redirect(redirect) = &rule.action else { continue };
        // With a scheme or port it depends on the listener whether it leads back here.
        if redirect.scheme.is_none() && redirect.port.is_none() && loops(rules, index, hosts) {
            outcome = Err(node.at_item(index, |node| {
                node.at_field("redirect", |node| {
                    let remedy = "redirect to a path or host that another rule answers";
                    node.error("leads to a request that this rule redirects again", remedy)
                })
            }));
        }
    }
    outcome
}
