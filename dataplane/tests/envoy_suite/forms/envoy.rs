//! An Envoy that subscribes in a given form, without a supervisor.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// How it subscribes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) delta: bool,
    pub(crate) aggregated: bool,
}

impl Form {
    /// The configuration source of a resource, in JSON.
    pub(crate) fn source(self) -> Value {
        let source = if self.aggregated {
            json!({ "ads": {} })
        } else {
            json!({ "api_config_source": self.api() })
        };
        let mut source = source;
        source["resource_api_version"] = "V3".into();
        source["initial_fetch_timeout"] = "0s".into();
        source
    }

    fn api(self) -> Value {
        json!({
            "api_type": if self.delta { "DELTA_GRPC" } else { "GRPC" },
            "transport_api_version": "V3",
            "set_node_on_first_message_only": true,
            "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds" } }],
        })
    }

    fn bootstrap(self, server: u16, directory: &std::path::Path) -> Value {
        let options = json!({
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        });
        let mut dynamic = json!({ "cds_config": self.source(), "lds_config": self.source() });
        if self.aggregated {
            dynamic["ads_config"] = self.api();
        }
        json!({
            "node": { "id": "a-client", "cluster": "test" },
            "admin": { "address": { "pipe": { "path": directory.join("admin.sock"), "mode": 0o600 } } },
            "dynamic_resources": dynamic,
            "static_resources": { "clusters": [{
                "name": "xds",
                "type": "STATIC",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options,
                },
                "load_assignment": { "cluster_name": "xds", "endpoints": [{ "lb_endpoints": [{
                    "endpoint": { "address": { "socket_address": {
                        "address": "127.0.0.1", "port_value": server,
                    } } },
                }] }] },
            }] },
        })
    }
}

/// The process, ended when this is dropped.
pub(crate) struct Envoy {
    child: Child,
    _directory: tempfile::TempDir,
}

impl Envoy {
    pub(crate) fn start(form: Form, server: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("envoy.json");
        std::fs::write(&path, form.bootstrap(server, directory.path()).to_string()).unwrap();
        let program = dataplane::envoy::find(None).unwrap().path;
        let child = Command::new(program)
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn", "-c"])
            .arg(&path)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, _directory: directory }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // One that has ended is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
