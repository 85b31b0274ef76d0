//! Makes the errors of this module.

use serde_json::Value;

use crate::{
    error::ConfigError,
    key::{Kind, ObjectKey},
    parse::shorten,
    route::Reference,
};

/// Makes an error about a field of an object.
pub(super) fn fault(
    object: &ObjectKey,
    path: impl Into<String>,
    value: impl Into<Value>,
    message: impl Into<String>,
    remedy: impl Into<String>,
) -> ConfigError {
    ConfigError {
        object: Some(object.clone()),
        document: 0,
        path: path.into(),
        value: match value.into() {
            Value::Null => String::new(),
            value => shorten(&value),
        },
        message: message.into(),
        remedy: remedy.into(),
    }
}

/// Returns the key that a reference stands for.
pub(super) fn referred(kind: Kind, reference: &Reference) -> ObjectKey {
    ObjectKey::new(kind, &reference.namespace, &reference.name)
}
