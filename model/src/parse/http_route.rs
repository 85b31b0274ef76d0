//! Reads the spec of an `HTTPRoute` and its rules.

use std::collections::HashMap;

use super::{
    backend::{listeners, unique},
    fault::fault,
    header::header_edits,
    http_action::http_action,
    http_match::{every_request, http_match},
    name::host_pattern,
    reader::{Fields, Node, Read},
    redirect::loops,
    retries::retries,
    scalar::duration,
};
use crate::{
    limits::{MAX_HOSTS, MAX_MATCHES, MAX_RULES, MAX_TIMEOUT, MIN_TIMEOUT},
    object::format_duration,
    route::{HeaderEdits, HttpAction, HttpMatch, HttpRoute, HttpRule, PathMatch},
};

/// The matches of each rule, also of rules that have errors elsewhere.
type MatchesOfRules = Vec<Vec<Read<HttpMatch>>>;

pub(super) fn http_route(node: &Node<'_>, namespace: &str) -> Read<HttpRoute> {
    let fields = node.fields()?;
    let listeners =
        fields.required("listeners", "a list of {name: …}", |node| listeners(node, namespace));
    let hosts = fields.required("hosts", "a list of hosts, or [\"*\"] for every host", hosts);
    let rules = fields.required("rules", "a list of rules", |node| {
        let mut matches = MatchesOfRules::new();
        let rules = node
            .items(1, MAX_RULES, |node| rule(node, namespace, &mut matches))
            .map(|rules| (rules, distinct_matches(node, &matches)));
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

fn hosts(node: &Node<'_>) -> Read<Vec<String>> {
    let items = node.items(1, MAX_HOSTS, host_pattern)?;
    unique(node, &items, |host| host)?;
    items.into_iter().collect()
}

fn rule(node: &Node<'_>, namespace: &str, all: &mut MatchesOfRules) -> Read<HttpRule> {
    all.push(Vec::new());
    let fields = node.fields()?;
    let matches = matches(&fields, all);
    let action = http_action(&fields, namespace);
    let request_headers = fields.or("requestHeaders", HeaderEdits::default(), header_edits);
    let response_headers = fields.or("responseHeaders", HeaderEdits::default(), header_edits);
    let timeout = fields.optional("timeout", |node| duration(node, MIN_TIMEOUT, MAX_TIMEOUT));
    let retries = fields.optional("retries", |node| {
        let retries = retries(node)?;
        match (timeout, retries.per_try_timeout) {
            (Ok(Some(timeout)), Some(each)) if each > timeout => {
                let message = format!(
                    "has a perTryTimeout of {}, longer than the timeout of {}",
                    format_duration(each),
                    format_duration(timeout)
                );
                Err(node.error(message, "write at most the timeout of the rule"))
            }
            _ => Ok(retries),
        }
    });
    let fault = fields.optional("fault", fault);
    let rewritable = match (&matches, &action) {
        (Ok(matches), Ok(action)) => rewritable(&fields, matches, action),
        _ => Ok(()),
    };
    let known = fields.finish();
    let rule = HttpRule {
        matches: matches?,
        action: action?,
        request_headers: request_headers?,
        response_headers: response_headers?,
        timeout: timeout?,
        retries: retries?,
        fault: fault?,
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
fn distinct_matches(node: &Node<'_>, all: &MatchesOfRules) -> Read<()> {
    let mut seen = HashMap::new();
    let mut outcome = Ok(());
    for (rule, matches) in all.iter().enumerate() {
        for (index, condition) in matches.iter().enumerate() {
            let Ok(condition) = condition else { continue };
            let Some((other_rule, other)) = seen.insert(condition.identity(), (rule, index)) else {
                continue;
            };
            let message = format!("matches what rules[{other_rule}].matches[{other}] matches");
            let remedy = "remove it, or make it differ in path, method, headers or query";
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

/// A rewritten path replaces a prefix or an exact path; of a regex it is not known which part.
fn rewritable(fields: &Fields<'_>, matches: &[HttpMatch], action: &HttpAction) -> Read<()> {
    let HttpAction::Forward { rewrite: Some(rewrite), .. } = action else { return Ok(()) };
    let Some(path) = &rewrite.path else { return Ok(()) };
    let has = |wanted: fn(&PathMatch) -> bool| matches.iter().any(|m| wanted(&m.path));
    if has(|path| matches!(path, PathMatch::Regex(_))) {
        let message = "rewrites the path of a regex match";
        let remedy = "use prefix or exact matches in this rule, or remove path";
        return Err(fields.error("rewrite", message, remedy));
    }
    if path.len() > 1 && path.ends_with('/') && has(|path| matches!(path, PathMatch::Prefix(_))) {
        let message = "replaces a prefix by a path that ends with /";
        let remedy = format!("write {}", path.trim_end_matches('/'));
        return Err(fields.error("rewrite", message, remedy));
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
