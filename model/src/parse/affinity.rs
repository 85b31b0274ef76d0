//! Reads which requests go to the same endpoint.

use super::{
    header::{header_name, is_token},
    pattern::plain_path,
    reader::{Node, Read},
    scalar::{bounded, text, whole_seconds},
};
use crate::{
    limits::{MAX_COOKIE_TTL, MAX_TOKEN_BYTES},
    route::{Affinity, Cookie, SessionPersistence},
};

pub(super) fn affinity(node: &Node<'_>) -> Read<Affinity> {
    let fields = node.fields()?;
    let header = fields.optional("header", header_name);
    let cookie = fields.optional("cookie", cookie);
    let query = fields.optional("query", |node| bounded(node, 1, MAX_TOKEN_BYTES));
    fields.finish()?;
    match (header?, cookie?, query?) {
        (Some(header), None, None) => Ok(Affinity::Header(header)),
        (None, Some(cookie), None) => Ok(Affinity::Cookie(cookie)),
        (None, None, Some(query)) => Ok(Affinity::Query(query)),
        _ => Err(node.error(
            "has not exactly one of header, cookie and query",
            "write one of them, or leave affinity out: requests then go by their source address",
        )),
    }
}

pub(super) fn session_persistence(node: &Node<'_>) -> Read<SessionPersistence> {
    let fields = node.fields()?;
    let cookie = fields.optional("cookie", cookie);
    let header = fields.optional("header", header_name);
    fields.finish()?;
    match (cookie?, header?) {
        (Some(cookie), None) => Ok(SessionPersistence::Cookie(cookie)),
        (None, Some(header)) => Ok(SessionPersistence::Header(header)),
        _ => Err(node.error(
            "has not exactly one of cookie and header",
            "write one of them, such as {cookie: {name: session}}",
        )),
    }
}

fn cookie(node: &Node<'_>) -> Read<Cookie> {
    let fields = node.fields()?;
    let name = fields.required("name", "the name of the cookie", |node| {
        let text = text(node)?;
        if text.is_empty() || text.len() > MAX_TOKEN_BYTES || !text.bytes().all(is_token) {
            let remedy =
                format!("write 1 to {MAX_TOKEN_BYTES} letters, digits and !#$%&'*+-.^_`|~");
            return Err(node.error("is not the name of a cookie", remedy));
        }
        Ok(text.to_owned())
    });
    let ttl = fields.optional("ttl", |node| whole_seconds(node, MAX_COOKIE_TTL));
    let path = fields.or("path", "/".to_owned(), |node| {
        let path = plain_path(node)?;
        // It would end the attribute, and what follows would be another one.
        if path.contains(';') {
            return Err(node.error("holds a ;, which ends it within a cookie", "leave it out"));
        }
        Ok(path)
    });
    let known = fields.finish();
    let cookie = Cookie { name: name?, ttl: ttl?, path: path? };
    known.map(|()| cookie)
}
