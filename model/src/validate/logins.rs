//! The paths of logins: no two policies have the same one on a host of a listener.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::fault;
use crate::{
    auth_policy::Oidc,
    error::ConfigError,
    key::{Kind, ObjectKey},
    route::Reference,
    snapshot::Snapshot,
};

/// Whose a path is, and of what.
type Owned<'a> = BTreeMap<(&'a Reference, &'a str, &'a str), (&'a Reference, &'static str)>;

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    let concerned =
        |key: &ObjectKey| matches!(key.kind, Kind::AuthPolicy | Kind::HttpRoute | Kind::GrpcRoute);
    if !changed.iter().any(concerned) || several(snapshot).is_none() {
        return;
    }
    let mut owned = Owned::new();
    let mut reported = BTreeSet::new();
    for (route_key, route) in snapshot.http_routes() {
        for (index, rule) in route.rules.iter().enumerate() {
            let Some(policy) = &rule.filters.auth else { continue };
            let Some(wanted) = login(snapshot, policy) else { continue };
            for (listener, host) in
                route.listeners.iter().flat_map(|to| route.hosts.iter().map(move |host| (to, host)))
            {
                for (field, path) in paths(wanted) {
                    let place = (listener, host.as_str(), path);
                    let (other, of) = *owned.entry(place).or_insert((policy, field));
                    let ours = changed.contains(route_key)
                        || changed.contains(&policy_key(policy))
                        || changed.contains(&policy_key(other));
                    if other == policy || !ours || !reported.insert((policy, other)) {
                        continue;
                    }
                    let message = format!(
                        "has for {host} the {field} {path}, which is {of} of {}",
                        policy_key(other)
                    );
                    let remedy = format!("give one of the policies another {field}");
                    let path = format!("spec.rules[{index}].auth.name");
                    errors.push(fault(route_key, path, policy.name.as_str(), message, remedy));
                }
            }
        }
    }
}

/// Returns something when more than one policy demands a session.
fn several(snapshot: &Snapshot) -> Option<()> {
    let policies = snapshot.of_kind(Kind::AuthPolicy);
    let mut logins = policies.filter(|(key, _)| {
        let policy = snapshot.auth_policy(&key.namespace, &key.name);
        policy.is_some_and(|policy| policy.oidc.is_some())
    });
    logins.nth(1).map(|_| ())
}

fn login<'a>(snapshot: &'a Snapshot, policy: &Reference) -> Option<&'a Oidc> {
    snapshot.auth_policy(&policy.namespace, &policy.name)?.oidc.as_deref()
}

fn paths(wanted: &Oidc) -> [(&'static str, &str); 2] {
    [("callbackPath", wanted.callback_path.as_str()), ("logoutPath", wanted.logout_path.as_str())]
}

fn policy_key(policy: &Reference) -> ObjectKey {
    ObjectKey::new(Kind::AuthPolicy, &policy.namespace, &policy.name)
}
