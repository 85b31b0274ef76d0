//! What an apply, a delete or a rollback would do to a snapshot, checked as a whole.
//!
//! Pure: the caller proposes the plan's puts and deletes, compared with the base revision.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    api::{Action, ObjectOutcome},
    error::{ConfigError, ConfigErrors},
    key::ObjectKey,
    limits::MAX_OBJECT_BYTES,
    object::Object,
    parse,
    snapshot::{Change, Snapshot},
    validate::validate_snapshot,
};

/// A checked transaction.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The snapshot after it; its revision is that of the base.
    pub next: Snapshot,
    /// What happens to each object of the request, in its order.
    pub outcomes: Vec<ObjectOutcome>,
    /// The objects to write: those that are new or different.
    pub puts: Vec<Arc<Object>>,
    /// The objects to remove.
    pub deletes: Vec<ObjectKey>,
}

impl Plan {
    /// Tells whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }
}

/// Plans to add or replace objects.
///
/// # Errors
///
/// All that is wrong with the result; `document` is the place of the object in `objects`.
pub fn plan_apply(base: &Snapshot, objects: Vec<Object>) -> Result<Plan, ConfigErrors> {
    let mut errors = Vec::new();
    let mut documents: BTreeMap<ObjectKey, usize> = BTreeMap::new();
    let mut plan = Plan::starting_at(base, objects.len());
    for (document, object) in objects.into_iter().enumerate() {
        let key = object.key();
        if let Some(first) = documents.get(&key) {
            errors.push(parse::duplicate_object(key, *first, document));
            continue;
        }
        documents.insert(key.clone(), document);
        errors.extend(too_large(&key, document, &object));
        plan.put(base, key, Arc::new(object));
    }
    if let Err(ConfigErrors(found)) = plan.check() {
        errors.extend(found.into_iter().map(|error| {
            let document = error.object.as_ref().and_then(|key| documents.get(key));
            ConfigError { document: document.copied().unwrap_or_default(), ..error }
        }));
    }
    if errors.is_empty() { Ok(plan) } else { Err(parse::bounded(errors)) }
}

/// Plans to remove objects.
///
/// # Errors
///
/// Objects that do not exist, or that others still refer to; `document` is the place in `keys`.
pub fn plan_delete(base: &Snapshot, keys: &[ObjectKey]) -> Result<Plan, ConfigErrors> {
    let mut errors = Vec::new();
    let mut plan = Plan::starting_at(base, keys.len());
    let mut documents: BTreeMap<&ObjectKey, usize> = BTreeMap::new();
    for (document, key) in keys.iter().enumerate() {
        if documents.contains_key(key) {
            continue;
        }
        documents.insert(key, document);
        if !plan.delete(key) {
            let message = "does not exist";
            let remedy = "correct the kind, namespace or name";
            errors.push(whole_object(key, document, message.to_owned(), remedy.to_owned()));
        }
    }
    if let Err(ConfigErrors(found)) = plan.check() {
        errors.extend(found.into_iter().map(|error| {
            let document = error.object.as_ref().and_then(|key| documents.get(key));
            ConfigError { document: document.copied().unwrap_or_default(), ..error }
        }));
    }
    if errors.is_empty() { Ok(plan) } else { Err(parse::bounded(errors)) }
}

/// Plans to make the objects what they are in `target`, as a rollback does.
///
/// # Errors
///
/// All that is wrong with the result, which validation of a later version may find.
pub fn plan_replace(base: &Snapshot, target: &Snapshot) -> Result<Plan, ConfigErrors> {
    let changes = base.diff(target);
    let mut plan = Plan::starting_at(base, changes.len());
    for change in changes {
        let key = change.key();
        match change {
            Change::Added(object) | Change::Modified { new: object, .. } => {
                plan.put(base, key, object);
            }
            Change::Removed(_) => {
                plan.delete(&key);
            }
        }
    }
    plan.check()?;
    Ok(plan)
}

impl Plan {
    fn starting_at(base: &Snapshot, size: usize) -> Self {
        Self {
            next: base.clone(),
            outcomes: Vec::with_capacity(size),
            puts: Vec::new(),
            deletes: Vec::new(),
        }
    }

    fn put(&mut self, base: &Snapshot, key: ObjectKey, object: Arc<Object>) {
        let action = match base.get(&key) {
            Some(old) if *old == object => Action::Unchanged,
            Some(_) => Action::Updated,
            None => Action::Created,
        };
        if action != Action::Unchanged {
            self.next.put(object.clone());
            self.puts.push(object);
        }
        self.outcomes.push(ObjectOutcome { object: key, action });
    }

    fn delete(&mut self, key: &ObjectKey) -> bool {
        let was_there = self.next.remove(key);
        if was_there {
            self.deletes.push(key.clone());
            self.outcomes.push(ObjectOutcome { object: key.clone(), action: Action::Deleted });
        }
        was_there
    }

    fn check(&self) -> Result<(), ConfigErrors> {
        let puts = self.puts.iter().map(|object| object.key());
        let changed: BTreeSet<ObjectKey> = puts.chain(self.deletes.iter().cloned()).collect();
        validate_snapshot(&self.next, &changed)
    }
}

fn too_large(key: &ObjectKey, document: usize, object: &Object) -> Option<ConfigError> {
    let size = object.to_canonical().len();
    (size > MAX_OBJECT_BYTES).then(|| {
        let message = format!("has {size} bytes in its canonical form");
        let remedy = format!("split it into objects of at most {MAX_OBJECT_BYTES}");
        whole_object(key, document, message, remedy)
    })
}

fn whole_object(key: &ObjectKey, document: usize, message: String, remedy: String) -> ConfigError {
    ConfigError {
        object: Some(key.clone()),
        document,
        path: String::new(),
        value: String::new(),
        message,
        remedy,
    }
}
