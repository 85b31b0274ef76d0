//! Header edits, as Envoy's header options.

use model::route::{HeaderEdits, HeaderValue};

use super::{pb::core, table::Sink};

/// Translates headers that are set or added; `field` is the path of the edits in the object.
pub(super) fn options(
    edits: &HeaderEdits,
    field: &str,
    sink: &mut Sink<'_>,
) -> Vec<core::HeaderValueOption> {
    use core::header_value_option::HeaderAppendAction;
    let mut options = Vec::with_capacity(edits.set.len() + edits.add.len());
    let parts = [
        (&edits.set, "set", HeaderAppendAction::OverwriteIfExistsOrAdd),
        (&edits.add, "add", HeaderAppendAction::AppendIfExistsOrAdd),
    ];
    for (headers, part, action) in parts {
        for (i, header) in headers.iter().enumerate() {
            sink.origin(format!("{field}.{part}[{i}].name"), &header.name);
            sink.origin(format!("{field}.{part}[{i}].value"), &header.value);
            options.push(option(header, action));
        }
    }
    options
}

/// Translates headers that are removed; `field` is the path of the edits in the object.
pub(super) fn removed(edits: &HeaderEdits, field: &str, sink: &mut Sink<'_>) -> Vec<String> {
    for (i, name) in edits.remove.iter().enumerate() {
        sink.origin(format!("{field}.remove[{i}]"), name);
    }
    edits.remove.clone()
}

fn option(
    header: &HeaderValue,
    action: core::header_value_option::HeaderAppendAction,
) -> core::HeaderValueOption {
    core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: header.name.clone(),
            value: literal(&header.value),
            ..Default::default()
        }),
        append_action: action as i32,
        keep_empty_value: true,
        ..Default::default()
    }
}

/// Escapes what Envoy would take for a command (`%START_TIME%`): values are literal.
pub(super) fn literal(value: &str) -> String {
    value.replace('%', "%%")
}
