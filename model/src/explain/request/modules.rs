//! The modules that a request passes. What they do with it, only their code knows, so it is taken to go on
//! as it is.

use super::{made_by, routes::Found};
use crate::{
    explain::Decision,
    filter_module::{FilterModule, OnModuleFailure},
    key::ObjectKey,
    snapshot::Snapshot,
};

/// Tells of the modules of the listener and of the route, in the order in which the request meets them.
pub(super) fn tell(
    config: &Snapshot,
    listener: &ObjectKey,
    found: &Found<'_>,
    decisions: &mut Vec<Decision>,
) {
    let is_for = |module: &FilterModule| {
        module.target_refs.iter().position(|one| [listener, found.route].contains(&&one.key()))
    };
    let mut modules: Vec<_> = config
        .filter_modules()
        .filter_map(|(key, module)| Some((module.order, key, module, is_for(module)?)))
        .collect();
    modules.sort_by_key(|(order, key, ..)| (*order, *key));
    for (_, key, module, index) in modules {
        let otherwise = match module.on_failure {
            OnModuleFailure::Closed => "503",
            OnModuleFailure::Open => "it goes on unchecked",
        };
        let said = format!(
            "module {} sees it, and may change or answer it, which only its code knows; if it fails, \
             {otherwise}",
            module.sha256
        );
        decisions.push(made_by("module", said, key, &format!("spec.targetRefs[{index}]")));
    }
}
