//! Reads `metadata`: name, namespace and labels.

use std::collections::BTreeMap;

use super::{
    name::{is_label_key, name, namespace},
    reader::{Node, Read},
    scalar::bounded,
};
use crate::{
    key::DEFAULT_NAMESPACE,
    limits::{MAX_LABEL_KEY_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS},
    object::Metadata,
};

pub(super) fn metadata(node: &Node<'_>) -> Read<Metadata> {
    let fields = node.fields()?;
    let name = fields.required("name", "a name, unique for its kind and namespace", name);
    let namespace = fields.or("namespace", DEFAULT_NAMESPACE.to_owned(), namespace);
    let labels = fields.or("labels", BTreeMap::new(), labels);
    let known = fields.finish();
    let metadata = Metadata { name: name?, namespace: namespace?, labels: labels? };
    known.map(|()| metadata)
}

fn labels(node: &Node<'_>) -> Read<BTreeMap<String, String>> {
    let labels = node.entries(|key, node| {
        let value = bounded(node, 0, MAX_LABEL_VALUE_BYTES);
        if !is_label_key(key) {
            let remedy = format!(
                "write 1 to {MAX_LABEL_KEY_BYTES} letters, digits, -, _, . and /, beginning and \
                 ending with a letter or digit"
            );
            return Err(node.error("has an invalid label key", remedy));
        }
        Ok((key.to_owned(), value?))
    })?;
    if labels.len() > MAX_LABELS {
        let message = format!("has {} labels", labels.len());
        return Err(node.error(message, format!("give at most {MAX_LABELS}")));
    }
    Ok(labels.into_iter().collect())
}
