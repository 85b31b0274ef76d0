//! A reader of the part of JSON Schema that `schemas.yaml` uses. It refuses keywords that it does
//! not know, so the schemas cannot say more than is checked.

use serde_json::Value;

const KNOWN: [&str; 15] = [
    "$ref",
    "additionalProperties",
    "description",
    "enum",
    "items",
    "maxLength",
    "maximum",
    "minLength",
    "minimum",
    "oneOf",
    "pattern",
    "properties",
    "required",
    "type",
    "const",
];

/// Tells everything in which a value differs from a schema of the document.
pub(super) fn differences(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    check(document, schema, value, "$", &mut out);
    out
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, out: &mut Vec<String>) {
    let schema = resolve(document, schema);
    let Some(keywords) = schema.as_object() else {
        out.push(format!("{at}: no schema"));
        return;
    };
    for keyword in keywords.keys().filter(|keyword| !KNOWN.contains(&keyword.as_str())) {
        out.push(format!("{at}: unknown keyword {keyword}"));
    }
    if let Some(kind) = schema["type"].as_str()
        && !is(kind, value)
    {
        out.push(format!("{at}: {value} is not of type {kind}"));
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        out.push(format!("{at}: {value} is none of {allowed:?}"));
    }
    if let Some(options) = schema["oneOf"].as_array() {
        let fitting =
            options.iter().filter(|option| differences(document, option, value).is_empty()).count();
        if fitting != 1 {
            out.push(format!("{at}: {value} fits {fitting} of {} schemas", options.len()));
        }
    }
    if let (Some(minimum), Some(number)) = (schema["minimum"].as_u64(), value.as_u64())
        && number < minimum
    {
        out.push(format!("{at}: {number} is below {minimum}"));
    }
    if let (Some(maximum), Some(number)) = (schema["maximum"].as_u64(), value.as_u64())
        && number > maximum
    {
        out.push(format!("{at}: {number} is above {maximum}"));
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (index, value) in values.iter().enumerate() {
            check(document, items, value, &format!("{at}[{index}]"), out);
        }
    }
    if let Some(fields) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                out.push(format!("{at}: {name} is missing"));
            }
        }
        for (name, value) in fields {
            let below = format!("{at}.{name}");
            match (&schema["properties"][name], schema.get("additionalProperties")) {
                (Value::Null, Some(Value::Bool(false))) => out.push(format!("{below}: unknown")),
                (Value::Null, Some(schema @ Value::Object(_))) => {
                    check(document, schema, value, &below, out);
                }
                (Value::Null, _) => {}
                (schema, _) => check(document, schema, value, &below, out),
            }
        }
    }
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            let place = reference.strip_prefix('#').expect("references stay in the document");
            let target = document.pointer(place);
            resolve(document, target.unwrap_or_else(|| panic!("{reference} leads nowhere")))
        }
        None => schema,
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        other => panic!("type {other} is not used by the schemas"),
    }
}

#[test]
fn the_reader_finds_planted_differences() {
    use serde_json::json;
    let document = json!({"s": {"type": "object", "additionalProperties": false,
        "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 1},
        "b": {"oneOf": [{"type": "string", "enum": ["x"]}, {"type": "null"}]}}}});
    let check = |value: Value, expected: usize| {
        let found = differences(&document, &json!({"$ref": "#/s"}), &value);
        assert_eq!(found.len(), expected, "{value}: {found:?}");
    };
    check(json!({"a": 1}), 0);
    check(json!({"a": 1, "b": null}), 0);
    check(json!({"a": 1, "b": "x"}), 0);
    check(json!({"a": 1, "b": "y"}), 1);
    check(json!({"a": 0}), 1);
    check(json!({}), 1);
    check(json!({"a": "1"}), 1);
    check(json!({"a": 1, "c": 1}), 1);
    check(json!([]), 1);
}
