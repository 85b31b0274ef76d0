//! The HTTP filters of a listener: the script for hosts without a scope, then the router.
//!
//! The script is off in every route table (`FilterConfig.disabled`), and Envoy makes filters after
//! it chose the route. So it costs nothing where a scope was found, and runs where none was:
//!
//! 1. An `:authority` with capitals is lowered and the scope chosen again.
//! 2. Without a route, the scope of the listener's wildcard hosts is chosen, whose virtual hosts
//!    match the header [`HOST_HEADER`]. The true `:authority` is put back; the header goes.
//!
//! A script handle chooses a route only once (its metadata is cached), hence two filters. They
//! share one name, and thereby the one entry that turns them off.

use super::pb::{self, core, hcm, lua, router};

/// The name of the filters for hosts without a scope.
pub(super) const MISS_FILTER: &str = "marchproxy.miss";
/// The scope key of a listener's wildcard hosts; not a valid host, so no request has it.
pub(super) const WILDCARDS_KEY: &str = "* wildcards";
/// The header by which the table of wildcard hosts is searched; it lives within the script only.
pub(super) const HOST_HEADER: &str = "x-marchproxy-host";

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

/// Returns the filters of every HTTP listener.
pub(super) fn filters() -> Vec<hcm::HttpFilter> {
    let router = router::Router { suppress_envoy_headers: true, ..Default::default() };
    vec![
        filter(MISS_FILTER, pb::any(&script(LOWER_CASE))),
        filter(MISS_FILTER, pb::any(&script(WILDCARD))),
        filter("envoy.filters.http.router", pb::any(&router)),
    ]
}

fn filter(name: &str, config: pb::Any) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn script(source: &str) -> lua::Lua {
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
