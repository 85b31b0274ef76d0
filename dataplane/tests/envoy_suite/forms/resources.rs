//! One listener, its routes, and the cluster of a step.

use dataplane::l7::{
    Resource, ResourceId,
    ResourceType::{self, Cluster, Endpoints, Listener, Route},
    World,
};
use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3 as cluster,
            core::v3::{
                self as core, address::Address::SocketAddress,
                config_source::ConfigSourceSpecifier, socket_address::PortSpecifier,
            },
            endpoint::v3 as endpoint,
            listener::v3 as listener,
            route::v3 as route,
        },
        extensions::filters::{
            http::router::v3::Router, network::http_connection_manager::v3 as hcm,
        },
    },
    google::protobuf::{Any, Duration},
};
use model::{Kind, ObjectKey, Revision};
use prost::Name;

use super::envoy::Form;

/// The header that tells which step answered.
pub(crate) const STEP: &str = "x-step";

const ROUTES: &str = "routes";

/// The world of a step: its route goes to a cluster of that step, the only one.
pub(crate) fn world(form: Form, port: u16, backend: u16, step: usize) -> World {
    let name = format!("c{step}");
    let id = |kind: ResourceType, name: &str| ResourceId::new(kind, name);
    World::of_resources(
        Revision(step as u64 + 1),
        [
            (Cluster, resource(&name, 0, &eds_cluster(form, &name), &[], &[id(Endpoints, &name)])),
            (Endpoints, resource(&name, 0, &assignment(&name, backend), &[], &[])),
            (Listener, resource("web", 0, &web(form, port), &[], &[id(Route, ROUTES)])),
            (Route, resource(ROUTES, step, &routes(&name, step), &[&name], &[])),
        ],
    )
}

fn any<M: Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

fn resource(
    name: &str,
    version: usize,
    message: &impl Name,
    clusters: &[&str],
    wants: &[ResourceId],
) -> Resource {
    Resource {
        name: name.into(),
        version: version.to_string().into(),
        body: any(message),
        clusters: clusters.iter().map(|cluster| (*cluster).into()).collect(),
        wants: wants.to_vec(),
        object: ObjectKey::new(Kind::Service, "default", "none"),
        origins: Vec::new(),
    }
}

fn source(form: Form) -> core::ConfigSource {
    let specifier = if form.aggregated {
        ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {})
    } else {
        use core::{
            api_config_source::ApiType,
            grpc_service::{EnvoyGrpc, TargetSpecifier},
        };
        ConfigSourceSpecifier::ApiConfigSource(core::ApiConfigSource {
            api_type: if form.delta { ApiType::DeltaGrpc } else { ApiType::Grpc } as i32,
            transport_api_version: core::ApiVersion::V3 as i32,
            set_node_on_first_message_only: true,
            grpc_services: vec![core::GrpcService {
                target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                    cluster_name: "xds".into(),
                    ..Default::default()
                })),
                ..Default::default()
            }],
            ..Default::default()
        })
    };
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3 as i32,
        initial_fetch_timeout: Some(Duration::default()),
        config_source_specifier: Some(specifier),
        ..Default::default()
    }
}

fn address(port: u16) -> core::Address {
    core::Address {
        address: Some(SocketAddress(core::SocketAddress {
            address: "127.0.0.1".into(),
            port_specifier: Some(PortSpecifier::PortValue(port.into())),
            ..Default::default()
        })),
    }
}

fn eds_cluster(form: Form, name: &str) -> cluster::Cluster {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
    cluster::Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(source(form)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn assignment(name: &str, port: u16) -> endpoint::ClusterLoadAssignment {
    use endpoint::lb_endpoint::HostIdentifier;
    endpoint::ClusterLoadAssignment {
        cluster_name: name.into(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![endpoint::LbEndpoint {
                host_identifier: Some(HostIdentifier::Endpoint(endpoint::Endpoint {
                    address: Some(address(port)),
                    ..Default::default()
                })),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn web(form: Form, port: u16) -> listener::Listener {
    use hcm::http_connection_manager::RouteSpecifier;
    let manager = hcm::HttpConnectionManager {
        stat_prefix: "web".into(),
        http_filters: vec![hcm::HttpFilter {
            name: "envoy.filters.http.router".into(),
            config_type: Some(hcm::http_filter::ConfigType::TypedConfig(any(&Router::default()))),
            ..Default::default()
        }],
        route_specifier: Some(RouteSpecifier::Rds(hcm::Rds {
            route_config_name: ROUTES.into(),
            config_source: Some(source(form)),
        })),
        ..Default::default()
    };
    listener::Listener {
        name: "web".into(),
        address: Some(address(port)),
        filter_chains: vec![listener::FilterChain {
            filters: vec![listener::Filter {
                name: "envoy.filters.network.http_connection_manager".into(),
                config_type: Some(listener::filter::ConfigType::TypedConfig(any(&manager))),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn routes(cluster: &str, step: usize) -> route::RouteConfiguration {
    use route::{route::Action, route_action::ClusterSpecifier, route_match::PathSpecifier};
    route::RouteConfiguration {
        name: ROUTES.into(),
        response_headers_to_add: vec![core::HeaderValueOption {
            header: Some(core::HeaderValue {
                key: STEP.into(),
                value: step.to_string(),
                ..Default::default()
            }),
            ..Default::default()
        }],
        virtual_hosts: vec![route::VirtualHost {
            name: "all".into(),
            domains: vec!["*".into()],
            routes: vec![route::Route {
                r#match: Some(route::RouteMatch {
                    path_specifier: Some(PathSpecifier::Prefix("/".into())),
                    ..Default::default()
                }),
                action: Some(Action::Route(route::RouteAction {
                    cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.into())),
                    ..Default::default()
                })),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}
