//! No two listeners take the same port of the same address.

use std::collections::{BTreeSet, HashMap};

use super::fault::fault;
use crate::{
    announce::wanted,
    error::ConfigError,
    key::{Kind, ObjectKey},
    limits::MAX_ANNOUNCED,
    listener::{ListenAddress, Listener, Transport},
    snapshot::Snapshot,
};

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    if !changed.iter().any(|key| key.kind == Kind::Listener) {
        return;
    }
    check_announced(snapshot, changed, errors);
    let mut taken: HashMap<(Transport, u16), Vec<(&ObjectKey, &Listener)>> = HashMap::new();
    for (key, listener) in snapshot.listeners() {
        for transport in listener.transports() {
            let others = taken.entry((*transport, listener.port)).or_default();
            for (other_key, other) in &*others {
                let new = if changed.contains(key) {
                    Some((key, listener, other_key, other))
                } else if changed.contains(*other_key) {
                    Some((*other_key, *other, &key, &listener))
                } else {
                    None
                };
                if let Some((key, listener, other_key, other)) = new
                    && overlap(listener.address, other.address)
                {
                    errors.push(conflict(*transport, key, listener, other_key, other));
                }
            }
            others.push((key, listener));
        }
    }
}

fn check_announced(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    let found = wanted(snapshot).len();
    if found <= MAX_ANNOUNCED {
        return;
    }
    let announcing = changed.iter().filter(|key| {
        let listener = snapshot.listener(&key.namespace, &key.name);
        key.kind == Kind::Listener && listener.is_some_and(|it| it.announce.is_some())
    });
    for key in announcing {
        let message = format!("makes {found} addresses that are announced, of {MAX_ANNOUNCED}");
        let remedy = "let several listeners share an address, or route some to the nodes";
        errors.push(fault(key, "spec.announce", "L2", message, remedy));
    }
}

fn overlap(a: ListenAddress, b: ListenAddress) -> bool {
    a == b || a == ListenAddress::Any || b == ListenAddress::Any
}

fn conflict(
    transport: Transport,
    key: &ObjectKey,
    listener: &Listener,
    other_key: &ObjectKey,
    other: &Listener,
) -> ConfigError {
    let address = match other.address {
        ListenAddress::Any => "every address".to_owned(),
        ListenAddress::Ip(ip) => ip.to_string(),
    };
    let message = format!("is the {transport} port that {other_key} takes on {address}");
    let remedy = "choose another port, or another address for each of them";
    fault(key, "spec.port", listener.port, message, remedy)
}
