//! Text to raw values: multi-document YAML, JSON, lists of objects.
//!
//! Knows nothing of kinds. Sizes, depth and aliases are bounded before anything is built, and a
//! key that stands twice in a mapping is refused.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::{
    error::{ConfigError, ConfigErrors},
    limits::{MAX_ALIAS_EVENTS, MAX_ALIASES, MAX_DEPTH, MAX_INPUT_BYTES, MAX_INPUT_OBJECTS},
};

/// Reads the raw objects of an input, in order; empty documents are left out.
pub(crate) fn raw_objects(text: &str) -> Result<Vec<Value>, ConfigErrors> {
    if text.len() > MAX_INPUT_BYTES {
        let message = format!("the input has {} bytes", text.len());
        return Err(whole(message, format!("give at most {MAX_INPUT_BYTES} at a time")));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let documents = match json(text) {
        Some(documents) => documents,
        None => yaml(text)?,
    };
    let mut objects = Vec::new();
    for document in documents {
        flatten(document, &mut objects);
    }
    if objects.is_empty() {
        let remedy = "give at least one document with kind, metadata and spec";
        return Err(whole("there is no object in the input".to_owned(), remedy.to_owned()));
    }
    if objects.len() > MAX_INPUT_OBJECTS {
        let message = format!("the input has {} objects", objects.len());
        return Err(whole(message, format!("give at most {MAX_INPUT_OBJECTS} at a time")));
    }
    Ok(objects)
}

/// An error about the input as a whole.
pub(crate) fn whole(message: String, remedy: String) -> ConfigErrors {
    ConfigErrors(vec![ConfigError {
        object: None,
        document: 0,
        path: String::new(),
        value: String::new(),
        message,
        remedy,
    }])
}

/// Takes lists apart: a JSON array, and `{kind: List, items: […]}`.
fn flatten(document: Value, objects: &mut Vec<Value>) {
    match document {
        Value::Null => {}
        Value::Array(items) => objects.extend(items),
        Value::Object(mut map) if is_list(&map) => {
            if let Some(Value::Array(items)) = map.remove("items") {
                objects.extend(items);
            }
        }
        other => objects.push(other),
    }
}

fn is_list(map: &Map<String, Value>) -> bool {
    map.get("items").is_some_and(Value::is_array)
        && map
            .keys()
            .all(|key| matches!(key.as_str(), "items" | "kind" | "apiVersion" | "metadata"))
        && map.get("kind").is_none_or(|kind| kind == "List")
}

/// Reads JSON texts, one after another; none when the input is not JSON.
///
/// YAML contains JSON but for escaped surrogate pairs, so this comes first and a failure is left
/// to the YAML reader, whose words fit both.
fn json(text: &str) -> Option<Vec<Value>> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    serde_json::Deserializer::from_str(text)
        .into_iter::<Unique>()
        .map(|item| item.ok().map(|unique| unique.0))
        .take(MAX_INPUT_OBJECTS + 1)
        .collect()
}

fn yaml(text: &str) -> Result<Vec<Value>, ConfigErrors> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_documents: MAX_INPUT_OBJECTS,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_recorded_anchor_events: MAX_ALIAS_EVENTS,
            max_recorded_anchor_bytes: MAX_INPUT_BYTES,
            max_merge_keys: MAX_ALIASES,
            max_total_scalar_bytes: 2 * MAX_INPUT_BYTES,
            max_events: MAX_INPUT_BYTES / 4,
            max_nodes: MAX_INPUT_BYTES / 4,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_ALIAS_EVENTS,
            max_replay_stack_depth: MAX_DEPTH,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options::<Unique>(text, options)
        .map(|documents| documents.into_iter().map(|unique| unique.0).collect())
        .map_err(|error| {
            let message = format!("the input is not readable: {}", error.without_snippet());
            whole(message, "correct the YAML or JSON there".to_owned())
        })
}

/// A JSON value whose mappings have no key twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("the key {key:?} stands here twice")));
            }
            let Unique(value) = entries.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
