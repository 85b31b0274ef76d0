//! What a request has to pass is bounded: limits of requests, and modules.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::fault;
use crate::{
    error::ConfigError,
    key::{Kind, ObjectKey},
    limits::{MAX_RATE_LIMITS, MAX_TARGET_MODULES},
    rate_limit::TargetRef,
    snapshot::Snapshot,
};

pub(super) fn check(
    snapshot: &Snapshot,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    let concerned =
        |kind: Kind| changed.iter().any(|key| key.kind == kind && snapshot.get(key).is_some());
    if concerned(Kind::RateLimit) {
        let limits = snapshot.rate_limits().map(|(key, limit)| (key, &*limit.target_refs));
        check_count(limits, MAX_RATE_LIMITS, changed, errors);
    }
    if concerned(Kind::FilterModule) {
        let modules = snapshot.filter_modules().map(|(key, module)| (key, &*module.target_refs));
        check_count(modules, MAX_TARGET_MODULES, changed, errors);
    }
}

/// Refuses more than `most` objects of a kind for one target.
fn check_count<'a>(
    objects: impl Iterator<Item = (&'a ObjectKey, &'a [TargetRef])>,
    most: usize,
    changed: &BTreeSet<ObjectKey>,
    errors: &mut Vec<ConfigError>,
) {
    let mut by_target: BTreeMap<ObjectKey, Vec<(&ObjectKey, usize)>> = BTreeMap::new();
    for (key, targets) in objects {
        for (index, target) in targets.iter().enumerate() {
            by_target.entry(target.key()).or_default().push((key, index));
        }
    }
    for (target, of_target) in by_target {
        if of_target.len() <= most {
            continue;
        }
        let last = of_target.iter().rev().find(|(key, _)| changed.contains(*key));
        let Some((key, index)) = last.copied() else { continue };
        let message = format!("makes {} policies for {target}", of_target.len());
        let remedy = format!("keep at most {most} for one object");
        let path = format!("spec.targetRefs[{index}].name");
        errors.push(fault(key, path, target.name.as_str(), message, remedy));
    }
}
