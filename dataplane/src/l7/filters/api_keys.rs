//! API keys. Envoy's own filter for them wants the keys themselves in its configuration, and so in
//! ours, which keeps no secrets. So a script makes a user name and a password of a key, and the
//! filter for those looks them up in a file of hashes on the node.
//!
//! **Invariant.** Nothing that a client sends in [`HEADER`] is believed or goes further, and a key
//! goes to the service only when the policy says so.

use std::fmt::Write as _;

use model::auth_policy::{ApiKeys, TokenPlace};

use super::{extension, miss, removal};
use crate::l7::pb::{basic_auth, core};

/// Where the script puts what it made; it lives between the filters only.
const HEADER: &str = "x-marchproxy-key";
pub(super) const SCRIPT: &str = include_str!("api_keys.lua");

/// Makes the filters that demand a client's key.
pub(super) fn filters(wanted: &ApiKeys) -> [core::TypedExtensionConfig; 3] {
    let script = format!("{}{SCRIPT}", settings(wanted));
    let users = core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(wanted.keys_file.clone())),
        ..Default::default()
    };
    let users = basic_auth::BasicAuth {
        users: Some(users),
        forward_username_header: wanted.client_header.clone().unwrap_or_default(),
        authentication_header: HEADER.to_owned(),
        ..Default::default()
    };
    [
        extension("marchproxy.key", &miss::script(&script)),
        extension("marchproxy.keys", &users),
        removal::filter("marchproxy.key_removed", [HEADER]),
    ]
}

/// Writes what the script is to do.
fn settings(wanted: &ApiKeys) -> String {
    let mut text = format!("local keeps = {}\nlocal places = {{\n", wanted.forward);
    for place in &wanted.from {
        let (kind, name, prefix) = match place {
            TokenPlace::Header(header) => ("header", &header.name, header.prefix.as_str()),
            TokenPlace::Query(name) => ("query", name, ""),
            TokenPlace::Cookie(name) => ("cookie", name, ""),
        };
        let (name, prefix) = (quoted(name), quoted(prefix));
        let _ = writeln!(text, "  {{ kind = \"{kind}\", name = {name}, prefix = {prefix} }},");
    }
    text + "}\n"
}

/// Writes text as Lua does, each byte by its number, so that none has a meaning.
pub(super) fn quoted(text: &str) -> String {
    let bytes: String = text.bytes().map(|byte| format!("\\{byte:03}")).collect();
    format!("\"{bytes}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_uses_the_header_that_the_filters_use() {
        assert_eq!(SCRIPT.matches(&format!("{HEADER:?}")).count(), 2);
    }

    #[test]
    fn no_text_leaves_its_quotes() {
        assert_eq!(quoted("a\"\n"), "\"\\097\\034\\010\"");
    }
}
