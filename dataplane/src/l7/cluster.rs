//! Clusters: how the endpoints of a service are reached. The endpoints themselves come by EDS, so
//! that a change of them touches neither connections nor routes.

use std::time::Duration;

use model::{
    ObjectKey, Service,
    service::{LoadBalancing, ProxyProtocol, SlowStart},
};

use super::{
    ResourceType, names,
    origin::Origin,
    pb::{self, cluster},
    resource::{Resource, ResourceId},
    version::Version,
};

/// Envoy's own limits (1,024 connections and requests, 3 retries) are for a sidecar; at an edge
/// they answer 503 under ordinary load. These only stop a runaway.
const CONNECTIONS_MAX: u32 = 100_000;
/// Retries in flight, in percent of the requests in flight, and how many are always allowed.
const RETRIES_PERCENT: f64 = 20.0;
const RETRIES_MIN: u32 = 10;
/// How long a cluster waits for its endpoints before it counts as warm without any.
const ENDPOINTS_TIMEOUT: Duration = Duration::from_secs(15);

/// Makes the cluster of a service.
pub(super) fn cluster(key: &ObjectKey, service: &Service) -> Resource {
    use cluster::cluster::{
        ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbPolicy,
    };
    let name = names::plain(key);
    let policy = match service.load_balancing {
        LoadBalancing::RoundRobin => LbPolicy::RoundRobin,
        LoadBalancing::LeastRequest => LbPolicy::LeastRequest,
        LoadBalancing::Random => LbPolicy::Random,
        LoadBalancing::Maglev => LbPolicy::Maglev,
    };
    let message = cluster::Cluster {
        name: name.clone(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(pb::ads(ENDPOINTS_TIMEOUT)),
            ..Default::default()
        }),
        connect_timeout: Some(pb::duration(service.connect_timeout)),
        lb_policy: policy as i32,
        lb_config: service.slow_start.and_then(|slow| starting_slowly(policy, slow)),
        circuit_breakers: Some(limits()),
        transport_socket: service.proxy_protocol.map(|ProxyProtocol::V2| telling_of_the_client()),
        common_lb_config: Some(CommonLbConfig {
            // Panic is decided where all probes are known; Envoy's own would begin at one half.
            healthy_panic_threshold: Some(pb::kind::Percent { value: 0.0 }),
            ..Default::default()
        }),
        ..Default::default()
    };
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
    Resource {
        version: version.finish(),
        body: pb::any(&message),
        clusters: Vec::new(),
        wants: vec![ResourceId::new(ResourceType::Endpoints, name.as_str())],
        name: name.into(),
        object: key.clone(),
        origins: vec![Origin {
            object: key.clone(),
            field: "spec.connectTimeout".into(),
            text: "ConnectTimeout".into(),
            route: None,
        }],
    }
}

/// Makes the settings of a policy that has slow start, which the model demands.
fn starting_slowly(
    policy: cluster::cluster::LbPolicy,
    slow: SlowStart,
) -> Option<cluster::cluster::LbConfig> {
    use cluster::cluster::{
        LbConfig, LbPolicy, LeastRequestLbConfig, RoundRobinLbConfig, SlowStartConfig,
    };
    let slow_start_config = Some(SlowStartConfig {
        slow_start_window: Some(pb::duration(slow.window)),
        aggression: Some(pb::core::RuntimeDouble {
            default_value: f64::from(slow.aggression_percent) / 100.0,
            // Envoy wants a name under which its runtime could override it; nothing does.
            runtime_key: "marchproxy.slow_start.aggression".into(),
        }),
        min_weight_percent: Some(pb::kind::Percent { value: slow.min_weight_percent.into() }),
    });
    match policy {
        LbPolicy::RoundRobin => {
            Some(LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config }))
        }
        LbPolicy::LeastRequest => Some(LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
            slow_start_config,
            ..Default::default()
        })),
        _ => None,
    }
}

/// Makes the socket that begins a connection with a PROXY header, version 2.
fn telling_of_the_client() -> pb::core::TransportSocket {
    use pb::{
        core::{
            ProxyProtocolConfig, TransportSocket, proxy_protocol_config,
            transport_socket::ConfigType,
        },
        proxy_protocol::ProxyProtocolUpstreamTransport,
        raw_buffer::RawBuffer,
    };
    let socket = |name: &str, config| TransportSocket {
        name: format!("envoy.transport_sockets.{name}"),
        config_type: Some(ConfigType::TypedConfig(config)),
    };
    let header = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig {
            version: proxy_protocol_config::Version::V2 as i32,
            ..Default::default()
        }),
        transport_socket: Some(socket("raw_buffer", pb::any(&RawBuffer {}))),
        ..Default::default()
    };
    socket("upstream_proxy_protocol", pb::any(&header))
}

fn limits() -> cluster::CircuitBreakers {
    use cluster::circuit_breakers::{Thresholds, thresholds::RetryBudget};
    cluster::CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: Some(pb::uint32(CONNECTIONS_MAX)),
            max_pending_requests: Some(pb::uint32(CONNECTIONS_MAX)),
            max_requests: Some(pb::uint32(CONNECTIONS_MAX)),
            retry_budget: Some(RetryBudget {
                budget_percent: Some(pb::kind::Percent { value: RETRIES_PERCENT }),
                min_retry_concurrency: Some(pb::uint32(RETRIES_MIN)),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    }
}
