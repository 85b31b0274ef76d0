//! No match stands twice for a host of a listener; no redirect leads back to itself.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::fault;
use crate::{
    error::ConfigError,
    key::{Kind, ObjectKey},
    listener::{Listener, Protocol},
    match_identity::MatchIdentity,
    parse::redirect_loops,
    route::{HttpAction, HttpRoute, Redirect, Reference},
    snapshot::Snapshot,
};

/// Where a match stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    route: &'a ObjectKey,
    rule: usize,
    index: usize,
}

/// The matches of changed routes, by listener and host.
type Claimed<'a> = BTreeMap<(&'a str, &'a Reference), BTreeMap<MatchIdentity<'a>, Place<'a>>>;

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    let mut claimed = Claimed::new();
    let mut reported = BTreeSet::new();
    let mut report = |new: Place<'_>, old: Place<'_>, host: &str| {
        if reported.insert((new.route.clone(), new.rule, new.index, old.route.clone())) {
            errors.push(duplicate(new, old, host));
        }
    };
    let changed_routes = || changed.iter().filter_map(|key| Some((key, snapshot.http_route(key)?)));
    for (key, route) in changed_routes() {
        for (listener, host) in attachments(route) {
            let matches = claimed.entry((host, listener)).or_default();
            for (identity, place) in places(key, route) {
                if let Some(other) = matches.get(&identity) {
                    report(place, *other, host);
                } else {
                    matches.insert(identity, place);
                }
            }
        }
    }
    // In the order in which routes name their hosts, so that errors name the first.
    for (listener, host) in changed_routes().flat_map(|(_, route)| attachments(route)) {
        let Some(matches) = claimed.remove(&(host, listener)) else { continue };
        let others = snapshot.routes_of_host(host).filter(|(key, _)| !changed.contains(*key));
        for (key, route) in others.filter(|(_, route)| route.listeners.contains(listener)) {
            for (identity, place) in places(key, route) {
                if let Some(new) = matches.get(&identity) {
                    report(*new, place, host);
                }
            }
        }
    }
    for (key, route) in changed_routes() {
        check_redirects(snapshot, key, route, errors);
    }
}

fn attachments(route: &HttpRoute) -> impl Iterator<Item = (&Reference, &str)> {
    let hosts = || route.hosts.iter().map(String::as_str);
    route.listeners.iter().flat_map(move |listener| hosts().map(move |host| (listener, host)))
}

fn places<'a>(
    key: &'a ObjectKey,
    route: &'a HttpRoute,
) -> impl Iterator<Item = (MatchIdentity<'a>, Place<'a>)> {
    route.rules.iter().enumerate().flat_map(move |(rule, content)| {
        let matches = content.matches.iter().enumerate();
        matches.map(move |(index, condition)| {
            (condition.identity(), Place { route: key, rule, index }) //
        })
    })
}

fn duplicate(new: Place<'_>, old: Place<'_>, host: &str) -> ConfigError {
    let path = format!("spec.rules[{}].matches[{}]", new.rule, new.index);
    let message = format!(
        "matches for {host} what {} matches in rules[{}].matches[{}]",
        old.route, old.rule, old.index
    );
    let remedy = match new.route.kind {
        Kind::GrpcRoute => "remove one of them, or make it differ in method or headers",
        _ => "remove one of them, or make it differ in path, method, headers or query",
    };
    fault(new.route, path, serde_json::Value::Null, message, remedy)
}

/// Finds redirects to a scheme and port that are those of a listener of the route.
fn check_redirects(
    snapshot: &Snapshot,
    key: &ObjectKey,
    route: &HttpRoute,
    errors: &mut Vec<ConfigError>,
) {
    for (index, rule) in route.rules.iter().enumerate() {
        let HttpAction::Redirect(redirect) = &rule.action else { continue };
        if redirect.scheme.is_none() && redirect.port.is_none() {
            continue;
        }
        let back = route.listeners.iter().find(|reference| {
            snapshot
                .listener(&reference.namespace, &reference.name)
                .is_some_and(|listener| leads_to(redirect, listener))
        });
        if let Some(listener) = back
            && redirect_loops(&route.rules, index, &route.hosts)
        {
            let path = format!("spec.rules[{index}].redirect");
            let message = format!(
                "leads on listener {} to a request that this rule redirects again",
                listener.name
            );
            let remedy = "attach the route to other listeners, or redirect to another path or host";
            errors.push(fault(key, path, serde_json::Value::Null, message, remedy));
        }
    }
}

fn leads_to(redirect: &Redirect, listener: &Listener) -> bool {
    let own = if listener.protocol == Protocol::Https { "https" } else { "http" };
    redirect.scheme.as_deref().is_none_or(|scheme| scheme == own)
        && redirect.port.is_none_or(|port| port == listener.port)
}
