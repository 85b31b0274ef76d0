//! Clusters: how the endpoints of a service are reached. The endpoints themselves come by EDS, so
//! that a change of them touches neither connections nor routes; those that are found by name come
//! by DNS.

mod balancing;
mod breakers;
mod dns;
pub(super) mod health;
mod http;
mod outliers;
mod proxy_protocol;
pub(super) mod tls;

use std::time::Duration;

use model::{ObjectKey, Service, service::ProxyProtocol};

use super::{
    ResourceType, names,
    origin::Origin,
    pb::{self, cluster},
    resource::{Resource, ResourceId},
    version::Version,
};

/// How long a cluster waits for its endpoints before it counts as warm without any.
const ENDPOINTS_TIMEOUT: Duration = Duration::from_secs(15);

/// Makes the cluster of a service.
pub(super) fn cluster(key: &ObjectKey, service: &Service) -> Resource {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
    let name = names::plain(key);
    let connections = service.upstream.connections.as_ref();
    let mut message = cluster::Cluster {
        name: name.clone(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(pb::ads(ENDPOINTS_TIMEOUT)),
            ..Default::default()
        }),
        connect_timeout: Some(pb::duration(service.connect_timeout)),
        lb_policy: balancing::policy(service) as i32,
        lb_config: balancing::settings(service),
        common_lb_config: Some(balancing::common(service)),
        circuit_breakers: Some(breakers::limits(service.circuit_breakers.as_ref())),
        outlier_detection: service.outlier_detection.as_ref().map(outliers::detection),
        health_checks: health::checks(service),
        // One that is taken away goes, though its checks succeed.
        ignore_health_on_host_removal: service.is_checked_by_envoy(),
        close_connections_on_host_health_failure: connections
            .is_some_and(|connections| connections.close_on_unhealthy),
        typed_extension_protocol_options: http::options(service),
        upstream_connection_options: http::connection_options(service),
        transport_socket: match (&service.upstream.tls, service.proxy_protocol) {
            (Some(tls), _) => Some(tls::socket(key, service, tls)),
            (None, Some(ProxyProtocol::V2)) => Some(proxy_protocol::socket()),
            (None, None) => None,
        },
        ..Default::default()
    };
    let mut wants = Vec::new();
    match &service.dns {
        Some(dns) => dns::found_by_name(&mut message, service, dns),
        None => wants.push(ResourceId::new(ResourceType::Endpoints, name.as_str())),
    }
    wants.extend(service.upstream.tls.iter().flat_map(|tls| tls::wants(key, tls)));
    Resource {
        version: version(&name, service),
        body: pb::any(&message),
        clusters: Vec::new(),
        wants,
        name: name.into(),
        object: key.clone(),
        origins: origins(key),
    }
}

fn version(name: &str, service: &Service) -> std::sync::Arc<str> {
    let mut version = Version::of(ResourceType::Cluster)
        .part(&name)
        .part(&service.load_balancing)
        .part(&service.connect_timeout);
    // What is not asked for is no part, so that versions of before stay.
    if let Some(slow_start) = &service.slow_start {
        version.add(slow_start);
    }
    if let Some(proxy_protocol) = &service.proxy_protocol {
        version.add(proxy_protocol);
    }
    // Named, since some of these look the same.
    if service.balancing != Default::default() {
        version.add(&("balancing", &service.balancing));
    }
    if let Some(breakers) = &service.circuit_breakers {
        version.add(&("circuitBreakers", breakers));
    }
    if let Some(detection) = &service.outlier_detection {
        version.add(&("outlierDetection", detection));
    }
    if let Some(failover) = &service.failover {
        version.add(&("failover", failover));
    }
    if let Some(check) = service.health_check.as_ref().filter(|_| service.is_checked_by_envoy()) {
        version.add(&("healthCheck", check));
    }
    if let Some(protocol) = &service.upstream.protocol {
        version.add(&("protocol", protocol));
    }
    if let Some(connections) = &service.upstream.connections {
        version.add(&("connections", connections));
    }
    if let Some(tls) = &service.upstream.tls {
        version.add(&("tls", tls::without_files(tls)));
    }
    if let Some(dns) = &service.dns {
        version.add(&("dns", dns));
    }
    version.finish()
}

/// Which field each part came from, by the words with which Envoy refuses it.
fn origins(key: &ObjectKey) -> Vec<Origin> {
    let fields = [
        ("spec.connectTimeout", "ConnectTimeout"),
        ("spec.outlierDetection", "outlier detector"),
        ("spec.outlierDetection", "OutlierDetection"),
        ("spec.healthCheck", "health check"),
        ("spec.healthCheck", "HealthChecks"),
        ("spec.loadBalancing", "LbConfig"),
        ("spec.ringHash", "ring hash"),
        ("spec.maglev", "maglev"),
        ("spec.protocol", "ALPN"),
        ("spec.dns", "DNS"),
        ("spec.dns", "DnsRefreshRate"),
        ("spec.tls", "TLS"),
        ("spec.circuitBreakers", "CircuitBreakers"),
    ];
    fields
        .into_iter()
        .map(|(field, text)| Origin {
            object: key.clone(),
            field: field.into(),
            text: text.into(),
            route: None,
        })
        .collect()
}
