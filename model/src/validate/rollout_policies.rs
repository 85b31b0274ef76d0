//! A cluster has one rollout policy at most.

use std::collections::BTreeSet;

use super::fault::fault;
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
    let all: Vec<&ObjectKey> = snapshot.of_kind(Kind::RolloutPolicy).map(|(key, _)| key).collect();
    if all.len() < 2 {
        return;
    }
    for key in all.iter().filter(|key| changed.contains(**key)) {
        let Some(other) = all.iter().find(|other| *other != key) else { continue };
        let message = format!("is a second policy beside {other}");
        errors.push(fault(key, "", serde_json::Value::Null, message, "keep one of them"));
    }
}
