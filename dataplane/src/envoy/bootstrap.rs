//! The file that Envoy starts from: who it is, where it asks, and what protects it.

use std::{io, path::Path};

use runtime::durable;
use serde_json::{Value, json};

use super::overload;
use crate::{
    l7::{CHALLENGES_CLUSTER, QUOTAS_CLUSTER, XDS_CLUSTER},
    xds::INSTANCE_FIELD,
};

/// Windows of the stream that configuration comes by: a cold start's megabytes in one flight.
const XDS_STREAM_WINDOW: u32 = 16 * 1024 * 1024;
const XDS_CONNECTION_WINDOW: u32 = 32 * 1024 * 1024;
/// Envoy's own bound: streams of configuration are few.
const REQUESTS_MAX: u32 = 1_024;
/// Questions for answers to challenges, which anybody can have it ask; others go to the routes.
const CHALLENGES_MAX: u32 = 32;
/// Requests that wait for their limits; others pass, up to the ceiling.
const QUOTAS_MAX: u32 = 4_096;
/// The configuration server answers at once, on this host.
const XDS_CONNECT_TIMEOUT: &str = "1s";
/// Waits before Envoy connects again. Of its own accord it would wait up to 30 s, in which a data
/// plane that is back could tell it nothing.
const XDS_RETRY_FIRST: &str = "0.1s";
const XDS_RETRY_MOST: &str = "1s";

/// What differs between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap<'a> {
    /// The node's identity in Envoy's eyes.
    pub node: &'a str,
    /// The cluster's.
    pub cluster: &'a str,
    /// What tells this start of Envoy from all others.
    pub instance: &'a str,
    /// The configuration server's socket.
    pub xds_socket: &'a Path,
    /// Where Envoy makes the socket of its admin interface.
    pub admin_socket: &'a Path,
    /// The most memory that Envoy may allocate, in bytes, before it turns requests away.
    pub heap_bytes_max: u64,
}

impl Bootstrap<'_> {
    /// Returns the file's content.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let ads = json!({ "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s" });
        json!({
            "node": {
                "id": self.node,
                "cluster": self.cluster,
                "metadata": { INSTANCE_FIELD: self.instance },
            },
            "admin": {
                "address": { "pipe": { "path": self.admin_socket, "mode": 0o600 } },
                // Metrics, draining and handing over go on where clients hold all connections.
                "ignore_global_conn_limit": true,
            },
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "DELTA_GRPC",
                    "transport_api_version": "V3",
                    "set_node_on_first_message_only": true,
                    "grpc_services": [{ "envoy_grpc": {
                        "cluster_name": XDS_CLUSTER,
                        "retry_policy": { "retry_back_off": {
                            "base_interval": XDS_RETRY_FIRST, "max_interval": XDS_RETRY_MOST,
                        } },
                    } }],
                },
                "cds_config": ads,
                "lds_config": ads,
            },
            "static_resources": { "clusters": [
                self.cluster(XDS_CLUSTER, REQUESTS_MAX),
                self.cluster(CHALLENGES_CLUSTER, CHALLENGES_MAX),
                self.cluster(QUOTAS_CLUSTER, QUOTAS_MAX),
            ] },
            // The flush every 5 s stalls the main thread, which takes configuration.
            "stats_flush_on_admin": true,
            "deferred_stat_options": { "enable_deferred_creation_stats": true },
            "overload_manager": overload::manager(self.heap_bytes_max),
        })
    }

    /// Makes a cluster that is the data plane, with so many requests at a time.
    fn cluster(&self, name: &str, requests_max: u32) -> Value {
        let options = json!({
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {
                "initial_stream_window_size": XDS_STREAM_WINDOW,
                "initial_connection_window_size": XDS_CONNECTION_WINDOW,
            } },
        });
        json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": XDS_CONNECT_TIMEOUT,
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options,
            },
            "circuit_breakers": { "thresholds": [{ "max_requests": requests_max }] },
            "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{
                "endpoint": { "address": { "pipe": { "path": self.xds_socket } } },
            }] }] },
        })
    }

    /// Writes the file with mode 0600, whole or not at all.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        durable::replace_volatile(path, self.to_json().to_string().as_bytes(), 0o600)
    }
}
