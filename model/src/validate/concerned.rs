//! Which objects a change concerns.

use std::collections::BTreeSet;

use crate::{
    key::{Kind, ObjectKey},
    object::Object,
    snapshot::Snapshot,
};

/// Walks over the objects of some kinds that are there: those that changed, or `all`, where the change of
/// another object concerns them too.
pub(super) fn concerned<'a>(
    snapshot: &'a Snapshot,
    changed: &'a BTreeSet<ObjectKey>,
    kinds: &'static [Kind],
    all: bool,
) -> impl Iterator<Item = (&'a ObjectKey, &'a Object)> {
    let of_change = (!all).then(|| {
        let of_kinds = changed.iter().filter(|key| kinds.contains(&key.kind));
        of_kinds.filter_map(|key| Some((key, &**snapshot.get(key)?)))
    });
    let of_all = all.then(|| {
        let of_kinds = kinds.iter().flat_map(|kind| snapshot.of_kind(*kind));
        of_kinds.map(|(key, object)| (key, &**object))
    });
    of_change.into_iter().flatten().chain(of_all.into_iter().flatten())
}
