//! Modules (Wasm), each in machines of its own, one on each worker.
//!
//! **Invariants.** A request passes no module unseen that is to see it: one whose file is not there is
//! answered by 503. No module moves a request to another route, with other policies: when it changes a
//! header Envoy chooses the route again, and where that is another one the answer is 503. A module opens
//! no connections, which would lead to all that Envoy reaches.

use std::{path::Path, time::Duration};

use model::filter_module::{FilterModule, ModuleFile, OnModuleFailure};

use super::{MODULES, Module, api_keys::quoted, extension, miss};
use crate::l7::{
    names,
    pb::{self, Any, core, plugin, wasm},
};

const RUNTIME: &str = "envoy.wasm.runtime.v8";
/// How long requests wait, refused, for a machine in place of one that failed: short, so that one request
/// that fails costs others little; many that fail cost a new machine each this often.
const RELOAD_AFTER: Duration = Duration::from_millis(100);

/// What a module may ask for (proxy-wasm ABI 0.2.1): all but connections, queues between modules, calls
/// of functions that Envoy alone has, another choice of the route, and to let headers go on that it had wait:
/// Envoy would pass over what keeps the request on its route.
const ASKS: [&str; 28] = [
    "add_header_map_value",
    "close_stream",
    "define_metric",
    "done",
    "get_buffer_bytes",
    "get_buffer_status",
    "get_configuration",
    "get_current_time_nanoseconds",
    "get_header_map_pairs",
    "get_header_map_size",
    "get_header_map_value",
    "get_log_level",
    "get_metric",
    "get_property",
    "get_shared_data",
    "get_status",
    "increment_metric",
    "log",
    "record_metric",
    "remove_header_map_value",
    "replace_header_map_value",
    "send_local_response",
    "set_buffer_bytes",
    "set_effective_context",
    "set_header_map_pairs",
    "set_property",
    "set_shared_data",
    "set_tick_period_milliseconds",
];
/// What it may be told.
const TOLD: [&str; 22] = [
    "context_create",
    "configure",
    "delete",
    "done",
    "downstream_connection_close",
    "downstream_data",
    "log",
    "memory_allocate",
    "new_connection",
    "request_body",
    "request_headers",
    "request_metadata",
    "request_trailers",
    "response_body",
    "response_headers",
    "response_metadata",
    "response_trailers",
    "tick",
    "upstream_connection_close",
    "upstream_data",
    "validate_configuration",
    "vm_start",
];
/// What programs are begun with, and what is left to them of a system (WASI).
const SYSTEM: [&str; 18] = [
    "_initialize",
    "_start",
    "args_get",
    "args_sizes_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_close",
    "fd_fdstat_get",
    "fd_read",
    "fd_seek",
    "fd_write",
    "main",
    "malloc",
    "proc_exit",
    "random_get",
    "sched_yield",
    "__wasm_call_ctors",
];

/// Answers for a module that is not there.
const MISSING: &str = r#"
function envoy_on_request(handle)
  handle:respond({[":status"] = "503"}, "a module is not there yet\n")
end
"#;

/// Chooses the route again, by its host, after a module has had Envoy forget it.
const AGAIN: &str = r#"
function envoy_on_request(handle)
  if handle:streamInfo():routeName() == "" then handle:metadata() end
end
"#;

/// Chooses it by wildcard hosts, if need be, and lets nothing by that is another one.
const SAME: &str = r#"
function envoy_on_request(handle)
  if handle:streamInfo():routeName() == "" then
    local headers = handle:headers()
    local original = headers:get(":authority")
    if original ~= nil then
      headers:replace("x-marchproxy-host", original)
      headers:replace(":authority", "* wildcards")
      handle:clearRouteCache()
      handle:metadata()
      headers:replace(":authority", original)
      headers:remove("x-marchproxy-host")
    end
  end
  if handle:streamInfo():routeName() ~= route then
    handle:respond({[":status"] = "503"}, "a module moved the request to another route\n")
  end
end
"#;

/// What the filters are made of beside a module's fields.
pub(super) const SCRIPTS: [&str; 3] = [MISSING, AGAIN, SAME];

