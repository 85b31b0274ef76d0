//! What changed, field by field, for people: path, old and new value.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    api::Action,
    key::ObjectKey,
    snapshot::{Change, Snapshot},
};

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field, such as `spec.rules[2].timeout`; an item that went has its old index.
    pub path: String,
    /// The value before; none when the field came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// The value after; none when the field went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// What changed in one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectDiff {
    /// Which object.
    pub object: ObjectKey,
    /// What happened to it.
    pub action: Action,
    /// The fields; of an object that came or went, all of them.
    pub fields: Vec<FieldChange>,
}

/// Lists what changed from one snapshot to another, ordered by object and path.
#[must_use]
pub fn diff_snapshots(old: &Snapshot, new: &Snapshot) -> Vec<ObjectDiff> {
    old.diff(new).iter().map(object_diff).collect()
}

fn object_diff(change: &Change) -> ObjectDiff {
    let nothing = Value::Object(Map::new());
    let (action, old, new) = match change {
        Change::Added(new) => (Action::Created, nothing, content(new.to_value())),
        Change::Modified { old, new } => (Action::Updated, old.to_value(), new.to_value()),
        Change::Removed(old) => (Action::Deleted, content(old.to_value()), nothing),
    };
    ObjectDiff { object: change.key(), action, fields: field_changes(&old, &new) }
}

/// Leaves only what the key does not say already: labels and the fields of the spec.
fn content(mut value: Value) -> Value {
    let mut fields = Map::new();
    if let Some(Value::Object(spec)) = value.get_mut("spec").map(Value::take) {
        fields.extend(spec.into_iter().map(|(name, value)| (format!("spec.{name}"), value)));
    }
    if let Some(labels) = value.pointer_mut("/metadata/labels").map(Value::take) {
        fields.insert("metadata.labels".to_owned(), labels);
    }
    Value::Object(fields)
}

/// Lists the fields in which two values differ, ordered by path; empty when they are equal.
///
/// Lists are compared without their common beginning and end, so that an item that is put in
/// between is one change.
#[must_use]
pub fn field_changes(old: &Value, new: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    compare(String::new(), old, new, &mut changes);
    changes
}

fn compare(path: String, old: &Value, new: &Value, changes: &mut Vec<FieldChange>) {
    match (old, new) {
        _ if old == new => {}
        (Value::Object(old), Value::Object(new)) => compare_maps(&path, old, new, changes),
        (Value::Array(old), Value::Array(new)) => compare_lists(&path, old, new, changes),
        _ => changes.push(FieldChange { path, old: Some(old.clone()), new: Some(new.clone()) }),
    }
}

fn compare_maps(
    path: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    changes: &mut Vec<FieldChange>,
) {
    let came = new.keys().filter(|name| !old.contains_key(*name));
    let mut names: Vec<&String> = old.keys().chain(came).collect();
    names.sort_unstable();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        both(path, old.get(name), new.get(name), changes);
    }
}

fn compare_lists(path: &str, old: &[Value], new: &[Value], changes: &mut Vec<FieldChange>) {
    let begin = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (&old[begin..], &new[begin..]);
    let pairs = old_rest.iter().rev().zip(new_rest.iter().rev());
    let end = pairs.take_while(|(old, new)| old == new).count();
    let old_middle = &old_rest[..old_rest.len() - end];
    let new_middle = &new_rest[..new_rest.len() - end];
    for index in 0..old_middle.len().max(new_middle.len()) {
        let path = format!("{path}[{}]", begin + index);
        both(path, old_middle.get(index), new_middle.get(index), changes);
    }
}

fn both(path: String, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<FieldChange>) {
    match (old, new) {
        (Some(old), Some(new)) => compare(path, old, new, changes),
        (old, new) => changes.push(FieldChange { path, old: old.cloned(), new: new.cloned() }),
    }
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "~ {}: {old} -> {new}", self.path),
            (None, Some(new)) => write!(f, "+ {}: {new}", self.path),
            (Some(old), None) => write!(f, "- {}: {old}", self.path),
            (None, None) => f.write_str(&self.path),
        }
    }
}

impl fmt::Display for ObjectDiff {
    /// Writes one line for the object and one, indented, for each field; no newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.action {
            Action::Created => '+',
            Action::Updated => '~',
            Action::Deleted => '-',
            Action::Unchanged => ' ',
        };
        write!(f, "{sign} {}", self.object)?;
        self.fields.iter().try_for_each(|field| write!(f, "\n    {field}"))
    }
}
