//! What runs for a request whose host has no scope: one with capitals, or of a wildcard host.
//!
//! 1. An `:authority` with capitals is lowered and the scope chosen again.
//! 2. Without a route, the scope of the listener's wildcard hosts is chosen, whose virtual hosts
//!    match the header [`HOST_HEADER`]. The true `:authority` is put back; the header goes.
//!
//! For a route that demands a token, its twin is sought in the same two ways, by a header that has the
//! name of the route.
//!
//! A script handle chooses a route only once (its metadata is cached), hence two filters.

use super::extension;
use crate::l7::pb::{self, core, lua, matcher, route};

/// The scope key of a listener's wildcard hosts; not a valid host, so no request has it.
pub(in crate::l7) const WILDCARDS_KEY: &str = "* wildcards";
/// The header by which the table of wildcard hosts is searched; it lives within the script only.
pub(in crate::l7) const HOST_HEADER: &str = "x-marchproxy-host";

/// The header by which the twin of a route is found; it lives within the scripts only.
const TWIN_HEADER: &str = "x-marchproxy-twin-of";

const LOWER_CASE: &str = r#"
function envoy_on_request(handle)
  local headers = handle:headers()
  local original = headers:get(":authority")
  if original == nil then return end
  local lower = string.lower(original)
  if lower == original then return end
  headers:replace(":authority", lower)
  handle:clearRouteCache()
  handle:metadata()
end
"#;

const WILDCARD: &str = r#"
function envoy_on_request(handle)
  if handle:streamInfo():routeName() ~= "" then return end
  local headers = handle:headers()
  local original = headers:get(":authority")
  if original == nil then return end
  headers:replace("x-marchproxy-host", original)
  headers:replace(":authority", "* wildcards")
  handle:clearRouteCache()
  handle:metadata()
  headers:replace(":authority", original)
  headers:remove("x-marchproxy-host")
end
"#;

const TWIN: &str = r#"
function envoy_on_request(handle)
  handle:headers():replace("x-marchproxy-twin-of", handle:streamInfo():routeName())
  handle:clearRouteCache()
  handle:metadata()
end
"#;

const TWIN_BY_WILDCARD: &str = r#"
function envoy_on_request(handle)
  local headers = handle:headers()
  if handle:streamInfo():routeName() == "" then
    local original = headers:get(":authority")
    headers:replace("x-marchproxy-host", original)
    headers:replace(":authority", "* wildcards")
    handle:clearRouteCache()
    handle:metadata()
    headers:replace(":authority", original)
    headers:remove("x-marchproxy-host")
  end
  headers:remove("x-marchproxy-twin-of")
end
"#;

/// Returns the filters that find the twin of a route.
pub(super) fn twins() -> [core::TypedExtensionConfig; 2] {
    [
        extension("marchproxy.twin_by_scope", &script(TWIN)),
        extension("marchproxy.twin_by_wildcard", &script(TWIN_BY_WILDCARD)),
    ]
}

/// Matches requests for which the twin of a route is sought.
pub(super) fn twin_of(route: &str) -> route::HeaderMatcher {
    use matcher::string_matcher::MatchPattern;
    use route::header_matcher::HeaderMatchSpecifier;
    let name = MatchPattern::Exact(route.to_owned());
    let name = matcher::StringMatcher { match_pattern: Some(name), ..Default::default() };
    route::HeaderMatcher {
        name: TWIN_HEADER.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(name)),
        ..Default::default()
    }
}

/// Returns the filters that find a route.
pub(super) fn filters() -> [core::TypedExtensionConfig; 2] {
    [
        extension("marchproxy.lower_case", &script(LOWER_CASE)),
        extension("marchproxy.wildcard", &script(WILDCARD)),
    ]
}

/// Makes the filter of a script.
pub(super) fn script(source: &str) -> lua::Lua {
    lua::Lua {
        default_source_code: Some(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(source.to_owned())),
            ..Default::default()
        }),
        // The script says itself when the route is to be chosen again.
        clear_route_cache: Some(pb::boolean(false)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_uses_the_names_that_the_tables_use() {
        for script in [WILDCARD, TWIN_BY_WILDCARD] {
            assert!(script.contains(&format!("{HOST_HEADER:?}")));
            assert!(script.contains(&format!("{WILDCARDS_KEY:?}")));
        }
        for script in [TWIN, TWIN_BY_WILDCARD] {
            assert!(script.contains(&format!("{TWIN_HEADER:?}")));
        }
    }
}
