//! What a request has to pass is bounded.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::fault;
use crate::{
    error::ConfigError,
    key::{Kind, ObjectKey},
    limits::MAX_RATE_LIMITS,
    snapshot::Snapshot,
};

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    let concerned = |key: &&ObjectKey| key.kind == Kind::RateLimit && snapshot.get(key).is_some();
    if !changed.iter().any(|key| concerned(&key)) {
        return;
    }
    let mut limits: BTreeMap<ObjectKey, Vec<(&ObjectKey, usize)>> = BTreeMap::new();
    for (key, policy) in snapshot.rate_limits() {
        for (index, target) in policy.target_refs.iter().enumerate() {
            limits.entry(target.key()).or_default().push((key, index));
        }
    }
    for (target, of_target) in limits {
        if of_target.len() <= MAX_RATE_LIMITS {
            continue;
        }
        let last = of_target.iter().rev().find(|(key, _)| changed.contains(*key));
        let Some((key, index)) = last.copied() else { continue };
        let message = format!("makes {} policies for {target}", of_target.len());
        let remedy = format!("keep at most {MAX_RATE_LIMITS} for one object");
        let path = format!("spec.targetRefs[{index}].name");
        errors.push(fault(key, path, target.name.as_str(), message, remedy));
    }
}
