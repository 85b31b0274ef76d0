//! Reads what happens to a request: forward, redirect or direct response.

use super::{
    backend::backends,
    name::host,
    pattern::{plain_path, target_path},
    reader::{Fields, Node, Read},
    scalar::{port, status, text, word},
};
use crate::{
    limits::MAX_BODY_BYTES,
    route::{DirectResponse, HttpAction, Redirect, Rewrite},
};

const ACTIONS: [&str; 3] = ["backends", "redirect", "directResponse"];
/// Fields that say something about a forwarded request only.
const FORWARD_ONLY: [&str; 4] = ["rewrite", "timeout", "retries", "requestHeaders"];
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
    fields.finish()?;
    let rewrite = Rewrite { path: path?, host: host? };
    if rewrite.path.is_none() && rewrite.host.is_none() {
        return Err(node.error("changes nothing", "add path or host, or remove it"));
    }
    Ok(rewrite)
}

fn redirect(node: &Node<'_>) -> Read<Redirect> {
    let fields = node.fields()?;
    let scheme =
        fields.optional("scheme", |node| word(node, &[("http", "http"), ("https", "https")]));
    let host = fields.optional("host", host);
    let port = fields.optional("port", port);
    let path = fields.optional("path", target_path);
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
    };
    let changes = redirect.scheme.is_some()
        || redirect.host.is_some()
        || redirect.port.is_some()
        || redirect.path.is_some();
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
