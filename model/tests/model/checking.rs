//! `check(input, expected errors)`: each error as `path = value: message`, sorted.

use std::sync::Arc;

use model::{ConfigErrors, Object, Snapshot, parse};

/// Checks that an input has exactly these errors, and that each says what to do.
#[track_caller]
pub(crate) fn check(input: &str, expected: &[&str]) {
    check_errors(parse::parse_documents(input).map(|_| ()), expected);
}

/// Checks the errors of one object of a kind, given its spec.
#[track_caller]
pub(crate) fn check_spec(kind: &str, spec: &str, expected: &[&str]) {
    check(&format!("kind: {kind}\nmetadata: {{ name: it }}\nspec: {spec}\n"), expected);
}

/// Checks a result against errors.
#[track_caller]
pub(crate) fn check_errors(result: Result<(), ConfigErrors>, expected: &[&str]) {
    let errors = result.err().map(|errors| errors.0).unwrap_or_default();
    for error in &errors {
        assert!(!error.message.is_empty() && !error.remedy.is_empty(), "{error:?}");
    }
    let mut found: Vec<String> = errors
        .iter()
        .map(|error| match error.value.as_str() {
            "" => format!("{}: {}", error.path, error.message),
            value => format!("{} = {value}: {}", error.path, error.message),
        })
        .collect();
    found.sort();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// Reads objects that are valid.
#[track_caller]
pub(crate) fn objects(input: &str) -> Vec<Object> {
    parse::parse_documents(input).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Makes a snapshot of objects that are valid each, without looking at them together.
#[track_caller]
pub(crate) fn snapshot(input: &str) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for object in objects(input) {
        snapshot.put(Arc::new(object));
    }
    snapshot
}
