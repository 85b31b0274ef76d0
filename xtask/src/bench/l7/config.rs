//! What an operator would write by hand for each proxy, with the same hosts and the same backend.

use std::net::SocketAddr;
use std::path::Path;

use lab::Certificate;
use serde_json::{Value, json};

/// What the configurations have in common.
pub(super) struct Common<'a> {
    pub(super) plain: SocketAddr,
    pub(super) secure: SocketAddr,
    pub(super) backend: SocketAddr,
    pub(super) certificate: &'a Certificate,
    pub(super) hosts: usize,
}

/// A host by its number.
pub(super) fn host(index: usize) -> String {
    format!("h{index}.bench.example")
}

/// Envoy's bootstrap.
pub(super) fn envoy(common: &Common<'_>, admin: &Path) -> Value {
    let extensions = "type.googleapis.com/envoy.extensions";
    let hosts: Vec<Value> = (0..common.hosts)
        .map(|index| {
            json!({
                "name": host(index), "domains": [host(index)],
                "routes": [{ "match": { "prefix": "/" },
                             "route": { "cluster": format!("s{index}"), "timeout": "0s" } }],
            })
        })
        .collect();
    let clusters: Vec<Value> = (0..common.hosts)
        .map(|index| {
            let name = format!("s{index}");
            let endpoint = json!({ "address": address(common.backend) });
            json!({
                "name": name, "type": "STATIC", "connect_timeout": "5s",
                "load_assignment": { "cluster_name": name,
                    "endpoints": [{ "lb_endpoints": [{ "endpoint": endpoint }] }] },
            })
        })
        .collect();
    // What a node's listeners do too: an edge's safe options, by Envoy's own advice for edges.
    let manager = json!({
        "@type": format!(
            "{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "route_config": { "name": "bench", "virtual_hosts": hosts },
        "common_http_protocol_options": { "headers_with_underscores_action": "DROP_HEADER" },
        "use_remote_address": true,
        "normalize_path": true,
        "strip_trailing_host_dot": true,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": "3600s",
        "request_headers_timeout": "30s",
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": {
            "@type": format!("{extensions}.filters.http.router.v3.Router"),
            "suppress_envoy_headers": true } }],
    });
    let chain = json!({ "filters": [{
        "name": "envoy.filters.network.http_connection_manager", "typed_config": manager }] });
    let mut secure = chain.clone();
    secure["transport_socket"] = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": format!("{extensions}.transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": { "tls_certificates": [{
                "certificate_chain": { "filename": common.certificate.certificate },
                "private_key": { "filename": common.certificate.key } }] },
        },
    });
    json!({
        "node": { "id": "bench", "cluster": "bench" },
        "admin": { "address": { "pipe": { "path": admin, "mode": 0o600 } } },
        "overload_manager": overload(),
        "static_resources": {
            "listeners": [
                { "name": "plain", "address": address(common.plain), "filter_chains": [chain] },
                { "name": "secure", "address": address(common.secure), "filter_chains": [secure] },
            ],
            "clusters": clusters,
        },
    })
}

/// What an Envoy at an edge gives up as its memory runs out, which it does not here.
fn overload() -> Value {
    let heap = "envoy.resource_monitors.fixed_heap";
    let kind =
        "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig";
    let action = |name: &str, share: f64| {
        json!({ "name": format!("envoy.overload_actions.{name}"),
                "triggers": [{ "name": heap, "threshold": { "value": share } }] })
    };
    json!({
        "refresh_interval": "0.25s",
        "resource_monitors": [{ "name": heap, "typed_config": {
            "@type": kind, "max_heap_size_bytes": 8_u64 << 30 } }],
        "buffer_factory_config": { "minimum_account_to_track_power_of_two": 20 },
        "actions": [action("shrink_heap", 0.90), action("disable_http_keepalive", 0.90),
                    action("stop_accepting_requests", 0.95)],
    })
}

fn address(at: SocketAddr) -> Value {
    json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } })
}

/// nginx as a reverse proxy.
pub(super) fn nginx(common: &Common<'_>, folder: &Path) -> String {
    let names: Vec<String> = (0..common.hosts).map(host).collect();
    nginx_with(
        folder,
        &format!(
            "upstream backend {{ server {}; keepalive 128; keepalive_requests 1000000; }}\n\
             server_names_hash_max_size 65536;\n\
             server {{\n  listen {};\n  listen {} ssl;\n  server_name {};\n  ssl_certificate {};\n  \
             ssl_certificate_key {};\n  location / {{\n    proxy_pass http://backend;\n    \
             proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n    \
             proxy_set_header Host $host;\n  }}\n}}\n",
            common.backend,
            common.plain,
            common.secure,
            names.join(" "),
            common.certificate.certificate.display(),
            common.certificate.key.display()
        ),
    )
}

/// nginx as the backend: a kilobyte for every request.
pub(super) fn backend(at: SocketAddr, folder: &Path) -> String {
    let body = "x".repeat(1024);
    nginx_with(
        folder,
        &format!("server {{ listen {at}; location / {{ return 200 \"{body}\"; }} }}\n"),
    )
}

fn nginx_with(folder: &Path, http: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\naccess_log off;\nkeepalive_requests 100000000;\n\
         client_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/fastcgi;\nuwsgi_temp_path {folder}/uwsgi;\n\
         scgi_temp_path {folder}/scgi;\n{http}}}\n"
    )
}

/// haproxy; `pem` holds certificate and key.
pub(super) fn haproxy(common: &Common<'_>, pem: &Path) -> String {
    let hosts: String = (0..common.hosts)
        .map(|index| format!("  acl known hdr(host) -i {}\n", host(index)))
        .collect();
    format!(
        "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 5s\n  \
         timeout client 60s\n  timeout server 60s\n  http-reuse always\nfrontend web\n  bind {}\n  \
         bind {} ssl crt {}\n{hosts}  use_backend backend if known\nbackend backend\n  server one {}\n",
        common.plain,
        common.secure,
        pem.display(),
        common.backend
    )
}
