//! Endpoints that Envoy finds by name.

use model::{
    Service,
    service::{Dns, DnsDiscovery, LookupFamily},
};

use super::{
    health,
    pb::{
        self, cares, cluster,
        cluster::cluster::{ClusterDiscoveryType, CustomClusterType},
        core,
        dns_cluster::DnsCluster,
        dns_lookup::DnsLookupFamily,
        endpoint,
    },
};

/// How long a server may take for its answer, doubled for each further try. While a new name is
/// resolved for the first time Envoy takes no other cluster, so silent servers must not be waited
/// for as long as c-ares does, which is half a minute.
const QUERY_TIMEOUT_SECONDS: u64 = 1;
const QUERY_TRIES: u32 = 2;

/// Makes a cluster find its endpoints by name.
pub(super) fn found_by_name(message: &mut cluster::Cluster, service: &Service, dns: &Dns) {
    let family = match dns.lookup_family {
        LookupFamily::V4Preferred => DnsLookupFamily::V4Preferred,
        // What Envoy calls automatic is IPv6, and IPv4 where there is none.
        LookupFamily::V6Preferred => DnsLookupFamily::Auto,
        LookupFamily::V4Only => DnsLookupFamily::V4Only,
        LookupFamily::V6Only => DnsLookupFamily::V6Only,
        LookupFamily::All => DnsLookupFamily::All,
    };
    let by_name = DnsCluster {
        dns_refresh_rate: Some(pb::duration(dns.refresh_interval)),
        respect_dns_ttl: dns.respect_ttl,
        typed_dns_resolver_config: Some(resolver(dns)),
        dns_lookup_family: family as i32,
        all_addresses_in_single_endpoint: dns.discovery == DnsDiscovery::Logical,
        ..Default::default()
    };
    message.cluster_discovery_type = Some(ClusterDiscoveryType::ClusterType(CustomClusterType {
        name: "envoy.cluster.dns".into(),
        typed_config: Some(pb::any(&by_name)),
    }));
    message.eds_cluster_config = None;
    message.load_assignment = Some(endpoint::ClusterLoadAssignment {
        cluster_name: message.name.clone(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![endpoint::LbEndpoint {
                host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
                    endpoint::Endpoint {
                        address: Some(pb::host_address(&dns.name, dns.port)),
                        health_check_config: health::of_endpoint(service, None),
                        ..Default::default()
                    },
                )),
                ..Default::default()
            }],
            ..Default::default()
        }],
        policy: super::super::endpoints::policy(service),
        ..Default::default()
    });
}

/// Makes a resolver that asks the servers named, or those of the node's `resolv.conf`.
fn resolver(dns: &Dns) -> core::TypedExtensionConfig {
    let address = |it: &std::net::SocketAddr| pb::socket_address(it.ip(), it.port(), true);
    let config = cares::CaresDnsResolverConfig {
        resolvers: dns.resolvers.iter().map(address).collect(),
        dns_resolver_options: (!dns.resolvers.is_empty()).then(|| core::DnsResolverOptions {
            no_default_search_domain: true,
            ..Default::default()
        }),
        query_timeout_seconds: Some(pb::uint64(QUERY_TIMEOUT_SECONDS)),
        query_tries: Some(pb::uint32(QUERY_TRIES)),
        ..Default::default()
    };
    core::TypedExtensionConfig {
        name: "envoy.network.dns_resolver.cares".into(),
        typed_config: Some(pb::any(&config)),
    }
}
