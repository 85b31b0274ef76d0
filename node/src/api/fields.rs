//! Which fields differ between two versions of an object. Pure.

use model::{
    Change,
    api::{Action, FieldChange, ObjectDiff},
};
use serde_json::Value;

/// Lists the fields that differ, ordered by path. Lists are compared by position.
pub(super) fn changes(old: Option<&Value>, new: Option<&Value>) -> Vec<FieldChange> {
    let mut out = Vec::new();
    walk(String::new(), old, new, &mut out);
    out
}

/// The fields of a change between two snapshots.
pub(super) fn of_change(change: &Change) -> ObjectDiff {
    let (action, old, new) = match change {
        Change::Added(object) => (Action::Created, None, Some(object.to_value())),
        Change::Modified { old, new } => {
            (Action::Updated, Some(old.to_value()), Some(new.to_value()))
        }
        Change::Removed(object) => (Action::Deleted, Some(object.to_value()), None),
    };
    ObjectDiff { object: change.key(), action, fields: changes(old.as_ref(), new.as_ref()) }
}

fn walk(path: String, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<FieldChange>) {
    match (old, new) {
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(below, old.get(name), new.get(name), out);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                walk(format!("{path}[{index}]"), old.get(index), new.get(index), out);
            }
        }
        (None, None) => {}
        (old, new) => out.push(FieldChange { path, old: old.cloned(), new: new.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_named_by_path() {
        let old = json!({"metadata": {"name": "a"}, "spec": {"list": [1, {"x": 1}], "gone": true}});
        let new =
            json!({"metadata": {"name": "a"}, "spec": {"list": [1, {"x": 2}, 3], "is": null}});
        let found: Vec<String> = changes(Some(&old), Some(&new))
            .into_iter()
            .map(|change| {
                let text = |value: Option<Value>| value.map_or("-".to_owned(), |v| v.to_string());
                format!("{} {} {}", change.path, text(change.old), text(change.new))
            })
            .collect();
        assert_eq!(
            found,
            ["spec.gone true -", "spec.is - null", "spec.list[1].x 1 2", "spec.list[2] - 3"]
        );
        assert!(changes(Some(&old), Some(&old)).is_empty());
        assert_eq!(changes(None, Some(&new))[0].path, "");
    }

    proptest::proptest! {
        #[test]
        fn equal_values_have_no_changes_and_others_have_some(a in 0..4u8, b in 0..4u8) {
            let value = |n: u8| json!({"a": [n], "b": {"c": n / 2}});
            let found = changes(Some(&value(a)), Some(&value(b)));
            proptest::prop_assert_eq!(found.is_empty(), a == b);
        }
    }
}