/// Makes the chains of the modules of a route, each with what keeps the request on it. Of more than there are
/// places for, none is passed over: nothing passes.
pub(super) fn chains(
    modules: &[Module<'_>],
    route: &str,
    directory: &Path,
) -> Vec<Vec<core::TypedExtensionConfig>> {
    if modules.len() > MODULES.len() {
        return vec![vec![missing()]];
    }
    let same = format!("local route = {}\n{SAME}", quoted(route));
    let chain = |module: &Module<'_>| {
        vec![
            filter(module, directory),
            extension("marchproxy.route_again", &miss::script(AGAIN)),
            extension("marchproxy.same_route", &miss::script(&same)),
        ]
    };
    modules.iter().map(chain).collect()
}

/// Answers in place of a module.
fn missing() -> core::TypedExtensionConfig {
    extension("marchproxy.module_missing", &miss::script(MISSING))
}

fn filter(module: &Module<'_>, directory: &Path) -> core::TypedExtensionConfig {
    if !module.is_there {
        return missing();
    }
    let name = names::plain(module.key);
    let filter = wasm::Wasm { config: Some(configured(name, module.wanted, directory)) };
    extension("marchproxy.module", &filter)
}

fn configured(name: String, wanted: &FilterModule, directory: &Path) -> plugin::PluginConfig {
    let reload = plugin::ReloadConfig {
        backoff: Some(core::BackoffStrategy {
            base_interval: Some(pb::duration(RELOAD_AFTER)),
            max_interval: Some(pb::duration(RELOAD_AFTER)),
        }),
    };
    let (policy, reload_config) = match wanted.on_failure {
        OnModuleFailure::Closed => (plugin::FailurePolicy::FailReload, Some(reload)),
        OnModuleFailure::Open => (plugin::FailurePolicy::FailOpen, None),
    };
    #[expect(deprecated, reason = "Envoy 1.39 does not know the field of the machine yet")]
    plugin::PluginConfig {
        capability_restriction_config: Some(plugin::CapabilityRestrictionConfig {
            allowed_capabilities: capabilities().map(|name| (name, Default::default())).collect(),
        }),
        root_id: wanted.root_id.clone(),
        configuration: Some(text(wanted.configuration_text())),
        failure_policy: policy as i32,
        reload_config,
        vm: Some(plugin::plugin_config::Vm::VmConfig(machine(&name, wanted.file(), directory))),
        name,
        ..Default::default()
    }
}

/// Of its own for each object, so that none sees what another keeps.
fn machine(name: &str, file: ModuleFile, directory: &Path) -> plugin::VmConfig {
    let path = crate::modules::path(directory, file).display().to_string();
    let local = core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path)),
        ..Default::default()
    };
    plugin::VmConfig {
        vm_id: name.to_owned(),
        runtime: RUNTIME.to_owned(),
        code: Some(core::AsyncDataSource {
            specifier: Some(core::async_data_source::Specifier::Local(local)),
        }),
        ..Default::default()
    }
}

fn capabilities() -> impl Iterator<Item = String> {
    let asks = ASKS.iter().map(|name| format!("proxy_{name}"));
    let told = TOLD.iter().map(|name| format!("proxy_on_{name}"));
    asks.chain(told).chain(SYSTEM.iter().map(|name| (*name).to_owned()))
}

fn text(value: String) -> Any {
    pb::any(&pb::StringValue { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_may_not_reach_out() {
        let allowed: Vec<_> = capabilities().collect();
        let reaching = |name: &String| {
            ["http", "grpc", "queue", "foreign", "route", "continue"]
                .iter()
                .any(|part| name.contains(part))
        };
        let reaching: Vec<_> = allowed.iter().filter(|name| reaching(name)).collect();
        assert!(reaching.is_empty(), "{reaching:?}");
    }

    #[test]
    fn the_script_uses_the_names_that_the_tables_use() {
        assert!(SAME.contains(&format!("{:?}", miss::HOST_HEADER)));
        assert!(SAME.contains(&format!("{:?}", miss::WILDCARDS_KEY)));
    }
}
