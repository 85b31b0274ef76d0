//! Short names for Envoy's messages, and the few constructors that everything needs.

use std::time::Duration;

pub(crate) use envoy_types::pb::{
    envoy::{
        config::{
            accesslog::v3 as access_log, cluster::v3 as cluster,
            common::mutation_rules::v3 as mutation_rules, core::v3 as core,
            endpoint::v3 as endpoint, listener::v3 as listener, ratelimit::v3 as rate_limit_config,
            rbac::v3 as rbac_config, route::v3 as route,
        },
        extensions::{
            access_loggers::{
                file::v3 as access_log_file, open_telemetry::v3 as access_log_otlp,
                stream::v3 as access_log_stream,
            },
            clusters::{common::dns::v3 as dns_lookup, dns::v3 as dns_cluster},
            common::ratelimit::v3 as limit_common,
            compression::{
                brotli::compressor::v3 as brotli, gzip::compressor::v3 as gzip,
                zstd::compressor::v3 as zstd,
            },
            filters::{
                common::fault::v3 as fault_common,
                http::{
                    basic_auth::v3 as basic_auth, composite::v3 as composite,
                    compressor::v3 as compressor, cors::v3 as cors, ext_authz::v3 as ext_authz,
                    ext_proc::v3 as ext_proc, fault::v3 as fault, grpc_web::v3 as grpc_web,
                    header_mutation::v3 as header_mutation, jwt_authn::v3 as jwt,
                    local_ratelimit::v3 as limit, lua::v3 as lua, oauth2::v3 as oauth2,
                    ratelimit::v3 as rate_limit, rbac::v3 as rbac, router::v3 as router,
                    stateful_session::v3 as stateful_session, wasm::v3 as wasm,
                },
                listener::{
                    proxy_protocol::v3 as client_proxy_protocol, tls_inspector::v3 as tls_inspector,
                },
                network::{
                    connection_limit::v3 as connection_limit, http_connection_manager::v3 as hcm,
                    tcp_proxy::v3 as tcp_proxy,
                },
                udp::udp_proxy::v3 as udp_proxy,
            },
            http::stateful_session::{cookie::v3 as session_cookie, header::v3 as session_header},
            network::dns_resolver::cares::v3 as cares,
            retry::host::previous_hosts::v3 as previous_hosts,
            transport_sockets::{
                proxy_protocol::v3 as proxy_protocol, quic::v3 as quic,
                raw_buffer::v3 as raw_buffer, tls::v3 as tls,
            },
            upstreams::http::v3 as upstream_http,
            wasm::v3 as plugin,
        },
        r#type::{http::v3 as kind_http, matcher::v3 as matcher, v3 as kind},
    },
    google::protobuf::{
        Any, BoolValue, Duration as PbDuration, StringValue, Struct, UInt32Value, UInt64Value,
        Value, value,
    },
    opentelemetry::proto::common::v1 as otlp,
    xds::{core::v3 as xds_core, r#type::matcher::v3 as xds_matcher},
};
use prost::{Message, Name};

/// The cluster of the bootstrap by which Envoy asks the data plane for its configuration.
pub(crate) const XDS_CLUSTER: &str = "xds";
/// The one by which it asks for answers to challenges: anybody can have it ask, and must not keep it from
/// its configuration.
pub(crate) const CHALLENGES_CLUSTER: &str = "challenges";

/// The one by which it asks how many requests may pass: each request to a limited route does.
pub(crate) const QUOTAS_CLUSTER: &str = "quotas";

pub(crate) fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

pub(crate) fn duration(duration: Duration) -> PbDuration {
    PbDuration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).expect("below 10^9"),
    }
}

pub(crate) fn uint32(value: u32) -> UInt32Value {
    UInt32Value { value }
}

/// A share of all, in percent.
pub(crate) fn percent(percent: u32) -> kind::FractionalPercent {
    kind::FractionalPercent {
        numerator: percent,
        denominator: kind::fractional_percent::DenominatorType::Hundred as i32,
    }
}

pub(crate) fn uint64(value: u64) -> UInt64Value {
    UInt64Value { value }
}

pub(crate) fn boolean(value: bool) -> BoolValue {
    BoolValue { value }
}

/// Says that a resource comes by the aggregated stream.
///
/// `fetch_timeout` is how long Envoy holds what waits for the resource.
pub(crate) fn ads(fetch_timeout: Duration) -> core::ConfigSource {
    core::ConfigSource {
        initial_fetch_timeout: Some(duration(fetch_timeout)),
        resource_api_version: core::ApiVersion::V3 as i32,
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        ..Default::default()
    }
}

pub(crate) fn socket_address(address: std::net::IpAddr, port: u16, udp: bool) -> core::Address {
    use core::socket_address::{PortSpecifier, Protocol};
    let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            protocol: protocol as i32,
            address: address.to_string(),
            // The unspecified IPv6 address takes IPv4 too.
            ipv4_compat: address.is_ipv6() && address.is_unspecified(),
            port_specifier: Some(PortSpecifier::PortValue(u32::from(port))),
            ..Default::default()
        })),
    }
}

/// Takes an action whatever the request is.
pub(crate) fn always(action: xds_core::TypedExtensionConfig) -> xds_matcher::Matcher {
    use xds_matcher::matcher::{OnMatch, on_match};
    xds_matcher::Matcher {
        on_no_match: Some(Box::new(OnMatch {
            on_match: Some(on_match::OnMatch::Action(action)),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// Makes the address of a host that is known by name.
pub(crate) fn host_address(name: &str, port: u16) -> core::Address {
    use core::socket_address::PortSpecifier;
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: name.to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(u32::from(port))),
            ..Default::default()
        })),
    }
}

pub(crate) fn regex(pattern: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: pattern.to_owned(), ..Default::default() }
}
