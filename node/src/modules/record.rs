//! Where modules lie in the store, and what is written of them (pure).

use std::collections::BTreeSet;

use bytes::Bytes;
use consensus::{Revision, Versioned, View};
use model::ModuleId;
use serde::{Deserialize, Serialize};

use crate::control::store::{MODULE_PARTS, MODULES};

/// That a module is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) bytes: u64,
    pub(crate) parts: u32,
    pub(crate) least_memory_mib: u64,
    pub(crate) created_by: String,
}

impl Record {
    pub(super) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("it has string keys").into()
    }
}

/// Where the record of a module lies.
pub(crate) fn record_key(module: ModuleId) -> String {
    format!("{MODULES}{module}")
}

/// Where a part lies.
pub(super) fn part_key(module: ModuleId, part: u32) -> String {
    format!("{MODULE_PARTS}{module}/{part:04}")
}

/// Which module a key is of a part of.
pub(super) fn part_of(key: &str) -> Option<ModuleId> {
    key.strip_prefix(MODULE_PARTS)?.split_once('/')?.0.parse().ok()
}

/// Returns the record of a module that is whole.
pub(crate) fn record(view: &View, module: ModuleId) -> Option<(&Versioned, Record)> {
    let stored = view.get(&record_key(module))?;
    Some((stored, serde_json::from_slice(&stored.value).ok()?))
}

/// Walks over the modules that are whole.
pub(super) fn all(view: &View) -> impl Iterator<Item = (ModuleId, &Versioned, Record)> {
    view.scan(MODULES).filter_map(|(key, stored)| {
        let id = key.strip_prefix(MODULES)?.parse().ok()?;
        Some((id, stored, serde_json::from_slice(&stored.value).ok()?))
    })
}

/// Lists the modules that are whole.
pub(crate) fn stored(view: &View) -> BTreeSet<ModuleId> {
    all(view).map(|(id, ..)| id).collect()
}

/// Returns a part of a module.
pub(crate) fn part(view: &View, module: ModuleId, part: u32) -> Option<&Bytes> {
    view.get(&part_key(module, part)).map(|stored| &stored.value)
}

/// Lists the parts of a module that are there, with their revisions.
pub(super) fn parts(view: &View, module: ModuleId) -> Vec<(String, Revision)> {
    let start = format!("{MODULE_PARTS}{module}/");
    view.scan(&start).map(|(key, stored)| (key.to_owned(), stored.mod_revision)).collect()
}
