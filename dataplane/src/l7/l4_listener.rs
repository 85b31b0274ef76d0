//! TCP and UDP through Envoy, for listeners that XDP does not carry.

use std::{sync::Arc, time::Duration};

use model::route::WeightedBackend;

use super::{
    names,
    pb::{self, access_log, kind, listener, tcp_proxy, udp_proxy, xds_core},
};

/// How long a connection or flow may be silent before it is forgotten. TCP: Envoy's own hour.
const TCP_IDLE_TIMEOUT: Duration = Duration::from_hours(1);
/// UDP flows have no end; a minute is Envoy's own.
const UDP_IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Endpoints tried for a connection before it is closed.
const CONNECT_ATTEMPTS: u32 = 3;

/// Returns the clusters that get traffic, with their shares.
pub(super) fn used(backends: &[WeightedBackend]) -> Vec<(Arc<str>, u32)> {
    backends
        .iter()
        .filter(|backend| backend.weight > 0)
        .map(|backend| (names::reference(&backend.service), backend.weight))
        .collect()
}

/// Makes the filter chain of a TCP listener.
pub(super) fn tcp_chain(
    name: &str,
    clusters: &[(Arc<str>, u32)],
    logs: Vec<access_log::AccessLog>,
) -> listener::FilterChain {
    use tcp_proxy::tcp_proxy::{
        ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight,
    };
    let specifier = match clusters {
        [(cluster, _)] => ClusterSpecifier::Cluster(cluster.to_string()),
        _ => ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: clusters
                .iter()
                .map(|(cluster, weight)| ClusterWeight {
                    name: cluster.to_string(),
                    weight: *weight,
                    ..Default::default()
                })
                .collect(),
        }),
    };
    let proxy = tcp_proxy::TcpProxy {
        stat_prefix: name.to_owned(),
        idle_timeout: Some(pb::duration(TCP_IDLE_TIMEOUT)),
        max_connect_attempts: Some(pb::uint32(CONNECT_ATTEMPTS)),
        hash_policy: vec![kind::HashPolicy {
            policy_specifier: Some(kind::hash_policy::PolicySpecifier::SourceIp(
                kind::hash_policy::SourceIp {},
            )),
        }],
        cluster_specifier: Some(specifier),
        access_log: logs,
        ..Default::default()
    };
    listener::FilterChain {
        filters: vec![listener::Filter {
            name: "envoy.filters.network.tcp_proxy".into(),
            config_type: Some(listener::filter::ConfigType::TypedConfig(pb::any(&proxy))),
        }],
        ..Default::default()
    }
}

/// Makes the listener filter of a UDP listener.
pub(super) fn udp_filter(name: &str, cluster: &str) -> listener::ListenerFilter {
    use udp_proxy::udp_proxy_config::{HashPolicy, RouteSpecifier, hash_policy::PolicySpecifier};
    let action = xds_core::TypedExtensionConfig {
        name: "route".into(),
        typed_config: Some(pb::any(&udp_proxy::Route { cluster: cluster.to_owned() })),
    };
    let proxy = udp_proxy::UdpProxyConfig {
        stat_prefix: name.to_owned(),
        idle_timeout: Some(pb::duration(UDP_IDLE_TIMEOUT)),
        hash_policies: vec![HashPolicy { policy_specifier: Some(PolicySpecifier::SourceIp(true)) }],
        route_specifier: Some(RouteSpecifier::Matcher(pb::always(action))),
        ..Default::default()
    };
    listener::ListenerFilter {
        name: "envoy.filters.udp_listener.udp_proxy".into(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(pb::any(&proxy))),
        ..Default::default()
    }
}
