//! Reads what a request must be like: path, method, headers, query parameters.

use super::{
    backend::unique,
    header::{header_name, header_value, is_token},
    pattern::{path_regex, plain_path, prefix, regex},
    reader::{Node, Read},
    scalar::{boolean, bounded, text},
};
use crate::{
    limits::{MAX_CONDITIONS, MAX_HEADER_VALUE_BYTES, MAX_TOKEN_BYTES},
    route::{HttpMatch, NamedMatch, PathMatch, ValueMatch},
};

/// The match of a rule that has none: every request.
pub(super) fn every_request() -> HttpMatch {
    HttpMatch {
        path: PathMatch::Prefix("/".to_owned()),
        method: None,
        headers: Vec::new(),
        query: Vec::new(),
    }
}

pub(super) fn http_match(node: &Node<'_>) -> Read<HttpMatch> {
    let fields = node.fields()?;
    let path = fields.or("path", every_request().path, path_match);
    let method = fields.optional("method", method);
    let headers = fields.or("headers", Vec::new(), |node| {
        conditions(node, |node| named_match(node, header_name, header_value))
    });
    let query = fields.or("query", Vec::new(), |node| {
        conditions(node, |node| named_match(node, parameter, parameter_value))
    });
    let known = fields.finish();
    let condition = HttpMatch { path: path?, method: method?, headers: headers?, query: query? };
    known.map(|()| condition)
}

fn path_match(node: &Node<'_>) -> Read<PathMatch> {
    let fields = node.fields()?;
    let exact = fields.optional("exact", plain_path);
    let prefix = fields.optional("prefix", prefix);
    let regex = fields.optional("regex", path_regex);
    fields.finish()?;
    match (exact?, prefix?, regex?) {
        (Some(path), None, None) => Ok(PathMatch::Exact(path)),
        (None, Some(path), None) => Ok(PathMatch::Prefix(path)),
        (None, None, Some(regex)) => Ok(PathMatch::Regex(regex)),
        _ => Err(node.error(
            "has not exactly one of exact, prefix and regex",
            "write one of them, such as {prefix: /cart}",
        )),
    }
}

pub(super) fn method(node: &Node<'_>) -> Read<String> {
    let text = text(node)?;
    if text == "CONNECT" {
        return Err(node.error("opens tunnels, which routes do not carry", "use a TCPRoute"));
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase()) {
        let remedy = format!("write {}", text.to_ascii_uppercase());
        return Err(node.error("is in lower case; methods are case-sensitive", remedy));
    }
    let valid = |b: u8| is_token(b) && !b.is_ascii_lowercase();
    if text.is_empty() || text.len() > MAX_TOKEN_BYTES || !text.bytes().all(valid) {
        return Err(node.error("is not a method", "write one such as GET or POST"));
    }
    Ok(text.to_owned())
}

pub(super) fn conditions(
    node: &Node<'_>,
    read: impl FnMut(&Node<'_>) -> Read<NamedMatch>,
) -> Read<Vec<NamedMatch>> {
    let items = node.items(0, MAX_CONDITIONS, read)?;
    let distinct = unique(node, &items, |condition| &condition.name);
    let conditions: Vec<NamedMatch> = items.into_iter().collect::<Read<_>>()?;
    distinct.map(|()| conditions)
}

pub(super) fn named_match(
    node: &Node<'_>,
    name: fn(&Node<'_>) -> Read<String>,
    value: fn(&Node<'_>) -> Read<String>,
) -> Read<NamedMatch> {
    let fields = node.fields()?;
    let name = fields.required("name", "the name that is looked at", name);
    let exact = fields.optional("exact", value);
    let regex = fields.optional("regex", regex);
    let present = fields.optional("present", boolean);
    fields.finish()?;
    let value = match (exact?, regex?, present?) {
        (Some(value), None, None) => ValueMatch::Exact(value),
        (None, Some(regex), None) => ValueMatch::Regex(regex),
        (None, None, Some(present)) => ValueMatch::Present(present),
        _ => {
            return Err(node.error(
                "has not exactly one of exact, regex and present",
                "write one of them, such as present: true",
            ));
        }
    };
    Ok(NamedMatch { name: name?, value })
}

fn parameter(node: &Node<'_>) -> Read<String> {
    bounded(node, 1, MAX_TOKEN_BYTES)
}

fn parameter_value(node: &Node<'_>) -> Read<String> {
    bounded(node, 0, MAX_HEADER_VALUE_BYTES)
}
