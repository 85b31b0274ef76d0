//! A host of a TLS listener has one route.

use std::collections::{BTreeSet, HashMap};

use super::fault::fault;
use crate::{
    error::ConfigError,
    key::{Kind, ObjectKey},
    route::Reference,
    snapshot::Snapshot,
};

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    if !changed.iter().any(|key| key.kind == Kind::TlsRoute && snapshot.get(key).is_some()) {
        return;
    }
    let mut taken: HashMap<(&Reference, &str), (&ObjectKey, usize)> = HashMap::new();
    for (key, route) in snapshot.tls_routes() {
        for listener in &route.listeners {
            for (index, host) in route.hosts.iter().enumerate() {
                let Some(&(other, other_index)) = taken.get(&(listener, host.as_str())) else {
                    taken.insert((listener, host), (key, index));
                    continue;
                };
                if changed.contains(key) {
                    errors.push(second_route((key, index), host, listener, other));
                } else if changed.contains(other) {
                    errors.push(second_route((other, other_index), host, listener, key));
                }
            }
        }
    }
}

fn second_route(
    (key, index): (&ObjectKey, usize),
    host: &str,
    listener: &Reference,
    other: &ObjectKey,
) -> ConfigError {
    let path = format!("spec.hosts[{index}]");
    let message =
        format!("is what {other} takes on Listener/{}/{}", listener.namespace, listener.name);
    let remedy = "write another host, or give one route several backends";
    fault(key, path, host, message, remedy)
}
