//! What runs for a request whose host has no scope: one with capitals, or of a wildcard host.
//!
//! 1. An `:authority` with capitals is lowered and the scope chosen again.
//! 2. Without a route, the scope of the listener's wildcard hosts is chosen, whose virtual hosts
//!    match the header [`HOST_HEADER`]. The true `:authority` is put back; the header goes.
//!
//! A script handle chooses a route only once (its metadata is cached), hence two filters.

use super::extension;
use crate::l7::pb::{self, core, lua};

/// The scope key of a listener's wildcard hosts; not a valid host, so no request has it.
pub(in crate::l7) const WILDCARDS_KEY: &str = "* wildcards";
/// The header by which the table of wildcard hosts is searched; it lives within the script only.
pub(in crate::l7) const HOST_HEADER: &str = "x-marchproxy-host";

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
        assert!(WILDCARD.contains(&format!("{HOST_HEADER:?}")));
        assert!(WILDCARD.contains(&format!("{WILDCARDS_KEY:?}")));
    }
}
