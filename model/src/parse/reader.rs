//! Reads a JSON value field by field and remembers *every* error with its path.
//!
//! A reading function takes a [`Node`] and returns a [`Read`]: the value, or [`Reported`] when it
//! has put at least one error into the [`Report`]. It reads all fields before it looks at the
//! outcome of any, so that one mistake never hides another.

use std::{cell::RefCell, fmt};

use serde_json::{Map, Value};

use super::suggest::closest;
use crate::{error::ConfigError, limits::MAX_SHOWN_VALUE};

/// Says that the error has been put into the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reported;

/// What a reading function returns.
pub(crate) type Read<T> = Result<T, Reported>;

/// The errors of one object.
#[derive(Debug, Default)]
pub(crate) struct Report {
    errors: RefCell<Vec<ConfigError>>,
}

impl Report {
    /// Takes the errors out.
    pub(crate) fn into_errors(self) -> Vec<ConfigError> {
        self.errors.into_inner()
    }

    fn push(&self, path: &Path<'_>, value: String, message: String, remedy: String) -> Reported {
        self.errors.borrow_mut().push(ConfigError {
            object: None,
            document: 0,
            path: path.to_string(),
            value,
            message,
            remedy,
        });
        Reported
    }
}

/// Where a value stands; linked from leaf to root, so that no text is made without an error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Item(usize),
}

impl Path<'_> {
    /// The path of the whole object.
    pub(crate) const ROOT: Path<'static> = Path { parent: None, step: Step::Root };
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Item(index) => write!(f, "[{index}]"),
            Step::Field(name) if !is_plain(name) => write!(f, "[{}]", shorten(&Value::from(name))),
            Step::Field(name) => {
                let first = self.parent.is_none_or(|parent| matches!(parent.step, Step::Root));
                write!(f, "{}{name}", if first { "" } else { "." })
            }
        }
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_SHOWN_VALUE
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Renders a value as JSON, shortened to [`MAX_SHOWN_VALUE`] characters.
pub(crate) fn shorten(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// One value and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    value: &'a Value,
    path: &'a Path<'a>,
    report: &'a Report,
}

impl<'a> Node<'a> {
    /// Starts at the whole object.
    pub(crate) fn root(value: &'a Value, report: &'a Report) -> Self {
        Self { value, path: &Path::ROOT, report }
    }

