//! Snapshots: a diff leads from one to the other; validation does not depend on the order.

use std::{collections::BTreeSet, sync::Arc};

use model::{Change, Object, ObjectKey, Snapshot, field_changes, parse, validate_snapshot};
use proptest::{collection::vec, prelude::*};

use crate::generate::document;

fn objects() -> impl Strategy<Value = Vec<Object>> {
    let object = document().prop_map(|raw| {
        parse::object_from_value(&raw).unwrap_or_else(|errors| panic!("{errors}\n{raw:#}"))
    });
    vec(object, 0..12).prop_map(|objects| {
        let mut seen = BTreeSet::new();
        objects.into_iter().filter(|object| seen.insert(object.key())).collect()
    })
}

fn assemble<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for object in objects {
        snapshot.put(Arc::new(object.clone()));
    }
    snapshot
}

fn apply(mut snapshot: Snapshot, changes: Vec<Change>) -> Snapshot {
    for change in changes {
        match change {
            Change::Added(object) | Change::Modified { new: object, .. } => snapshot.put(object),
            Change::Removed(object) => {
                assert!(snapshot.remove(&object.key()), "it was there");
            }
        }
    }
    snapshot
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_diff_applied_to_the_old_gives_the_new(
        (a, b) in (objects(), objects()),
        shared in objects(),
    ) {
        // Objects of `shared` are equal in both unless `a` or `b` has one of the same key.
        let old = assemble(shared.iter().chain(&a));
        let new = assemble(shared.iter().chain(&b));
        prop_assert_eq!(&apply(old.clone(), old.diff(&new)), &new);
        prop_assert_eq!(&apply(new.clone(), new.diff(&old)), &old);
        prop_assert!(old.diff(&assemble(a.iter().chain(&shared).chain(&a))).is_empty());
        for change in old.diff(&new) {
            if let Change::Modified { old, new } = change {
                prop_assert!(!field_changes(&old.to_value(), &new.to_value()).is_empty());
                prop_assert!(field_changes(&old.to_value(), &old.to_value()).is_empty());
            }
        }
    }

    #[test]
    fn the_order_of_arrival_does_not_matter(
        (objects, shuffled) in objects()
            .prop_flat_map(|objects| (Just(objects.clone()), Just(objects).prop_shuffle())),
        some in vec(any::<bool>(), 12),
        removed in vec(document(), 0..3),
    ) {
        let removed = removed.iter().filter_map(|raw| parse::object_from_value(raw).ok());
        let put = objects.iter().zip(some).filter(|(_, changed)| *changed).map(|(o, _)| o.key());
        let changed: BTreeSet<ObjectKey> = put.chain(removed.map(|object| object.key())).collect();
        let (a, b) = (assemble(&objects), assemble(&shuffled));
        let errors = validate_snapshot(&a, &changed);
        prop_assert_eq!(&errors, &validate_snapshot(&b, &changed));
        // What is wrong with a part of the changes is wrong with all of them.
        let all: BTreeSet<ObjectKey> =
            changed.iter().cloned().chain(objects.iter().map(Object::key)).collect();
        if validate_snapshot(&a, &all).is_ok() {
            prop_assert!(errors.is_ok(), "{:?}", errors);
        }
        if let Err(errors) = errors {
            for error in errors.0 {
                prop_assert!(error.object.is_some_and(|key| changed.contains(&key)));
            }
        }
    }
}
