//! Reads header names and values, and edits of headers.

use super::{
    backend::unique,
    reader::{Node, Read, Reported},
    scalar::text,
};
use crate::{
    limits::{MAX_CONDITIONS, MAX_HEADER_VALUE_BYTES, MAX_TOKEN_BYTES},
    route::{HeaderEdits, HeaderValue},
};

/// Headers of one connection, which a proxy never forwards (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads the name of a header, in any case; in lower case.
pub(super) fn header_name(node: &Node<'_>) -> Read<String> {
    let text = text(node)?;
    if text.starts_with(':') {
        let remedy = "match the path, method and hosts by their own fields";
        return Err(node.error("is a pseudo-header", remedy));
    }
    if text.eq_ignore_ascii_case("host") {
        return Err(node.error("is the host", "use the hosts of the route or rewrite.host"));
    }
    if text.is_empty() || text.len() > MAX_TOKEN_BYTES || !text.bytes().all(is_token) {
        let remedy = format!("write 1 to {MAX_TOKEN_BYTES} letters, digits and !#$%&'*+-.^_`|~");
        return Err(node.error("is not a header name", remedy));
    }
    Ok(text.to_ascii_lowercase())
}

/// Headers whose values are secrets, which no log shows.
const SECRET: [&str; 6] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-marchproxy-key",
];

/// Reads the name of a header that a log shows.
pub(super) fn logged_name(node: &Node<'_>) -> Read<String> {
    let name = header_name(node)?;
    if SECRET.contains(&name.as_str()) {
        return Err(node.error("is a header with secrets", "leave it out of logs"));
    }
    // Others would end the command that shows the header.
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        let remedy = "show headers whose names are letters, digits, - and _";
        return Err(node.error("cannot stand in a log's format", remedy));
    }
    Ok(name)
}

/// A `tchar` of RFC 9110, section 5.6.2.
pub(super) fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

pub(super) fn edited_name(node: &Node<'_>) -> Read<String> {
    let name = header_name(node)?;
    if HOP_BY_HOP.contains(&name.as_str()) {
        let message = "is a hop-by-hop header, which belongs to one connection";
        return Err(node.error(message, "leave it to the proxy"));
    }
    if name == "content-length" {
        return Err(node.error("is counted by the proxy", "leave it to the proxy"));
    }
    Ok(name)
}

/// Reads a header value to be written or matched exactly.
pub(super) fn header_value(node: &Node<'_>) -> Read<String> {
    let text = text(node)?;
    let remedy = "write one line of printable text";
    if text.len() > MAX_HEADER_VALUE_BYTES {
        let message = format!("has {} bytes", text.len());
        return Err(node.error(message, format!("write at most {MAX_HEADER_VALUE_BYTES}")));
    }
    if text.contains(['\r', '\n', '\0']) {
        return Err(node.error("holds a line break or NUL", remedy));
    }
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(node.error("holds a control character", remedy));
    }
    if text.trim() != text {
        return Err(node.error("begins or ends with white space, which is not sent", remedy));
    }
    Ok(text.to_owned())
}

/// Reads edits of headers. A name stands in one of the lists, once.
pub(super) fn header_edits(node: &Node<'_>) -> Read<HeaderEdits> {
    let fields = node.fields()?;
    let mut names: Vec<String> = Vec::new();
    let mut set_or_add = |node: &Node<'_>| {
        let items = node.items(0, MAX_CONDITIONS, header)?;
        let mut outcome = Ok(());
        for (index, header) in items.iter().enumerate() {
            let Ok(header) = header else { continue };
            if names.contains(&header.name) {
                outcome = Err(node.at_item(index, edited_twice));
            }
            names.push(header.name.clone());
        }
        let headers: Vec<HeaderValue> = items.into_iter().collect::<Read<_>>()?;
        outcome.map(|()| headers)
    };
    let set = fields.or("set", Vec::new(), &mut set_or_add);
    let add = fields.or("add", Vec::new(), &mut set_or_add);
    let remove = fields.or("remove", Vec::new(), |node| {
        let items = node.items(0, MAX_CONDITIONS, edited_name)?;
        let mut outcome = unique(node, &items, |name| name);
        for (index, name) in items.iter().enumerate() {
            if name.as_ref().is_ok_and(|name| names.contains(name)) {
                outcome = Err(node.at_item(index, edited_twice));
            }
        }
        let remove: Vec<String> = items.into_iter().collect::<Read<_>>()?;
        outcome.map(|()| remove)
    });
    let known = fields.finish();
    let edits = HeaderEdits { set: set?, add: add?, remove: remove? };
    known.map(|()| edits)
}

fn edited_twice(node: &Node<'_>) -> Reported {
    node.error("edits a header that is edited before", "keep one edit for each header")
}

fn header(node: &Node<'_>) -> Read<HeaderValue> {
    let fields = node.fields()?;
    let name = fields.required("name", "the name of the header", edited_name);
    let value = fields.required("value", "the value of the header", |node| {
        let value = header_value(node)?;
        if value.is_empty() {
            return Err(node.error("is empty", "write a value, or list the name under remove"));
        }
        Ok(value)
    });
    let known = fields.finish();
    let header = HeaderValue { name: name?, value: value? };
    known.map(|()| header)
}
