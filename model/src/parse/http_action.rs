//! Reads what happens to a request: forward, redirect or direct response.

use super::{
    backend::backends,
    header::{header_name, header_value},
    name::host,
    pattern::{plain_path, regex, target_path, whole_match},
    reader::{Fields, Node, Read},
    scalar::{port, status, text, word},
};
use crate::{
    limits::{MAX_BODY_BYTES, MAX_PATH_BYTES},
    route::{DirectResponse, HttpAction, Redirect, RegexRewrite, Rewrite},
};

const ACTIONS: [&str; 3] = ["backends", "redirect", "directResponse"];
/// Fields that say something about a forwarded request only.
const FORWARD_ONLY: [&str; 11] = [
    "rewrite",
    "timeout",
    "streamIdleTimeout",
    "maxStreamDuration",
    "grpcTimeoutHeaderMax",
    "retries",
    "requestHeaders",
    "mirrors",
    "affinity",
    "sessionPersistence",
    "cors",
];
const REDIRECT_STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
const DEFAULT_REDIRECT_STATUS: u16 = 302;

/// Reads the action from the fields of its rule.
pub(super) fn http_action(fields: &Fields<'_>, namespace: &str) -> Read<HttpAction> {
    let backends = fields.optional("backends", |node| backends(node, namespace));
    let rewrite = fields.optional("rewrite", rewrite);
    let redirect = fields.optional("redirect", redirect);
    let direct = fields.optional("directResponse", direct_response);
    let present: Vec<&str> = ACTIONS.into_iter().filter(|name| fields.has(name)).collect();
    match present[..] {
        ["backends"] => {}
        [action] => forward_only(fields, action)?,
        [] => {
            let remedy = "add backends, redirect or directResponse";
            return Err(fields.node().error("says not what happens to requests", remedy));
        }
        [_, second, ..] => {
            let message = format!("stands beside {}", present[0]);
            let remedy = "keep one of backends, redirect and directResponse";
            return Err(fields.error(second, message, remedy));
        }
    }
    match (backends?, redirect?, direct?) {
        (Some(backends), _, _) => Ok(HttpAction::Forward { backends, rewrite: rewrite? }),
        (_, Some(redirect), _) => Ok(HttpAction::Redirect(redirect)),
        (_, _, Some(direct)) => Ok(HttpAction::DirectResponse(direct)),
        (None, None, None) => unreachable!("one of the actions is present"),
    }
}

fn forward_only(fields: &Fields<'_>, action: &str) -> Read<()> {
    let mut outcome = Ok(());
    for name in FORWARD_ONLY.into_iter().filter(|name| fields.has(name)) {
        let message = format!("has no effect beside {action}");
        outcome = Err(fields.error(name, message, "remove it; it belongs to rules with backends"));
    }
    outcome
}

fn rewrite(node: &Node<'_>) -> Read<Rewrite> {
    let fields = node.fields()?;
    let path = fields.optional("path", plain_path);
    let host = fields.optional("host", host);
    let path_regex = fields.optional("pathRegex", path_regex);
    let host_from_header = fields.optional("hostFromHeader", header_name);
    for (one, other) in [("path", "pathRegex"), ("host", "hostFromHeader")] {
        if fields.has(one) && fields.has(other) {
            let message = format!("stands beside {one}");
            return Err(fields.error(other, message, "keep one of them"));
        }
    }
    fields.finish()?;
    let rewrite = Rewrite {
        path: path?,
        host: host?,
        path_regex: path_regex?,
        host_from_header: host_from_header?,
    };
    let path = rewrite.path.is_some() || rewrite.path_regex.is_some();
    if !path && rewrite.host.is_none() && rewrite.host_from_header.is_none() {
        return Err(node.error("changes nothing", "add path or host, or remove it"));
    }
    Ok(rewrite)
}

