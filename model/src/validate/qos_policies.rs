//! A listener has one policy, XDP may carry it, and a limit of its answers has something to limit.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::{fault, referred};
use crate::{
    error::ConfigError,
    key::{Kind, ObjectKey},
    limits::MAX_QOS_LISTENERS,
    listener::{EngineChoice, Forwarding, Listener},
    qos_policy::QosPolicy,
    route::Reference,
    snapshot::Snapshot,
};

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    let concerned = |key: &&ObjectKey| {
        matches!(key.kind, Kind::Listener | Kind::QosPolicy) && snapshot.get(key).is_some()
    };
    if !changed.iter().any(|key| concerned(&key)) {
        return;
    }
    let mut targeted: BTreeMap<&Reference, (&ObjectKey, usize)> = BTreeMap::new();
    let mut listeners = 0;
    for (key, policy) in snapshot.qos_policies() {
        listeners += policy.listeners.len();
        for (index, reference) in policy.listeners.iter().enumerate() {
            check_listener(snapshot, changed, (key, index), policy, reference, errors);
            let Some((other, other_index)) = targeted.get(reference).copied() else {
                targeted.insert(reference, (key, index));
                continue;
            };
            if changed.contains(key) {
                errors.push(second_policy((key, index), reference, other));
            } else if changed.contains(other) {
                errors.push(second_policy((other, other_index), reference, key));
            }
        }
    }
    let last = changed.iter().filter(concerned).rfind(|key| key.kind == Kind::QosPolicy);
    if let Some(key) = last.filter(|_| listeners > MAX_QOS_LISTENERS) {
        let message = format!("makes {listeners} listeners of all policies together");
        let remedy = format!("keep at most {MAX_QOS_LISTENERS}");
        errors.push(fault(key, "spec.listeners", serde_json::Value::Null, message, remedy));
    }
}

fn second_policy(
    (key, index): (&ObjectKey, usize),
    listener: &Reference,
    other: &ObjectKey,
) -> ConfigError {
    let path = format!("spec.listeners[{index}].name");
    let message = format!("names a listener that {other} is for");
    let remedy = "name it in one of them only";
    fault(key, path, listener.name.as_str(), message, remedy)
}

/// Checks that a policy and its listener fit; the error is about the one that changed.
fn check_listener(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    (key, index): (&ObjectKey, usize),
    policy: &QosPolicy,
    reference: &Reference,
    errors: &mut Vec<ConfigError>,
) {
    let Some(listener) = snapshot.listener(&reference.namespace, &reference.name) else { return };
    let listener_key = referred(Kind::Listener, reference);
    if listener.engine == EngineChoice::Envoy {
        if changed.contains(key) {
            let path = format!("spec.listeners[{index}].name");
            let message = format!("names {listener_key}, which Envoy carries");
            let remedy = "let the listener have engine: auto or xdp";
            errors.push(fault(key, path, reference.name.as_str(), message, remedy));
        } else if changed.contains(&listener_key) {
            let message = format!("is Envoy, which does not do what {key} asks for");
            let remedy = "write auto or xdp, or take the listener out of that policy";
            errors.push(fault(&listener_key, "spec.engine", "envoy", message, remedy));
        }
    }
    if policy.egress.is_some() && answers_directly(listener) {
        let forwarding = serde_json::to_value(listener.forwarding()).unwrap_or_default();
        if changed.contains(key) {
            let message = format!(
                "limits the answers of {listener_key}, whose endpoints answer clients directly"
            );
            let remedy = "remove it, or let the listener have forwarding: NAT";
            errors.push(fault(key, "spec.egress", serde_json::Value::Null, message, remedy));
        } else if changed.contains(&listener_key) {
            let message = format!(
                "lets endpoints answer clients directly, and {key} limits their answers (egress)"
            );
            let remedy = "write NAT, or remove egress from that policy";
            errors.push(fault(&listener_key, "spec.forwarding", forwarding, message, remedy));
        }
    }
}

fn answers_directly(listener: &Listener) -> bool {
    listener.protocol.is_l4() && listener.forwarding() != Forwarding::Nat
}
