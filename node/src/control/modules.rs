//! The modules that a write needs: they have to be in the store, and to stay there until it is committed.

use consensus::{Compare, View};
use model::{ConfigError, ConfigErrors, FilterModule, ObjectKey, Plan, Spec};

use super::errors::ApplyError;
use crate::modules::{record, record_key};

/// What a write needs of modules.
#[derive(Debug, Default)]
pub(super) struct Needed {
    /// The condition that they are still there.
    pub(super) unchanged: Vec<Compare>,
    /// What a write would be refused for, when nothing is written.
    pub(super) warnings: Vec<String>,
}

/// Looks for the modules that what a plan puts runs. A dry run may come before their upload.
pub(super) fn modules_of(plan: &Plan, view: &View, dry_run: bool) -> Result<Needed, ApplyError> {
    let (mut needed, mut errors) = (Needed::default(), Vec::new());
    for object in &plan.puts {
        let Spec::FilterModule(module) = &object.spec else { continue };
        match record(view, module.sha256) {
            None => errors.push(missing(object.key(), module)),
            Some((_, record)) if record.least_memory_mib > module.memory_limit_mib.into() => {
                return Err(too_small(object.key(), module, record.least_memory_mib));
            }
            Some((at, _)) => needed.unchanged.push(Compare::KeyRevision {
                key: record_key(module.sha256),
                revision: Some(at.mod_revision),
            }),
        }
    }
    if dry_run {
        needed.warnings = errors.iter().map(ToString::to_string).collect();
        return Ok(needed);
    }
    if errors.is_empty() { Ok(needed) } else { Err(ConfigErrors(errors).into()) }
}

fn missing(object: ObjectKey, module: &FilterModule) -> ConfigError {
    ConfigError {
        object: Some(object),
        document: 0,
        path: "spec.sha256".to_owned(),
        value: format!("\"{}\"", module.sha256),
        message: "names a module that the cluster does not have".to_owned(),
        remedy:
            "push it first (`marchproxy modules push FILE`), or apply it with `file` in place of \
                 `sha256`"
                .to_owned(),
    }
}

fn too_small(object: ObjectKey, module: &FilterModule, least_mib: u64) -> ApplyError {
    ConfigErrors(vec![ConfigError {
        object: Some(object),
        document: 0,
        path: "spec.memoryLimitMib".to_owned(),
        value: module.memory_limit_mib.to_string(),
        message: format!("is less than the {least_mib} MiB that the module begins with"),
        remedy: format!("write at least {least_mib}, or build the module with less"),
    }])
    .into()
}
