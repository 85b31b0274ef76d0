//! A TCP or UDP listener has one route, and one service when XDP must carry it.

use std::collections::{BTreeSet, HashMap};

use super::fault::{fault, referred};
use crate::{
    error::ConfigError,
    key::{Kind, ObjectKey},
    listener::EngineChoice,
    route::{L4Route, Reference},
    snapshot::Snapshot,
};

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    let concerned = |key: &ObjectKey| {
        matches!(key.kind, Kind::Listener | Kind::TcpRoute | Kind::UdpRoute)
            && snapshot.get(key).is_some()
    };
    if !changed.iter().any(concerned) {
        return;
    }
    let mut attached: HashMap<(Kind, &Reference), Vec<(&ObjectKey, usize)>> = HashMap::new();
    for (key, route) in snapshot.l4_routes() {
        for (index, listener) in route.listeners.iter().enumerate() {
            let others = attached.entry((key.kind, listener)).or_default();
            for (other, other_index) in &*others {
                let (new, new_index, old) = if changed.contains(key) {
                    (key, index, *other)
                } else if changed.contains(*other) {
                    (*other, *other_index, key)
                } else {
                    continue;
                };
                errors.push(second_route(new, new_index, listener, old));
            }
            others.push((key, index));
            check_engine(snapshot, changed, key, route, listener, errors);
        }
    }
}

fn second_route(
    key: &ObjectKey,
    index: usize,
    listener: &Reference,
    other: &ObjectKey,
) -> ConfigError {
    let path = format!("spec.listeners[{index}].name");
    let message = format!("names a listener that {other} is attached to");
    let remedy = "use another listener, or give one route several backends";
    fault(key, path, listener.name.as_str(), message, remedy)
}

fn check_engine(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    key: &ObjectKey,
    route: &L4Route,
    reference: &Reference,
    errors: &mut Vec<ConfigError>,
) {
    if route.backends.len() < 2 {
        return;
    }
    let listener_key = referred(Kind::Listener, reference);
    let xdp = snapshot
        .listener(&reference.namespace, &reference.name)
        .is_some_and(|listener| listener.engine == EngineChoice::Xdp);
    if xdp && changed.contains(key) {
        let message = format!("has several services, and XDP carries {listener_key}");
        let remedy = "keep one service, or let the listener have engine: auto or envoy";
        errors.push(fault(key, "spec.backends", route.backends.len(), message, remedy));
    } else if xdp && changed.contains(&listener_key) {
        let message = format!("is XDP, which carries one service, and {key} has several");
        let remedy = "write auto or envoy, or keep one service in that route";
        errors.push(fault(&listener_key, "spec.engine", "xdp", message, remedy));
    }
}
