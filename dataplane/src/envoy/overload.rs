//! How Envoy protects itself and its host: what it gives up, in which order, as its memory runs out.
//!
//! ```text
//! 85 % to 95 %  idle connections are closed sooner, down to 2 s
//! 90 %          memory that is free goes back to the kernel
//! 90 %          connections are closed after their answer
//! 92 % to 98 %  requests that hold the most memory are reset, the largest first
//! 95 %          new requests are answered by 503
//! 98 %          connections wait in the kernel
//! ```

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use serde_json::{Value, json};

/// The share of the memory that Envoy may allocate: the rest is the other processes'.
const SHARE: (u64, u64) = (3, 4);
/// Assumed where the kernel does not tell its memory.
const FALLBACK: u64 = 1 << 30;
/// Connections of clients; each needs a few descriptors and tens of kilobytes.
const CONNECTIONS_MAX: u32 = 200_000;
/// Requests that hold less, as a power of two, are never reset: a connection's own buffers.
const HELD_MIN_LOG2: u32 = 20;
const HEAP: &str = "envoy.resource_monitors.fixed_heap";
/// What it does about it, as counted and as told.
pub(super) const ACTIONS: [(&str, &str); 6] = [
    ("envoy.overload_actions.reduce_timeouts", "reduce_timeouts"),
    ("envoy.overload_actions.shrink_heap", "shrink_heap"),
    ("envoy.overload_actions.disable_http_keepalive", "disable_keepalive"),
    ("envoy.overload_actions.reset_high_memory_stream", "reset_streams"),
    ("envoy.overload_actions.stop_accepting_requests", "stop_requests"),
    ("envoy.overload_actions.stop_accepting_connections", "stop_connections"),
];

/// Finds the action that a counter is of.
pub(super) fn action(counter: &str) -> Option<usize> {
    ACTIONS.iter().position(|(name, _)| {
        counter.strip_prefix("overload.").is_some_and(|counter| counter.starts_with(name))
    })
}

/// Makes the overload manager of the bootstrap.
pub(super) fn manager(heap_bytes_max: u64) -> Value {
    let monitors = "type.googleapis.com/envoy.extensions.resource_monitors";
    let at = |share: f64| json!([{ "name": HEAP, "threshold": { "value": share } }]);
    let between = |from: f64, to: f64| {
        let scaled = json!({ "scaling_threshold": from, "saturation_threshold": to });
        json!([{ "name": HEAP, "scaled": scaled }])
    };
    let idle = json!({
        "@type": "type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
        "timer_scale_factors": [
            { "timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "2s" },
        ],
    });
    let triggers =
        [between(0.85, 0.95), at(0.90), at(0.90), between(0.92, 0.98), at(0.95), at(0.98)];
    let mut actions: Vec<Value> = ACTIONS
        .iter()
        .zip(triggers)
        .map(|((name, _), triggers)| json!({ "name": name, "triggers": triggers }))
        .collect();
    actions[0]["typed_config"] = idle;
    json!({
        "refresh_interval": "0.25s",
        "resource_monitors": [
            { "name": HEAP, "typed_config": {
                "@type": format!("{monitors}.fixed_heap.v3.FixedHeapConfig"),
                "max_heap_size_bytes": heap_bytes_max,
            } },
            { "name": "envoy.resource_monitors.global_downstream_max_connections",
              "typed_config": {
                "@type": format!("{monitors}.downstream_connections.v3.DownstreamConnectionsConfig"),
                "max_active_downstream_connections": CONNECTIONS_MAX,
            } },
        ],
        "buffer_factory_config": { "minimum_account_to_track_power_of_two": HELD_MIN_LOG2 },
        "actions": actions,
    })
}

/// Returns the most memory that Envoy may allocate where nothing is said: three quarters of the
/// host's, or of what the control groups around this process leave it, in bytes.
pub(super) fn default_memory() -> u64 {
    let host = fs::read_to_string("/proc/meminfo").ok().and_then(|text| host_memory(&text));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_memory(Path::new("/sys/fs/cgroup"), &own);
    let there = host.into_iter().chain(group).min();
    there.map_or(FALLBACK, |bytes| bytes / SHARE.1 * SHARE.0)
}

fn host_memory(meminfo: &str) -> Option<u64> {
    let kilobytes = |line: &str| {
        line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    Some(meminfo.lines().find_map(kilobytes)? * 1024)
}

/// Returns the lowest bound of a control group and of those around it (cgroup v2, `memory.max`).
fn group_memory(root: &Path, own: &str) -> Option<u64> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let names = Path::new(path).components().filter(|it| matches!(it, Component::Normal(_)));
    let mut group: PathBuf = root.to_owned();
    let mut least = None;
    for name in [None].into_iter().chain(names.map(Some)) {
        group.extend(name);
        let bound = fs::read_to_string(group.join("memory.max")).ok();
        let bound = bound.and_then(|text| text.trim().parse::<u64>().ok());
        least = least.into_iter().chain(bound).min();
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_that_there_is_is_the_hosts_or_the_least_of_the_groups() {
        assert_eq!(host_memory("MemFree: 5 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
        assert_eq!(host_memory("nothing"), None);
        let root = tempfile::tempdir().unwrap();
        let write = |group: &str, bound: &str| {
            let group = root.path().join(group);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join("memory.max"), bound).unwrap();
        };
        write("system.slice", "4096\n");
        write("system.slice/marchproxy.service", "max\n");
        write("user.slice", "max\n");
        let bound = |own: &str| group_memory(root.path(), own);
        assert_eq!(bound("0::/system.slice/marchproxy.service\n"), Some(4096));
        assert_eq!(bound("0::/system.slice/gone\n"), Some(4096));
        assert_eq!(bound("1:memory:/a\n0::/user.slice\n"), None);
        assert_eq!(bound("0::/\n"), None);
        assert_eq!(bound("1:memory:/a\n"), None);
        assert!(default_memory() > 0);
    }
}
