//! Reads names: of objects, namespaces, labels, hosts; and references to objects.

use super::{
    reader::{Node, Read},
    scalar::text,
};
use crate::{
    limits::{MAX_LABEL_BYTES, MAX_LABEL_KEY_BYTES, MAX_NAME_BYTES},
    route::Reference,
};

/// Reads the name of an object.
pub(crate) fn name(node: &Node<'_>) -> Read<String> {
    object_name(node, MAX_NAME_BYTES, b"-.", "lower-case letters, digits, - and .")
}

/// Reads a namespace.
pub(crate) fn namespace(node: &Node<'_>) -> Read<String> {
    object_name(node, MAX_LABEL_BYTES, b"-", "lower-case letters, digits and -")
}

fn object_name(node: &Node<'_>, most: usize, inner: &[u8], what: &str) -> Read<String> {
    let text = text(node)?;
    let remedy = format!("write 1 to {most} {what}, beginning and ending with a letter or digit");
    if text.is_empty() {
        return Err(node.error("is empty", remedy));
    }
    if text.len() > most {
        return Err(node.error(format!("has {} characters", text.len()), remedy));
    }
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = letter(bytes[0]) && letter(bytes[bytes.len() - 1]);
    if !ends || !bytes.iter().all(|b| letter(*b) || inner.contains(b)) {
        return Err(node.error("is not a valid name", remedy));
    }
    Ok(text.to_owned())
}

/// Tells whether `key` is a valid key of a label.
pub(crate) fn is_label_key(key: &str) -> bool {
    let bytes = key.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= MAX_LABEL_KEY_BYTES
        && bytes[0].is_ascii_alphanumeric()
        && bytes[bytes.len() - 1].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(b))
}

/// Reads `{name, namespace?}`; the namespace defaults to that of the referring object.
pub(crate) fn reference(node: &Node<'_>, own_namespace: &str) -> Read<Reference> {
    let fields = node.fields()?;
    let name = fields.required("name", "the name of the object", name);
    let namespace = fields.or("namespace", own_namespace.to_owned(), namespace);
    let known = fields.finish();
    let reference = Reference { namespace: namespace?, name: name? };
    known.map(|()| reference)
}

/// Reads a host of a route: `shop.example`, `*.shop.example` or `*`; in lower case.
pub(crate) fn host_pattern(node: &Node<'_>) -> Read<String> {
    let text = text(node)?;
    if text == "*" {
        return Ok(text.to_owned());
    }
    let rest = text.strip_prefix("*.").unwrap_or(text);
    if rest.contains('*') {
        let remedy = "write * only as the whole leftmost label, such as *.shop.example";
        return Err(node.error("has a wildcard in another place than the first label", remedy));
    }
    checked_host(node, text, rest)
}

/// Reads one host without wildcards; in lower case.
pub(crate) fn host(node: &Node<'_>) -> Read<String> {
    let text = text(node)?;
    if text.contains('*') {
        return Err(node.error("has a wildcard", "write one host, such as shop.example"));
    }
    checked_host(node, text, text)
}

fn checked_host(node: &Node<'_>, text: &str, labels: &str) -> Read<String> {
    let remedy = "write a host such as shop.example";
    if labels.is_empty() {
        return Err(node.error("is empty", remedy));
    }
    if text.contains("://") || text.contains('/') {
        return Err(node.error("is a URL or path, not a host", remedy));
    }
    if text.contains(':') {
        let remedy = "write the host alone; the port is the listener's";
        return Err(node.error("has a port or is an IPv6 address", remedy));
    }
    if !text.is_ascii() {
        let remedy = "write the ASCII form of the name (IDNA), such as xn--bcher-kva.example";
        return Err(node.error("is not ASCII", remedy));
    }
    if text.len() > MAX_NAME_BYTES {
        let remedy = format!("write at most {MAX_NAME_BYTES}");
        return Err(node.error(format!("has {} characters", text.len()), remedy));
    }
    if text.ends_with('.') {
        return Err(node.error("ends with a dot", "leave the last dot out"));
    }
    let valid = |label: &str| {
        !label.is_empty()
            && label.len() <= MAX_LABEL_BYTES
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    match labels.split('.').find(|label| !valid(label)) {
        Some("") => Err(node.error("has an empty label", remedy)),
        Some(label) => {
            let message = format!("has the label {label:?}");
            let remedy =
                format!("write labels of 1 to {MAX_LABEL_BYTES} letters, digits and inner hyphens");
            Err(node.error(message, remedy))
        }
        None => Ok(text.to_ascii_lowercase()),
    }
}
