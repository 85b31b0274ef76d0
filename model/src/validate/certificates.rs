//! Certificates ask for what their issuers can give.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fault::fault;
use crate::{
    certificate::Issued,
    error::ConfigError,
    key::{Kind, ObjectKey},
    snapshot::Snapshot,
};

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    if !changed.iter().any(|key| matches!(key.kind, Kind::Certificate | Kind::Issuer)) {
        return;
    }
    for (key, issued) in snapshot.issued_certificates() {
        let named = &issued.issuer;
        let issuer = ObjectKey::new(Kind::Issuer, &named.namespace, &named.name);
        let asks =
            snapshot.issuer(&named.namespace, &named.name).and_then(|it| it.acme()).is_some();
        if !asks || !(changed.contains(key) || changed.contains(&issuer)) {
            continue;
        }
        for (index, host) in issued.hosts.iter().enumerate().filter(|(_, it)| it.starts_with('*')) {
            let path = format!("spec.hosts[{index}]");
            if changed.contains(key) {
                let message = format!(
                    "is a wildcard, which {issuer} cannot give: ACME gives one by DNS-01 alone, which is \
                     not answered here"
                );
                let remedy = "list the hosts one by one, or use an internal issuer or files";
                errors.push(fault(key, path, host.as_str(), message, remedy));
            } else {
                let message = format!("gives no wildcards, and {key} ({path}) asks for {host}");
                let remedy =
                    "change that certificate in the same apply, or keep the issuer internal";
                errors.push(fault(&issuer, "spec.acme", Value::Null, message, remedy));
            }
        }
        if issued.lifetime == Issued::DEFAULT_LIFETIME {
            continue;
        }
        let lifetime = serde_json::to_value(issued).unwrap_or_default()["lifetime"].take();
        if changed.contains(key) {
            let message = format!(
                "is asked for, and {issuer} cannot give it: by ACME the authority chooses how long a \
                 certificate is valid"
            );
            let remedy = "leave lifetime out, or use an internal issuer";
            errors.push(fault(key, "spec.lifetime", lifetime, message, remedy));
        } else {
            let message =
                format!("gives no lifetimes, and {key} (spec.lifetime) asks for {lifetime}");
            let remedy = "change that certificate in the same apply, or keep the issuer internal";
            errors.push(fault(&issuer, "spec.acme", Value::Null, message, remedy));
        }
    }
}
