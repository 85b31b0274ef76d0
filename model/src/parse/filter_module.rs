//! Reads the spec of a `FilterModule`.

use serde_json::Value;

use super::{
    rate_limit::target_refs,
    reader::{Fields, Node, Read},
    scalar::{boolean, bounded, text, whole, word},
};
use crate::{
    filter_module::{FilterModule, ModuleId, OnModuleFailure},
    limits::{
        DEFAULT_MODULE_MEMORY_MIB, MAX_MODULE_CONFIGURATION_BYTES, MAX_MODULE_MEMORY_MIB,
        MAX_MODULE_ORDER, MAX_ROOT_ID_BYTES,
    },
};

pub(super) fn filter_module(node: &Node<'_>, own_namespace: &str) -> Read<FilterModule> {
    let fields = node.fields()?;
    let target_refs = target_refs(&fields, own_namespace);
    let by_file = fields.optional("file", only_of_the_command_line);
    let sha256 = match by_file {
        // One mistake is told once.
        Err(reported) => fields.optional("sha256", sha256).and(Err(reported)),
        Ok(_) => fields.required("sha256", "what `marchproxy modules push FILE` prints", sha256),
    };
    let root_id = fields.or("rootId", String::new(), |node| bounded(node, 0, MAX_ROOT_ID_BYTES));
    let configuration = fields.or("configuration", Value::Null, configuration);
    let memory_limit_mib = fields.or("memoryLimitMib", DEFAULT_MODULE_MEMORY_MIB, |node| {
        whole(node, 1..=MAX_MODULE_MEMORY_MIB)
    });
    let order = fields.or("order", 0, |node| whole(node, 0..=MAX_MODULE_ORDER));
    let on_failure = on_failure(&fields);
    let known = fields.finish();
    let (on_failure, allow_unchecked) = on_failure?;
    let module = FilterModule {
        target_refs: target_refs?,
        sha256: sha256?,
        root_id: root_id?,
        configuration: configuration?,
        memory_limit_mib: memory_limit_mib?,
        order: order?,
        on_failure,
        allow_unchecked,
    };
    known.map(|()| module)
}

/// What `marchproxy apply` puts the module's hash in the place of.
fn only_of_the_command_line(node: &Node<'_>) -> Read<()> {
    let problem = "is a file of the caller's, which `marchproxy apply -f` uploads";
    Err(node.error(problem, "apply it so, or push the module and write its sha256"))
}

fn sha256(node: &Node<'_>) -> Read<ModuleId> {
    text(node)?.parse().map_err(|_| {
        let remedy =
            "write the 64 digits, in lower case, that `marchproxy modules push FILE` prints";
        node.error("is no SHA-256", remedy)
    })
}

fn configuration(node: &Node<'_>) -> Read<Value> {
    let length = match node.value() {
        Value::String(text) => text.len(),
        other => other.to_string().len(),
    };
    if length > MAX_MODULE_CONFIGURATION_BYTES {
        let message = format!("has {length} bytes");
        return Err(node.error(message, format!("write at most {MAX_MODULE_CONFIGURATION_BYTES}")));
    }
    Ok(node.value().clone())
}

/// Requests pass unchecked only when that is said twice.
fn on_failure(fields: &Fields<'_>) -> Read<(OnModuleFailure, bool)> {
    let words = [("Closed", OnModuleFailure::Closed), ("Open", OnModuleFailure::Open)];
    let wanted = fields.or("onFailure", OnModuleFailure::Closed, |node| word(node, &words));
    let confirmed = fields.or("allowUnchecked", false, boolean);
    let (wanted, confirmed) = (wanted?, confirmed?);
    match (wanted, confirmed) {
        (OnModuleFailure::Open, false) => {
            let problem = "lets requests pass unchecked while the module fails";
            let remedy = "confirm that by allowUnchecked: true beside it, or write Closed";
            Err(fields.error("onFailure", problem, remedy))
        }
        (OnModuleFailure::Closed, true) => {
            let remedy = "remove it, or write onFailure: Open";
            Err(fields.error("allowUnchecked", "confirms what is not asked for", remedy))
        }
        _ => Ok((wanted, confirmed)),
    }
}
