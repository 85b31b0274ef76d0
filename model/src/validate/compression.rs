//! A rule that wants its answers compressed has listeners that say how.

use std::collections::BTreeSet;

use super::fault::{fault, referred};
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
    let concerned = |key: &ObjectKey| {
        matches!(key.kind, Kind::Listener | Kind::HttpRoute) && snapshot.get(key).is_some()
    };
    if !changed.iter().any(concerned) {
        return;
    }
    for (key, route) in snapshot.http_routes() {
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