    /// Returns the value.
    pub(crate) fn value(&self) -> &'a Value {
        self.value
    }

    /// Puts an error about this value into the report.
    pub(crate) fn error(&self, message: impl Into<String>, remedy: impl Into<String>) -> Reported {
        self.report.push(self.path, shorten(self.value), message.into(), remedy.into())
    }

    /// Reads a part of this text by a reader of texts; errors show the part, at this place.
    pub(crate) fn with_text<T>(
        &self,
        part: &str,
        read: impl FnOnce(&Node<'_>) -> Read<T>,
    ) -> Read<T> {
        read(&Node { value: &Value::from(part), path: self.path, report: self.report })
    }

    /// Says that the value is of another type than is wanted.
    pub(crate) fn wrong_type(&self, wanted: &str) -> Reported {
        let found = match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "a mapping",
        };
        self.error(format!("is {found}"), format!("write {wanted}"))
    }

    /// Reads a mapping. [`Fields::finish`] then reports what nobody asked for.
    pub(crate) fn fields(&self) -> Read<Fields<'a>> {
        match self.value {
            Value::Object(map) => {
                Ok(Fields { map, node: *self, known: RefCell::new(Vec::with_capacity(8)) })
            }
            _ => Err(self.wrong_type("a mapping of fields")),
        }
    }

    /// Reads a list of `least` to `most` items, each by `read`; items that are well are kept beside
    /// those that are not.
    pub(crate) fn items<T>(
        &self,
        least: usize,
        most: usize,
        mut read: impl FnMut(&Node<'_>) -> Read<T>,
    ) -> Read<Vec<Read<T>>> {
        let Value::Array(items) = self.value else {
            return Err(self.wrong_type("a list"));
        };
        if items.len() < least {
            return Err(self.error("is empty", format!("give at least {least}")));
        }
        if items.len() > most {
            let message = format!("has {} items", items.len());
            return Err(self.error(message, format!("give at most {most}")));
        }
        let read_item = |(index, value)| {
            let path = Path { parent: Some(self.path), step: Step::Item(index) };
            read(&Node { value, path: &path, report: self.report })
        };
        Ok(items.iter().enumerate().map(read_item).collect())
    }

    /// Reads a mapping with free keys, each entry by `read`.
    pub(crate) fn entries<T>(
        &self,
        mut read: impl FnMut(&str, &Node<'_>) -> Read<T>,
    ) -> Read<Vec<T>> {
        let Value::Object(map) = self.value else {
            return Err(self.wrong_type("a mapping"));
        };
        let read_entry = |(key, value): (&String, _)| {
            let path = Path { parent: Some(self.path), step: Step::Field(key) };
            read(key, &Node { value, path: &path, report: self.report })
        };
        let entries: Vec<Read<T>> = map.iter().map(read_entry).collect();
        entries.into_iter().collect()
    }

    /// Calls `then` with the field `name` of this mapping, for errors that were found later.
    pub(crate) fn at_field(
        &self,
        name: &str,
        then: impl FnOnce(&Node<'_>) -> Reported,
    ) -> Reported {
        let value = self.value.get(name).unwrap_or(&Value::Null);
        let path = Path { parent: Some(self.path), step: Step::Field(name) };
        then(&Node { value, path: &path, report: self.report })
    }

    /// Calls `then` with the item `index` of this list, for errors that were found later.
    pub(crate) fn at_item(
        &self,
        index: usize,
        then: impl FnOnce(&Node<'_>) -> Reported,
    ) -> Reported {
        let value = self.value.get(index).unwrap_or(&Value::Null);
        let path = Path { parent: Some(self.path), step: Step::Item(index) };
        then(&Node { value, path: &path, report: self.report })
    }
}

/// A mapping that is being read; it remembers which fields were asked for.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    node: Node<'a>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// Returns the mapping itself.
    pub(crate) fn node(&self) -> &Node<'a> {
        &self.node
    }

    /// Tells whether a field is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// Reads a field when it is there.
    pub(crate) fn optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Node<'_>) -> Read<T>,
    ) -> Read<Option<T>> {
        self.known.borrow_mut().push(name);
        let Some(value) = self.map.get(name) else {
            return Ok(None);
        };
        let path = Path { parent: Some(self.node.path), step: Step::Field(name) };
        read(&Node { value, path: &path, report: self.node.report }).map(Some)
    }

    /// Reads a field that has a default.
    pub(crate) fn or<T>(
        &self,
        name: &'static str,
        default: T,
        read: impl FnOnce(&Node<'_>) -> Read<T>,
    ) -> Read<T> {
        Ok(self.optional(name, read)?.unwrap_or(default))
    }

    /// Reads a field that must be there; `wanted` says what to write when it is not.
    pub(crate) fn required<T>(
        &self,
        name: &'static str,
        wanted: &str,
        read: impl FnOnce(&Node<'_>) -> Read<T>,
    ) -> Read<T> {
        match self.optional(name, read)? {
            Some(value) => Ok(value),
            None => Err(self.missing(name, wanted)),
        }
    }

    /// Passes over a field about which an error has been said.
    pub(crate) fn pass_over(&self, name: &'static str) {
        self.known.borrow_mut().push(name);
    }

    /// Says that a field is missing.
    pub(crate) fn missing(&self, name: &str, wanted: &str) -> Reported {
        let path = Path { parent: Some(self.node.path), step: Step::Field(name) };
        let message = "is missing".to_owned();
        self.node.report.push(&path, String::new(), message, format!("add {name}: {wanted}"))
    }

    /// Puts an error about one of the fields into the report.
    pub(crate) fn error(
        &self,
        name: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Reported {
        let path = Path { parent: Some(self.node.path), step: Step::Field(name) };
        let value = self.map.get(name).map(shorten).unwrap_or_default();
        self.node.report.push(&path, value, message.into(), remedy.into())
    }

    /// Reports the fields that no read asked for.
    pub(crate) fn finish(&self) -> Read<()> {
        let known = self.known.borrow();
        let mut outcome = Ok(());
        for name in self.map.keys().filter(|name| !known.contains(&name.as_str())) {
            let remedy = match closest(name, &known) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("remove it; known here are {}", known.join(", ")),
            };
            outcome = Err(self.error(name, "is not a known field", remedy));
        }
        outcome
    }
}
