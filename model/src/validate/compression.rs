//! A rule that wants its answers compressed has listeners that say how.

use std::collections::BTreeSet;

use super::{
    concerned::concerned,
    fault::{fault, referred},
};
use crate::{
    error::ConfigError,
    key::{Kind, ObjectKey},
    snapshot::Snapshot,
};

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    // Other routes than those that changed are concerned where a listener does without.
    let all = changed.iter().filter(|key| key.kind == Kind::Listener).any(|key| {
        let listener = snapshot.listener(&key.namespace, &key.name);
        listener.is_some_and(|listener| listener.compression().is_none())
    });
    for (key, object) in concerned(snapshot, changed, &[Kind::HttpRoute], all) {
        let Some(route) = object.spec.http_route() else { continue };
        let wanting = route.rules.iter().position(|rule| rule.filters.compression == Some(true));
        let Some(index) = wanting else { continue };
        for reference in &route.listeners {
            let Some(listener) = snapshot.listener(&reference.namespace, &reference.name) else {
                continue;
            };
            if listener.compression().is_some() {
                continue;
            }
            let listener_key = referred(Kind::Listener, reference);
            if changed.contains(key) {
                let path = format!("spec.rules[{index}].compression");
                let message = format!("is true, and {listener_key} has no http.compression");
                let remedy =
                    "write http: { compression: { byDefault: false } } there, or remove it";
                errors.push(fault(key, path, true, message, remedy));
            } else if changed.contains(&listener_key) {
                let message = format!("is missing, and {key} wants it in rules[{index}]");
                let remedy = "add compression: {}, or take it out of that rule first";
                let path = "spec.http.compression";
                errors.push(fault(&listener_key, path, serde_json::Value::Null, message, remedy));
            }
        }
    }
}
