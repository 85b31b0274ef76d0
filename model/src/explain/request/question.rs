//! The question about a request, and what is read from it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{
    limits::{MAX_HEADER_VALUE_BYTES, MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_TOKEN_BYTES},
    revision::Revision,
};

/// The headers of a question; more than browsers send.
const HEADERS_MAX: usize = 100;
/// The client of a question that names none: an address of the first block for documentation.
const SOMEBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Headers of one connection, which no proxy hands on; what they would do is not asked about.
const OF_CONNECTION: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "content-length",
];

/// A header of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestHeader {
    /// The name; letter case does not matter.
    pub name: String,
    /// The value.
    pub value: String,
}

/// The question: a request as a client would send it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestQuestion {
    /// `http://host[:port]/path?query`, or with `https`.
    pub url: String,
    /// GET when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Its headers; `host` stands in for the URL's host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<RequestHeader>,
    /// Who sends it; 192.0.2.1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// The listener that it comes to, `name` or `namespace/name`; found by address and port when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The address and port that it comes to; any address, with the URL's port, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<SocketAddr>,
    /// The kept revision to ask; the present one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
}

/// Tells why a question is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value:?}: {reason}")]
pub struct InvalidRequest {
    /// Which field.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong with it, and what to write.
    pub reason: &'static str,
}

impl RequestQuestion {
    /// Checks it.
    ///
    /// # Errors
    /// Returns the first field that does not do.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        Asked::of(self).map(drop)
    }
}

/// Where the request goes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// By the listener of this name.
    Named(String),
    /// By a port, of one address or any.
    Port(Option<IpAddr>, u16),
}

/// A question that does, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) is_https: bool,
    pub(super) door: Door,
    /// The host as the client sends it, perhaps with a port.
    pub(super) authority: String,
    /// The path with its query.
    pub(super) target: String,
    pub(super) method: String,
    /// Names in lower case, without `host`.
    pub(super) headers: Vec<RequestHeader>,
    pub(super) client: IpAddr,
}

impl Asked {
    pub(super) fn of(question: &RequestQuestion) -> Result<Self, InvalidRequest> {
        let url = |reason| wrong("url", &question.url, reason);
        let (scheme, rest) = question
            .url
            .split_once("://")
            .ok_or_else(|| url("write http://host/path or https://host/path"))?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(url("the scheme is neither http nor https")),
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let target = match target.as_bytes().first() {
            Some(b'/') => target.to_owned(),
            _ => format!("/{target}"),
        };
        check_target(&target).map_err(url)?;
        let port = check_authority(authority).map_err(url)?;
        let port = port.unwrap_or(if is_https { 443 } else { 80 });
        let door = match (&question.listener, question.to) {
            (Some(name), Some(_)) => {
                return Err(wrong("listener", name, "stands beside to; keep one of them"));
            }
            (Some(name), None) => Door::Named(name.clone()),
            (None, Some(to)) => Door::Port(Some(to.ip()), to.port()),
            (None, None) => Door::Port(authority_ip(authority), port),
        };
        let method = question.method.clone().unwrap_or_else(|| "GET".to_owned());
        if !is_token(&method) || method == "CONNECT" {
            return Err(wrong("method", &method, "write a method such as GET, not CONNECT"));
        }
        let (headers, host) = headers(&question.headers)?;
        Ok(Self {
            is_https,
            door,
            authority: host.unwrap_or_else(|| authority.to_owned()),
            target,
            method,
            headers,
            client: question.client.unwrap_or(SOMEBODY),
        })
    }
}

fn wrong(field: &'static str, value: &str, reason: &'static str) -> InvalidRequest {
    InvalidRequest { field, value: value.to_owned(), reason }
}

/// Takes the host out of the headers.
fn headers(
    given: &[RequestHeader],
) -> Result<(Vec<RequestHeader>, Option<String>), InvalidRequest> {
    if given.len() > HEADERS_MAX {
        let count = given.len().to_string();
        return Err(wrong("headers", &count, "are too many; give at most 100"));
    }
    let mut host = None;
    let mut headers = Vec::with_capacity(given.len());
    for header in given {
        let name = header.name.to_ascii_lowercase();
        let value = header.value.trim_matches([' ', '\t']);
        if !is_token(&name) || name.len() > MAX_TOKEN_BYTES {
            return Err(wrong("headers", &header.name, "is no name of a header"));
        }
        if OF_CONNECTION.contains(&name.as_str()) {
            let reason = "belongs to one connection and is not handed on; leave it out";
            return Err(wrong("headers", &name, reason));
        }
        let plain = |b: u8| b == b'\t' || (b >= b' ' && b != 0x7f);
        if value.len() > MAX_HEADER_VALUE_BYTES || !value.bytes().all(plain) {
            return Err(wrong("headers", &header.value, "is not one line of at most 4096 bytes"));
        }
        if name != "host" {
            headers.push(RequestHeader { name, value: value.to_owned() });
            continue;
        }
        check_authority(value).map_err(|reason| wrong("headers", value, reason))?;
        if host.replace(value.to_owned()).is_some() {
            return Err(wrong("headers", value, "is a second host; give one"));
        }
    }
    Ok((headers, host))
}

/// Checks a path with its query: what a client may send, percent-encoded.
fn check_target(target: &str) -> Result<(), &'static str> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if target.len() > 2 * MAX_PATH_BYTES {
        return Err("the path is too long");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&b);
    if !path.bytes().all(plain) {
        return Err("write the path percent-encoded, without a fragment, as clients send it");
    }
    let hexadecimal =
        |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    if !path.split('%').skip(1).all(hexadecimal) {
        return Err("the path has a % without two hexadecimal digits; write %25 for a %");
    }
    if query.bytes().any(|b| !b.is_ascii_graphic() || b == b'#') {
        return Err("write the query percent-encoded, without a fragment");
    }
    Ok(())
}

/// Checks a host that a port may follow; returns the port.
fn check_authority(authority: &str) -> Result<Option<u16>, &'static str> {
    let (host, port) = split_port(authority);
    if host.is_empty() || host.len() > MAX_NAME_BYTES + 1 {
        return Err("names no host, or one of more than 253 characters");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~*:[]".contains(&b);
    if !host.bytes().all(plain) {
        return Err("the host has other characters than letters, digits, - and .");
    }
    let Some(port) = port else { return Ok(None) };
    match port.parse() {
        Ok(port @ 1..) => Ok(Some(port)),
        _ => Err("the port is none; write 1 to 65535"),
    }
}

/// Splits a host from the port behind it; the colons of `[::1]` are the host's.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Returns the address that a URL names in place of a host.
fn authority_ip(authority: &str) -> Option<IpAddr> {
    split_port(authority).0.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Tells whether it is a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.len() <= MAX_TOKEN_BYTES && text.bytes().all(token)
}