fn path_regex(node: &Node<'_>) -> Read<RegexRewrite> {
    let fields = node.fields()?;
    let pattern = fields.required("pattern", "a regular expression in RE2 syntax", regex);
    let substitution =
        fields.required("substitution", r"what replaces it, such as /v2/\1", |node| {
            let groups = pattern.as_ref().ok().and_then(|pattern| whole_match(pattern).ok());
            // One of them is the whole match.
            substitution(node, groups.map_or(9, |regex| regex.captures_len() - 1))
        });
    let known = fields.finish();
    let rewrite = RegexRewrite { pattern: pattern?, substitution: substitution? };
    known.map(|()| rewrite)
}

/// Reads what replaces a match: text with `\0` to `\9`, of which the expression has `groups`.
fn substitution(node: &Node<'_>, groups: usize) -> Read<String> {
    let text = header_value(node)?;
    let plain = |b: u8| b.is_ascii_graphic() && !b"?#".contains(&b);
    if text.len() > MAX_PATH_BYTES || !text.bytes().all(plain) {
        let remedy = "write printable ASCII without blanks, ? and #, percent-encoded";
        return Err(node.error("is not a part of a path", remedy));
    }
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            continue;
        }
        match bytes.next() {
            Some(digit @ b'0'..=b'9') if usize::from(digit - b'0') <= groups => {}
            Some(digit @ b'0'..=b'9') => {
                let message = format!("refers to group {}", char::from(digit));
                return Err(node.error(message, format!("the pattern has {groups} groups")));
            }
            _ => {
                let remedy = r"write \0 for the match, \1 to \9 for its groups";
                return Err(node.error(r"has a \ without a digit behind it", remedy));
            }
        }
    }
    Ok(text)
}

fn redirect(node: &Node<'_>) -> Read<Redirect> {
    let fields = node.fields()?;
    let scheme =
        fields.optional("scheme", |node| word(node, &[("http", "http"), ("https", "https")]));
    let host = fields.optional("host", host);
    let port = fields.optional("port", port);
    let path = fields.optional("path", target_path);
    let replace_prefix = fields.optional("replacePrefix", plain_path);
    if fields.has("path") && fields.has("replacePrefix") {
        return Err(fields.error("replacePrefix", "stands beside path", "keep one of them"));
    }
    let status = fields.or("status", DEFAULT_REDIRECT_STATUS, |node| {
        let status = status(node)?;
        if REDIRECT_STATUSES.contains(&status) {
            return Ok(status);
        }
        Err(node.error("is not a status that redirects", "write 301, 302, 303, 307 or 308"))
    });
    fields.finish()?;
    let redirect = Redirect {
        scheme: scheme?.map(str::to_owned),
        host: host?,
        port: port?,
        path: path?,
        status: status?,
        replace_prefix: replace_prefix?,
    };
    let changes = redirect.scheme.is_some()
        || redirect.host.is_some()
        || redirect.port.is_some()
        || redirect.path.is_some()
        || redirect.replace_prefix.is_some();
    if !changes {
        return Err(node.error("leads back to the same place", "add scheme, host, port or path"));
    }
    Ok(redirect)
}

fn direct_response(node: &Node<'_>) -> Read<DirectResponse> {
    let fields = node.fields()?;
    let status = fields.required("status", "the status, 200 to 599", status);
    let body = fields.or("body", String::new(), |node| {
        let body = text(node)?;
        if body.len() > MAX_BODY_BYTES {
            let message = format!("has {} bytes", body.len());
            return Err(node.error(message, format!("write at most {MAX_BODY_BYTES}")));
        }
        Ok(body.to_owned())
    });
    let bodiless = match (status, &body) {
        (Ok(status @ (204 | 205 | 304)), Ok(body)) if !body.is_empty() => {
            let message = format!("stands beside the status {status}, which has no body");
            Err(fields.error("body", message, "remove it or use another status"))
        }
        _ => Ok(()),
    };
    let known = fields.finish();
    let response = DirectResponse { status: status?, body: body? };
    bodiless.and(known).map(|()| response)
}
