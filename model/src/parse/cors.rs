//! Reads which scripts of other origins may read answers.

use super::{
    backend::unique,
    header::header_name,
    http_match::method,
    name::host_pattern,
    pattern::{regex, whole_match},
    reader::{Fields, Node, Read},
    scalar::{boolean, text, whole_seconds},
};
use crate::{
    limits::{MAX_CONDITIONS, MAX_COOKIE_TTL, MAX_ORIGINS},
    route::{Cors, HttpMatch},
};

/// An origin that nobody has (RFC 2606): an expression that takes it takes any.
const NOBODYS_ORIGIN: &str = "https://marchproxy.invalid";

pub(super) fn cors(node: &Node<'_>) -> Read<Cors> {
    let fields = node.fields()?;
    let list = |name, most, read: fn(&Node<'_>) -> Read<String>| {
        fields.or(name, Vec::new(), |node| {
            let items = node.items(0, most, read)?;
            let distinct = unique(node, &items, |item| item);
            let items: Vec<String> = items.into_iter().collect::<Read<_>>()?;
            distinct.map(|()| items)
        })
    };
    let allow_origins = list("allowOrigins", MAX_ORIGINS, origin);
    let allow_origin_regexes = list("allowOriginRegexes", MAX_ORIGINS, regex);
    let allow_methods = list("allowMethods", MAX_CONDITIONS, |node| or_any(node, method));
    let allow_headers = list("allowHeaders", MAX_CONDITIONS, |node| or_any(node, header_name));
    let expose_headers = list("exposeHeaders", MAX_CONDITIONS, |node| or_any(node, header_name));
    let allow_credentials = fields.or("allowCredentials", false, boolean);
    let max_age = fields.optional("maxAge", |node| whole_seconds(node, MAX_COOKIE_TTL));
    let known = fields.finish();
    let cors = Cors {
        allow_origins: allow_origins?,
        allow_origin_regexes: allow_origin_regexes?,
        allow_methods: allow_methods?,
        allow_headers: allow_headers?,
        expose_headers: expose_headers?,
        allow_credentials: allow_credentials?,
        max_age: max_age?,
    };
    known?;
    if cors.allow_origins.is_empty() && cors.allow_origin_regexes.is_empty() {
        let remedy = "add allowOrigins, such as [https://shop.example]";
        return Err(node.error("allows no origin", remedy));
    }
    for (name, values) in [
        ("allowMethods", &cors.allow_methods),
        ("allowHeaders", &cors.allow_headers),
        ("exposeHeaders", &cors.expose_headers),
    ] {
        if values.len() > 1 && values.iter().any(|value| value == "*") {
            return Err(fields.error(name, "has * beside others", "keep * or the others"));
        }
    }
    if cors.allow_credentials {
        credentials_fit(&fields, &cors)?;
    }
    Ok(cors)
}

/// Any origin with credentials would let every site act as the user of this one.
fn credentials_fit(fields: &Fields<'_>, cors: &Cors) -> Read<()> {
    let remedy = "name the origins, or remove allowCredentials";
    if cors.allow_origins.iter().any(|origin| origin == "*") {
        return Err(fields.error("allowOrigins", "is any origin, with credentials", remedy));
    }
    let takes_any = |expression: &String| {
        whole_match(expression).is_ok_and(|regex| regex.is_match(NOBODYS_ORIGIN)) //
    };
    if cors.allow_origin_regexes.iter().any(takes_any) {
        return Err(fields.error(
            "allowOriginRegexes",
            "takes any origin, with credentials",
            remedy,
        ));
    }
    if cors.expose_headers.iter().any(|name| name == "*") {
        let message = "is *, which browsers take for a name when there are credentials";
        return Err(fields.error("exposeHeaders", message, "name the headers"));
    }
    Ok(())
}

/// Refuses a policy whose preflights do not reach the rule.
pub(super) fn reached_by_preflights(fields: &Fields<'_>, matches: &[HttpMatch]) -> Read<()> {
    let without = |m: &HttpMatch| m.method.as_deref().is_some_and(|method| method != "OPTIONS");
    if fields.has("cors") && matches.iter().any(without) {
        let message = "stands in a rule with a method, whose preflights (OPTIONS) go elsewhere";
        return Err(fields.error("cors", message, "match without method"));
    }
    Ok(())
}

fn or_any(node: &Node<'_>, read: fn(&Node<'_>) -> Read<String>) -> Read<String> {
    if node.value() == "*" { Ok("*".to_owned()) } else { read(node) }
}

fn origin(node: &Node<'_>) -> Read<String> {
    let text = text(node)?;
    if text == "*" {
        return Ok(text.to_owned());
    }
    let remedy = "write one such as https://shop.example, https://*.shop.example or *";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(node.error("is not an origin, which begins with a scheme", remedy));
    };
    if !matches!(scheme, "http" | "https") {
        return Err(node.error("has a scheme other than http and https", remedy));
    }
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    let port_is_good = port.is_none_or(|port| {
        port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port)
    });
    if !port_is_good {
        return Err(node.error("has no port behind the colon", remedy));
    }
    let host = node.with_text(host, host_pattern)?;
    if host == "*" {
        return Err(node.error("is any host of a scheme", "write * or name the hosts"));
    }
    Ok(match port {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}
